"""Settings for upscaling, each declared once: its type, range, default and help in plain words.

`Settings` is validated against the declarations; the keywords of `Upscaler`, the options of `tessera upscale` and the
fields of a form are derived from them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin, get_type_hints

from tessera.engines.engine import Precision
from tessera.engines.opening import EngineName
from tessera.errors import LimitError, UsageError
from tessera.images.picture_format import Limits
from tessera.wording import join_words

SMALLEST_TILE = 32
MOST_THREADS = 1024
LONGEST_SIDE = 2**31 - 1
"""The longest side in pixels that TIFF and PNG can store; other formats store less."""
AlphaMode = Literal["auto", "model", "lanczos"]
_NOT_ABOUT_PIXELS = ("limits", "threads", "keep_times")
"""Settings that change no pixel of the output."""


@dataclass(frozen=True)
class OutScale:
    """A requested output size: a factor of the input's size, a width, or a height in pixels."""

    factor: float | None = None
    width: int | None = None
    height: int | None = None

    @staticmethod
    def parse(text: str | float) -> OutScale:
        """Read `2`, `1.5`, `1920x` (that width) or `x1080` (that height). Raises UsageError.

        >>> OutScale.parse("1920x").size(height=100, width=200)
        (960, 1920)
        >>> OutScale.parse(2.5).size(height=101, width=200)
        (253, 500)
        """
        word = str(text).strip().lower()
        if found := re.fullmatch(r"(\d{1,7})x", word):
            return OutScale(width=_positive(int(found[1]), word))
        if found := re.fullmatch(r"x(\d{1,7})", word):
            return OutScale(height=_positive(int(found[1]), word))
        try:
            factor = float(word)
        except ValueError:
            factor = 0.0
        if not 0 < factor < math.inf:
            raise UsageError(f"expected a factor such as 2 or 1.5, 1920x or x1080, found {text!r}.", field="outscale")
        return OutScale(factor=factor)

    def size(self, *, height: int, width: int) -> tuple[int, int]:
        """The (H, W) of the output for an input of this size; the proportions stay, and halves are rounded up.

        A factor counts as the decimal that is written: 1.15 times 100 is 115, although the product of the binary
        numbers is 114.99999999999999. Raises LimitError when a side would be longer than any format can store.
        """
        if self.width is not None:
            factor = Fraction(self.width, width)
        elif self.height is not None:
            factor = Fraction(self.height, height)
        else:
            factor = Fraction(repr(self.factor))
        sides = height * factor, width * factor
        if max(sides) > LONGEST_SIDE:
            raise LimitError(
                f"A picture of {width}x{height} would have a side of {Decimal(int(max(sides))):.3g} pixels with"
                f" `outscale` {self}; no format stores more than {LONGEST_SIDE:,}. Choose a smaller one."
            )
        return max(1, _round_half_up(sides[0])), max(1, _round_half_up(sides[1]))

    def __str__(self) -> str:
        if self.width is not None:
            return f"{self.width}x"
        return f"x{self.height}" if self.height is not None else f"{self.factor:g}"


def _round_half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _positive(value: int, word: str) -> int:
    if value < 1:
        raise UsageError(f"{word} is a size of {value} pixels; expected at least 1.", field="outscale")
    if value <= 8:  # users write "4x" for four times as large
        raise UsageError(
            f"{word} is a size of {value} pixels; for {value} times as large write {value}.", field="outscale"
        )
    return value


# -------------------------------------------------------------------------------------------------------- declarations


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Declaration of a setting, as metadata of its type."""

    help: str
    """One line for people; the range and the default are added to it."""
    minimum: int | None = None
    maximum: int | None = None
    zero: str = ""
    """Meaning of 0 where 0 lies outside the range."""
    none: str = ""
    """What None, the default, means."""
    unit: str = ""

    @property
    def range(self) -> str:
        """The allowed integers in words.

        >>> Setting(help="", minimum=32, zero="disables tiling", unit="pixels").range
        'at least 32 pixels, or 0 (disables tiling)'
        """
        unit = f" {self.unit}" if self.unit else ""
        bounds = f"at least {self.minimum}" if self.maximum is None else f"{self.minimum} to {self.maximum}"
        return f"{bounds}{unit}" + (f", or 0 ({self.zero})" if self.zero else "")

    def allows(self, value: int) -> bool:
        """Whether an integer is in the range."""
        assert self.minimum is not None
        fits = self.minimum <= value and (self.maximum is None or value <= self.maximum)
        return fits or (bool(self.zero) and value == 0)


# Each alias is the one declaration of a setting; `Settings` and `Changes` below only list them.
OutScaleSetting = Annotated[
    OutScale | None,
    Setting(help="Output size: a factor (2, 1.5), a width (1920x) or a height (x1080).", none="the model's scale"),
]
PrecisionSetting = Annotated[
    Precision, Setting(help="exact: fp32. auto: bf16 where the hardware is fast at it. fast: less accurate still.")
]
EngineSetting = Annotated[
    EngineName, Setting(help="Library that runs the network. auto: the fastest here, measured on first use.")
]
DeviceSetting = Annotated[
    str, Setting(help="auto (the fastest), cpu, vulkan, vulkan:1, cuda, cuda:1, mps or openvino:GPU.")
]
ThreadsSetting = Annotated[
    int | None,
    Setting(help="CPU threads of the engine.", minimum=1, maximum=MOST_THREADS, none="chosen by the planner"),
]
TileSetting = Annotated[
    int | None,
    Setting(
        help="Longest side of a tile; smaller tiles need less memory.",
        minimum=SMALLEST_TILE,
        zero="disables tiling",
        none="chosen by the planner",
        unit="input pixels",
    ),
]
OverlapSetting = Annotated[
    int | None,
    Setting(
        help="Context on each side of a tile.",
        minimum=0,
        maximum=1024,
        none="measured per network",
        unit="input pixels",
    ),
]
AlphaSetting = Annotated[
    AlphaMode, Setting(help="How transparency is upscaled: with the model or with a Lanczos filter. auto: model.")
]
FlatLockSetting = Annotated[bool, Setting(help="Flat areas keep their exact color.")]
ColorLockSetting = Annotated[bool, Setting(help="Match overall colors to the input.")]
KeepColorNoiseSetting = Annotated[
    bool, Setting(help="Upscale a gray picture that is stored as RGB in color, with its faint color noise.")
]
SeamlessSetting = Annotated[bool, Setting(help="For textures that repeat: opposite edges match.")]
TtaSetting = Annotated[bool, Setting(help="Average over eight flips and rotations: 8x slower, slightly better.")]
FramesSetting = Annotated[bool, Setting(help="All frames of a GIF or WebP animation.")]
QualitySetting = Annotated[
    int | None,
    Setting(help="JPEG, WebP and AVIF quality.", minimum=1, maximum=100, none="95, AVIF 90"),
]
KeepTimesSetting = Annotated[bool, Setting(help="Give each output the access and modification times of its input.")]
LimitsSetting = Annotated[Limits, Setting(help="Largest input and output in pixels.")]


class Changes(TypedDict, total=False):
    """The fields of `Settings` as keywords (except `engine`); `outscale` also as "1920x" or a factor."""

    outscale: OutScale | str | float | None
    precision: PrecisionSetting
    device: DeviceSetting
    threads: ThreadsSetting
    tile: TileSetting
    overlap: OverlapSetting
    alpha: AlphaSetting
    flat_lock: FlatLockSetting
    color_lock: ColorLockSetting
    keep_color_noise: KeepColorNoiseSetting
    seamless: SeamlessSetting
    tta: TtaSetting
    frames: FramesSetting
    quality: QualitySetting
    keep_times: KeepTimesSetting
    limits: LimitsSetting


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings for upscaling, validated and immutable.

    Args:
        outscale: Output size as an `OutScale`: a factor of the input's size, a width or a height in pixels. None is the
            model's own scale.
        precision: "exact" computes in fp32; "auto" in bf16 where the hardware is fast at it; "fast" allows int8 and
            modes that are less accurate still.
        engine: Library that runs the network; "auto" takes the fastest here, measured on first use.
        device: "auto" (the fastest of all), "cpu", "vulkan" (any GPU), "vulkan:1", "cuda", "cuda:1", "mps",
            "openvino:GPU" or "openvino:NPU".
        threads: CPU threads of the engine, 1 to 1024. None lets the planner choose.
        tile: Longest side of a tile in input pixels, at least 32; 0 disables tiling. None lets the planner choose.
        overlap: Context on each side of a tile in input pixels, 0 to 1024, less than half a tile. None takes the value
            measured for the network.
        alpha: How transparency is upscaled: "model", "lanczos", or "auto" (the model).
        flat_lock: Flat areas keep their exact color.
        color_lock: Match overall colors (the low frequencies) to the input.
        keep_color_noise: Upscale in color, too, a picture that is stored as RGB and whose channels are at most 1 of 255
            apart everywhere. By default it is upscaled as gray, because networks add colors to it.
        seamless: Opposite edges match, for textures that repeat.
        tta: Average over eight flips and rotations; 8x slower.
        frames: All frames of an animation, not only the first.
        quality: Quality of JPEG, WebP and AVIF files, 1 to 100. None is 95 (AVIF: 90).
        keep_times: Give each output the access and modification times of its input.
        limits: Largest input and output in pixels.

    Raises:
        UsageError: A value outside its range or of another type; `field` names the setting.
    """

    outscale: OutScaleSetting = None
    precision: PrecisionSetting = "auto"
    engine: EngineSetting = "auto"
    device: DeviceSetting = "auto"
    threads: ThreadsSetting = None
    tile: TileSetting = None
    overlap: OverlapSetting = None
    alpha: AlphaSetting = "auto"
    flat_lock: FlatLockSetting = True
    color_lock: ColorLockSetting = False
    keep_color_noise: KeepColorNoiseSetting = False
    seamless: SeamlessSetting = False
    tta: TtaSetting = False
    frames: FramesSetting = False
    quality: QualitySetting = None
    keep_times: KeepTimesSetting = False
    limits: LimitsSetting = dataclasses.field(default_factory=Limits)

    def __post_init__(self) -> None:
        for declared in list_settings():
            declared.check(getattr(self, declared.name))
        if self.tile and self.overlap is not None and 2 * self.overlap >= self.tile:
            raise UsageError(
                f"expected less than {self.tile / 2:g}, half of `tile` {self.tile}, found {self.overlap}.",
                field="overlap",
            )

    def output_size(self, *, height: int, width: int, scale: int) -> tuple[int, int]:
        """Compute the size of the output.

        Args:
            height: Rows of the input, in pixels.
            width: Columns of the input, in pixels.
            scale: The factor of the network, used if `outscale` is None.

        Returns:
            (H, W) of the output, in pixels.

        Raises:
            LimitError: A side would be out of range.
        """
        return (self.outscale or OutScale(factor=scale)).size(height=height, width=width)

    @property
    def fingerprint(self) -> str:
        """A short hash of everything that can change the pixels of the output."""
        values = dataclasses.asdict(self)
        # A batch may resume on another device: the precision bounds what differs.
        for name in (*_NOT_ABOUT_PIXELS, "device"):
            del values[name]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def describe_changes(self) -> list[str]:
        """Describe the settings that differ from their defaults and can change the pixels.

        Returns:
            One phrase per setting.

        >>> Settings(outscale=OutScale.parse("1920x"), tta=True, flat_lock=False).describe_changes()
        ['outscale 1920x', 'flat_lock off', 'tta on']
        """
        changed = [
            (declared.name, getattr(self, declared.name))
            for declared in list_settings()
            if declared.name not in _NOT_ABOUT_PIXELS and getattr(self, declared.name) != declared.default
        ]
        return [f"{name} {('off', 'on')[value] if isinstance(value, bool) else value}" for name, value in changed]


@dataclass(frozen=True, kw_only=True)
class DeclaredSetting:
    """A field of `Settings` with its declaration, for options and forms."""

    name: str
    setting: Setting
    types: tuple[type, ...]
    """Allowed types; empty where `choices` lists the values."""
    choices: tuple[str, ...]
    default: Any

    @property
    def help(self) -> str:
        """The help with range and default, as options show it."""
        extra = [self.setting.range] if self.setting.minimum is not None else []
        extra += [f"default: {self.setting.none}"] if self.setting.none else []
        return f"{self.setting.help} [{'; '.join(extra)}]" if extra else self.setting.help

    def check(self, value: object) -> None:
        """Raise UsageError for a value that the declaration does not allow."""
        if self.choices:
            expected, fits = join_words(self.choices, "or"), value in self.choices
        else:
            expected = join_words(["None" if each is type(None) else each.__name__ for each in self.types], "or")
            fits = isinstance(value, self.types) and (not isinstance(value, bool) or bool in self.types)
            if fits and isinstance(value, int) and self.setting.minimum is not None:
                expected, fits = self.setting.range, self.setting.allows(value)
        if not fits:
            raise UsageError(f"expected {expected}, found {value!r}.", field=self.name)


@functools.cache
def list_settings() -> tuple[DeclaredSetting, ...]:
    """Every field of `Settings` in order."""
    hints = get_type_hints(Settings, include_extras=True)
    return tuple(_declare(field.name, hints[field.name], field.default) for field in dataclasses.fields(Settings))


def find_setting(name: str) -> DeclaredSetting:
    """The declaration of one setting."""
    return next(each for each in list_settings() if each.name == name)


def change_settings(settings: Settings, changes: Changes) -> Settings:
    """Settings with some fields replaced. Raises UsageError for unknown names and invalid values."""
    known = [field.name for field in dataclasses.fields(Settings)]
    values: dict[str, Any] = dict(changes)
    for name in values:
        if name not in known:
            raise UsageError(f"unknown setting; expected one of {', '.join(known)}.", field=name)
    if isinstance(outscale := values.get("outscale"), str | int | float):
        values["outscale"] = OutScale.parse(outscale)
    return dataclasses.replace(settings, **values)


def _declare(name: str, hint: Any, default: Any) -> DeclaredSetting:
    kind, setting = get_args(hint)
    if get_origin(kind) is Literal:
        return DeclaredSetting(name=name, setting=setting, types=(), choices=get_args(kind), default=default)
    types = get_args(kind) or (kind,)
    default = None if default is dataclasses.MISSING else default
    return DeclaredSetting(name=name, setting=setting, types=types, choices=(), default=default)
