"""The color coding in the sequence header of an AV1 stream.

(AV1 Bitstream & Decoding Process Specification, 5.3 and 5.5.)
"""

from __future__ import annotations

from tessera.images.metadata import ColorCoding

_SEQUENCE_HEADER = 1
_MOST_OBUS = 16
_MOST_OPERATING_POINT_BITS = 5
_LARGE_LEVEL = 7
_PROFESSIONAL_PROFILE = 2
_HIGH_PROFILE = 1


class _Bits:
    """Reads numbers of some bits, the highest bit first. Raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def skip_variable(self) -> None:
        """Skip a number of variable length, `uvlc()` (4.10.3)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        self.read(zeros if zeros < 32 else 0)


def read_av1_color_coding(stream: bytes) -> ColorCoding | None:
    """Read the color coding of the first sequence header in a stream of OBUs; None if it declares none.

    Raises IndexError for a damaged stream.
    """
    at = 0
    for _ in range(_MOST_OBUS):
        if at >= len(stream):
            return None
        head = stream[at]
        at += 2 if head & 4 else 1  # with an extension
        size = len(stream) - at
        if head & 2:
            size, at = _read_leb128(stream, at)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return _parse_sequence_header(_Bits(stream[at : at + size]))
        at += size
    return None


def _read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of 7 bits (4.10.5) -> the number, and the place after it."""
    value = 0
    for group in range(8):
        value |= (data[at] & 0x7F) << (7 * group)
        at += 1
        if not data[at - 1] & 0x80:
            break
    return value, at


def _parse_sequence_header(bits: _Bits) -> ColorCoding | None:
    profile = bits.read(3)
    bits.read(1)  # still picture
    is_reduced = bits.read(1)
    if is_reduced:
        bits.read(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width_bits + height_bits)
    if not is_reduced and bits.read(1):  # frame numbers
        bits.read(7)
    bits.read(3)
    if not is_reduced:
        _skip_tools(bits)
    bits.read(3)
    if bits.read(1) and profile == _PROFESSIONAL_PROFILE:
        bits.read(1)
    if profile != _HIGH_PROFILE:
        bits.read(1)
    if not bits.read(1):
        return None
    primaries, transfer = bits.read(8), bits.read(8)
    return ColorCoding(primaries, transfer)


def _skip_operating_points(bits: _Bits) -> None:
    """Skip timing and operating points (5.5.1)."""
    delay_bits = None
    if bits.read(1):
        bits.read(64)
        if bits.read(1):
            bits.skip_variable()
        if bits.read(1):
            delay_bits = bits.read(5) + 1
            bits.read(42)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(_MOST_OPERATING_POINT_BITS) + 1):
        bits.read(12)
        if bits.read(5) > _LARGE_LEVEL:
            bits.read(1)
        if delay_bits is not None and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)


def _skip_tools(bits: _Bits) -> None:
    """Skip the tools for several frames (5.5.1)."""
    bits.read(4)
    has_order = bits.read(1)
    if has_order:
        bits.read(2)
    forces_screen_content = 2 if bits.read(1) else bits.read(1)
    if forces_screen_content and not bits.read(1):
        bits.read(1)
    if has_order:
        bits.read(3)
