"""What a discriminator is given: checked, padded until its sides divide, and what came of it cropped again.

Shapes: B pictures in a batch, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from math import isqrt

from torch import Tensor
from torch.nn import functional as F

from tessera.discriminators.config import DiscriminatorConfig
from tessera.errors import UsageError
from tessera.generators.dialect import Shapes


def check_batch(x: Tensor, config: DiscriminatorConfig) -> None:
    """Refuse what is no batch of pictures for this network: raises UsageError with what was expected and found."""
    side = config.required_side
    wanted = f"(B, {config.in_channels}, {side or 'H'}, {side or 'W'})"
    if not x.is_floating_point():
        raise UsageError(
            f"The discriminator {config.network} takes floating-point pictures {wanted} in [0, 1], and was given "
            f"{str(x.dtype).removeprefix('torch.')}. Divide by the largest value first."
        )
    if x.ndim != 4 or x.shape[1] != config.in_channels or not x.numel():
        raise UsageError(
            f"The discriminator {config.network} takes a batch of pictures {wanted}, and was given {tuple(x.shape)}."
        )
    if side is not None and tuple(x.shape[-2:]) != (side, side):
        raise UsageError(
            f"The discriminator {config.network} takes pictures of {side}x{side} only, because its last layers are "
            f"linear, and was given {x.shape[-2]}x{x.shape[-1]}. Crop to {side}x{side}, or use a discriminator that "
            "takes any size."
        )


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Continue pictures on their right and lower sides until both sides divide by `multiple`.

    (B, C, H, W) -> (B, C, H', W'). Each side is mirrored where it is long enough for that, and else repeats its last
    pixels. What divides is returned as it is.
    """
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if right:
        x = F.pad(x, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    if below:
        x = F.pad(x, (0, 0, 0, below), mode="reflect" if below < height else "replicate")
    return x


def crop_to(x: Tensor, size: Sequence[int], divisor: int = 1) -> Tensor:
    """Keep what belongs to a picture of this size in a map that is `divisor` times smaller, rounded up.

    (B, C, H', W') -> (B, C, ceil(H / divisor), ceil(W / divisor)), where `size` is (H, W)
    """
    height, width = size
    return x[..., : -(-height // divisor), : -(-width // divisor)]


def last_map_side(shapes: Shapes, linear: str, channels: int) -> int:
    """Side of the square map, of so many channels, that a linear layer reads; 0 for a map that is not square."""
    shape = shapes.get(linear, ())
    pixels = shape[1] // max(channels, 1) if len(shape) == 2 else 0
    return isqrt(pixels) if isqrt(pixels) ** 2 == pixels else 0
