"""The text of an ncnn model (`.param`): its layers, parsed line by line.

The format: a magic number, the numbers of layers and blobs, then one line for each layer: kind, name, numbers of inputs
and outputs, their blobs, and settings as `key=value` (`-23300 - key` for arrays).
"""

from dataclasses import dataclass
from pathlib import Path

MAGIC = "7767517"
TAG_FP16 = 0x01306B47
TAG_FP32 = 0
MAX_PARAM_BYTES = 8 << 20
MAX_LAYERS = 20_000


class NcnnMismatchError(Exception):
    """The files are damaged or another network's; the text says how."""


@dataclass(frozen=True)
class NcnnLayer:
    """One line of the text."""

    line: int
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[int, float]
    arrays: dict[int, tuple[float, ...]]

    def __str__(self) -> str:
        return f"layer {self.name[:40]!r} ({self.kind[:40]}, line {self.line})"

    def integer(self, key: int, default: int = 0) -> int:
        """Read a setting that must be an integer."""
        value = self.numbers.get(key, default)
        if value != value // 1 or abs(value) > 1 << 31:
            raise NcnnMismatchError(f"{self} has {value} as setting {key}, and an integer is expected")
        return int(value)


def parse_param(path: Path) -> list[NcnnLayer]:
    """Read the lines of a `.param` file."""
    if path.stat().st_size > MAX_PARAM_BYTES:
        raise NcnnMismatchError(f"its text has {path.stat().st_size} bytes, more than any known model")
    try:
        lines = path.read_bytes().decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise NcnnMismatchError("it is not the text form of a `.param` file") from None
    if len(lines) < 2 or lines[0].strip() != MAGIC:
        raise NcnnMismatchError(f"its first line is not the number {MAGIC} that ncnn puts there")
    counts = lines[1].split()
    if len(counts) != 2 or not counts[0].isdigit() or int(counts[0][:9]) > MAX_LAYERS:
        raise NcnnMismatchError("its second line does not give the numbers of layers and blobs")
    layers = [_parse_line(number, line) for number, line in enumerate(lines[2:], start=3) if line.strip()]
    if len(layers) != int(counts[0]):
        raise NcnnMismatchError(f"it announces {counts[0]} layers and has {len(layers)}")
    return layers


def _parse_line(number: int, line: str) -> NcnnLayer:
    words = line.split()
    if len(words) < 4 or not (words[2].isdigit() and words[3].isdigit()):
        raise NcnnMismatchError(f"line {number} is not a layer")
    first, last = 4 + int(words[2][:6]), 4 + int(words[2][:6]) + int(words[3][:6])
    if last > len(words):
        raise NcnnMismatchError(f"line {number} is cut off")
    numbers: dict[int, float] = {}
    arrays: dict[int, tuple[float, ...]] = {}
    for word in words[last:]:
        key, _, value = word.partition("=")
        try:
            if int(key) <= -23300:
                arrays[-int(key) - 23300] = tuple(float(item) for item in value.split(",")[1:])
            else:
                numbers[int(key)] = float(value)
        except ValueError:
            raise NcnnMismatchError(f"line {number} has {word[:40]!r} where a setting is expected") from None
    return NcnnLayer(number, words[0], words[1], tuple(words[4:first]), tuple(words[first:last]), numbers, arrays)
