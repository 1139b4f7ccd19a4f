"""The degradation of Real-ESRGAN and A-ESRGAN, from the keys of their options files (Wang et al. 2021, section 3)."""

from __future__ import annotations

from tessera.config import Values
from tessera.degrade.blur import GAUSSIAN_KINDS, LARGEST_KERNEL
from tessera.train.importing.foreign import Table, drop_none

_USUAL_KERNEL = 21
_HALF_SIZES = 12
"""Two numbers up to this are half sides, as in Real-ESRGAN's code: 3, 11 for the sides 7 to 21."""


def read_degradation(file: Table, data: Table, *, sharpened: bool) -> Values:
    """Top-level keys (resizing, noise, JPEG) and keys of the data set (kernels) -> values of `degradation`."""
    probability = file.read_optional_number("second_blur_prob")
    second = _read_stage(file, data, "2")
    if probability is not None:
        second.setdefault("blur", {})["probability"] = probability
    final = drop_none(sinc_probability=data.read_optional_number("final_sinc_prob"))
    return {
        "kind": "realesrgan",
        "sharpen": sharpened,
        **{
            name: part
            for name, part in (("first", _read_stage(file, data, "")), ("second", second), ("final", final))
            if part
        },
    }


def _read_stage(file: Table, data: Table, mark: str) -> Values:
    shares = file.read_exact_numbers(f"resize_prob{mark}", 3)
    parts: Values = {
        "blur": _read_blur(data, mark),
        "resize": drop_none(
            **(dict(zip(("up", "down", "keep"), shares, strict=True)) if shares else {}),
            range=file.read_exact_numbers(f"resize_range{mark}", 2),
        ),
        "noise": drop_none(
            gaussian_probability=file.read_optional_number(f"gaussian_noise_prob{mark}"),
            sigma_255=file.read_exact_numbers(f"noise_range{mark}", 2),
            poisson_scale=file.read_exact_numbers(f"poisson_scale_range{mark}", 2),
            gray_probability=file.read_optional_number(f"gray_noise_prob{mark}"),
        ),
        "jpeg": drop_none(quality=file.read_exact_numbers(f"jpeg_range{mark}", 2)),
    }
    return {name: part for name, part in parts.items() if part}


def _read_blur(data: Table, mark: str) -> Values:
    size = data.read_int(f"blur_kernel_size{mark}", _USUAL_KERNEL)
    if size != _USUAL_KERNEL:
        data.note(f"blur_kernel_size{mark}", "has no effect in Real-ESRGAN either: kernel sides are drawn from 7 to 21")
    return drop_none(
        sizes=_read_sizes(data, f"kernel_range{mark}"),
        shares=_read_shares(data, mark),
        sigma=data.read_exact_numbers(f"blur_sigma{mark}", 2),
        generalized_beta=data.read_exact_numbers(f"betag_range{mark}", 2),
        plateau_beta=data.read_exact_numbers(f"betap_range{mark}", 2),
        sinc_probability=data.read_optional_number(f"sinc_prob{mark}"),
    )


def _read_sizes(data: Table, key: str) -> list[int] | None:
    numbers = data.read_numbers(key)
    if numbers is None:
        return None
    sides = [int(number) for number in numbers]
    if len(sides) == 2:
        low, high = sides
        sides = [2 * half + 1 for half in range(low, high)] if high <= _HALF_SIZES else list(range(low, high + 1, 2))
        if sides and max(sides) <= LARGEST_KERNEL:
            data.note(key, f"was read as the odd sides from {sides[0]} to {sides[-1]}")
    if not sides or max(sides) > LARGEST_KERNEL:
        raise data.make_value_error(key, f"a list of odd sides of kernels, up to {LARGEST_KERNEL}")
    return sides


def _read_shares(data: Table, mark: str) -> dict[str, float] | None:
    kinds, weights = data.read_words(f"kernel_list{mark}"), data.read_numbers(f"kernel_prob{mark}")
    if kinds is None and weights is None:
        return None
    kinds = list(GAUSSIAN_KINDS) if kinds is None else kinds
    strange = [kind for kind in kinds if kind not in GAUSSIAN_KINDS]
    if strange:
        raise data.file_error(
            f"`{data.name(f'kernel_list{mark}')}` has {strange[0]}, and kernels are {', '.join(GAUSSIAN_KINDS)}."
        )
    if weights is None:
        weights = [1.0] * len(kinds)
    if len(weights) != len(kinds):
        raise data.make_value_error(f"kernel_prob{mark}", f"a list of {len(kinds)} numbers, one for each kernel")
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise data.make_value_error(f"kernel_prob{mark}", "a list of shares, not all 0")
    exact = abs(total - 1) < 1e-6  # Real-ESRGAN divides shares by their sum; in a recipe they have to add up to 1
    shares: dict[str, float] = dict.fromkeys(GAUSSIAN_KINDS, 0.0)
    for kind, weight in zip(kinds, weights, strict=True):
        shares[kind] += weight if exact else weight / total
    return shares
