"""Inputs of discriminators: validated, and padded to a multiple; the outputs are cropped back.

Shapes: B pictures in a batch, C channels, H rows, W columns.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from tessera.discriminators.config import DiscriminatorConfig
from tessera.errors import UsageError


def check_batch(x: Tensor, config: DiscriminatorConfig) -> None:
    """Validate a batch of pictures for this network. Raises UsageError with what was expected and found."""
    side = config.required_side
    wanted = f"(B, {config.in_channels}, {side or 'H'}, {side or 'W'})"
    if not x.is_floating_point():
        raise UsageError(
            f"The discriminator {config.network} expects floating-point pictures {wanted} in [0, 1], found "
            f"{str(x.dtype).removeprefix('torch.')}. Divide by the largest value first."
        )
    if x.ndim != 4 or x.shape[1] != config.in_channels or not x.numel():
        raise UsageError(
            f"The discriminator {config.network} expects a batch of pictures {wanted}, found {tuple(x.shape)}."
        )
    if side is not None and tuple(x.shape[-2:]) != (side, side):
        raise UsageError(
            f"The discriminator {config.network} takes pictures of {side}x{side} only, because its last layers are "
            f"linear; found {x.shape[-2]}x{x.shape[-1]}. Crop to {side}x{side}, or use a discriminator that "
            "takes any size."
        )


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad pictures at the right and bottom until both sides divide by `multiple`.

    (B, C, H, W) -> (B, C, H', W'). Each side is padded by reflection if it is long enough, otherwise by repeating its
    last pixels. Multiples are returned unchanged.
    """
    height, width = x.shape[-2:]
    return _pad(x, -height % multiple, -width % multiple)


def pad_to_side(x: Tensor, side: int) -> Tensor:
    """Pad pictures at the right and bottom until both sides have at least `side` pixels, as `pad_to_multiple` does."""
    height, width = x.shape[-2:]
    return _pad(x, max(0, side - height), max(0, side - width))


def _pad(x: Tensor, below: int, right: int) -> Tensor:
    height, width = x.shape[-2:]
    if right:
        x = F.pad(x, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    if below:
        x = F.pad(x, (0, 0, 0, below), mode="reflect" if below < height else "replicate")
    return x


def crop_to(x: Tensor, size: Sequence[int], divisor: int = 1) -> Tensor:
    """Crop a map that is `divisor` times smaller, rounded up, to the size of the unpadded picture.

    (B, C, H', W') -> (B, C, ceil(H / divisor), ceil(W / divisor)), where `size` is (H, W)
    """
    height, width = size
    return x[..., : -(-height // divisor), : -(-width // divisor)]
