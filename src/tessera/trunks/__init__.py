"""Trunks: the pretrained networks behind learned metrics and perceptual losses, with named feature maps.

Their weights are not part of Tessera: `load_trunk` finds them in the models folder or in an installed package,
downloads them from their published address, or reads a file that the user names. No code in a file is executed.

>>> [trunk.name for trunk in TRUNKS]
['vgg16', 'vgg19', 'vgg19-distilled', 'hed-vgg16', 'alexnet', 'squeezenet1_1', 'inception']
"""

from tessera.trunks.classifiers import VGG16_WIDTHS, VGG19_WIDTHS, Widths, alexnet, squeezenet, vgg
from tessera.trunks.inception import INCEPTION_CLASSES, inception
from tessera.trunks.loading import fetch_published, load_trunk, read_tensors, take_tensors
from tessera.trunks.table import TRUNKS, PublishedTrunk
from tessera.trunks.trunk import CAFFE, IMAGENET, MINUS_ONE_TO_ONE, NO_NORMALIZATION, Normalization, Trunk

__all__ = [
    "CAFFE",
    "IMAGENET",
    "INCEPTION_CLASSES",
    "MINUS_ONE_TO_ONE",
    "NO_NORMALIZATION",
    "TRUNKS",
    "VGG16_WIDTHS",
    "VGG19_WIDTHS",
    "Normalization",
    "PublishedTrunk",
    "Trunk",
    "Widths",
    "alexnet",
    "fetch_published",
    "inception",
    "load_trunk",
    "read_tensors",
    "squeezenet",
    "take_tensors",
    "vgg",
]
