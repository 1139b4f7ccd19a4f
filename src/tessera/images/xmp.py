"""XMP packets: one linear pass over the tags, and edits of the bytes between them (ISO 16684-1).

Packets come from strangers: they may be megabytes of unclosed tags. Every search here starts where the one before it
ended, the number of tags is bounded, and what is not well formed raises `MalformedXmpError`. Entities are not expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

MOST_BYTES = 2**26
_MOST_TAGS = 200_000
"""And attributes, in a whole packet."""

RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF = b"http://ns.adobe.com/tiff/1.0/"
EXIF = b"http://ns.adobe.com/exif/1.0/"
XMP_BASIC = b"http://ns.adobe.com/xap/1.0/"
NOTE = b"http://ns.adobe.com/xmp/note/"
CONTAINER = b"http://ns.google.com/photos/1.0/container/"
ITEM = b"http://ns.google.com/photos/1.0/container/item/"
GAIN_MAP = b"http://ns.adobe.com/hdr-gain-map/1.0/"
PANORAMA = b"http://ns.google.com/photos/1.0/panorama/"
REGIONS = b"http://www.metadataworkinggroup.com/schemas/regions/"
DIMENSIONS = b"http://ns.adobe.com/xap/1.0/sType/Dimensions#"
_USUAL_PREFIXES = {b"rdf": RDF, b"tiff": TIFF, b"exif": EXIF, b"xmp": XMP_BASIC, b"xmpNote": NOTE, b"hdrgm": GAIN_MAP}

_MARKUP = re.compile(rb"<")
_NAME = re.compile(rb"[^\s/>=<\"']{1,256}")
_SPACE = re.compile(rb"\s*")
_ENDS = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}

Name = tuple[bytes, bytes]
"""Namespace and local name."""


class MalformedXmpError(Exception):
    """A packet that is not well formed, is too large, or has too many tags."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute; `start` is that of the blanks before it."""

    name: Name
    raw_name: bytes
    start: int
    value_start: int
    end: int

    @property
    def value_end(self) -> int:
        """Where the closing quote is."""
        return self.end - 1


@dataclass(slots=True)
class Element:
    """An element: `start` to `end`, its start tag to `content_start`, its end tag from `content_end`."""

    name: Name
    start: int
    name_end: int
    content_start: int
    attributes: Sequence[Attribute]
    declared: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict[bytes, tuple[bytes, bytes]])
    """Prefixes declared here: namespace, and the bytes of the declaration."""
    parent: int = -1
    content_end: int = 0
    end: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it is one tag that closes itself."""
        return self.content_start == self.end


Edit = tuple[int, int, bytes]
"""Start and end of what is replaced, and the replacement."""


def parse_xmp(packet: bytes) -> list[Element]:
    """List the elements of a packet in the order of their start tags. Raises MalformedXmpError."""
    if len(packet) > MOST_BYTES or b"\x00" in packet.rstrip(b"\x00"):
        raise MalformedXmpError
    elements: list[Element] = []
    still_open: list[int] = []
    names: list[bytes] = []
    spaces: dict[bytes, list[bytes]] = {prefix: [space] for prefix, space in _USUAL_PREFIXES.items()}
    at = 0
    room = _MOST_TAGS
    while room > 0:
        room -= 1
        found = _MARKUP.search(packet, at)
        if found is None:
            if still_open:
                raise MalformedXmpError
            return elements
        start = found.start()
        closing_mark = next((end for begin, end in _ENDS.items() if packet.startswith(begin, start)), None)
        if closing_mark is not None:
            at = packet.find(closing_mark, start) + len(closing_mark)
            if at < len(closing_mark):
                raise MalformedXmpError
        elif packet.startswith(b"</", start):
            raw_name, at = _read_name(packet, start + 2)
            at = _skip_space(packet, at)
            if packet[at : at + 1] != b">" or not still_open or names.pop() != raw_name:
                raise MalformedXmpError
            at += 1
            element = elements[still_open.pop()]
            element.content_end, element.end = start, at
            for prefix in element.declared:
                spaces[prefix].pop()
        else:
            element, raw_name, at, empty = _read_start_tag(packet, start, spaces, room)
            room -= len(element.attributes) + len(element.declared)
            element.parent = still_open[-1] if still_open else -1
            elements.append(element)
            if empty:
                element.content_end = element.end = at
                for prefix in element.declared:
                    spaces[prefix].pop()
            else:
                still_open.append(len(elements) - 1)
                names.append(raw_name)
    raise MalformedXmpError


def _read_start_tag(
    packet: bytes, start: int, spaces: dict[bytes, list[bytes]], room: int
) -> tuple[Element, bytes, int, bool]:
    """Read a start tag of at most `room` attributes -> element, its name, where the tag ends, whether it is empty."""
    raw_name, at = _read_name(packet, start + 1)
    name_end = at
    raw: list[tuple[bytes, int, int, int]] = []
    declared: dict[bytes, tuple[bytes, bytes]] = {}
    while True:
        before, at = at, _skip_space(packet, at)
        if packet[at : at + 1] in (b">", b"/"):
            break
        if len(raw) + len(declared) > room:
            raise MalformedXmpError
        name, at = _read_name(packet, at)
        at = _skip_space(packet, at)
        if packet[at : at + 1] != b"=":
            raise MalformedXmpError
        at = _skip_space(packet, at + 1)
        quote = packet[at : at + 1]
        end = packet.find(quote, at + 1) if quote in (b'"', b"'") else -1
        if end < 0:
            raise MalformedXmpError
        if name == b"xmlns" or name.startswith(b"xmlns:"):
            prefix = name[6:]
            if prefix in declared:
                raise MalformedXmpError
            spaces.setdefault(prefix, []).append(packet[at + 1 : end])
            declared[prefix] = (packet[at + 1 : end], packet[before : end + 1])
        else:
            raw.append((name, before, at + 1, end + 1))
        at = end + 1
    empty = packet.startswith(b"/", at)
    at += empty
    if packet[at : at + 1] != b">":
        raise MalformedXmpError
    attributes = [Attribute(_qualify(name, spaces, b""), name, before, value, end) for name, before, value, end in raw]
    default = (spaces.get(b"") or [b""])[-1]
    element = Element(_qualify(raw_name, spaces, default), start, name_end, at + 1, attributes, declared)
    return element, raw_name, at + 1, empty


def _read_name(packet: bytes, at: int) -> tuple[bytes, int]:
    found = _NAME.match(packet, at)
    if found is None:
        raise MalformedXmpError
    return found[0], found.end()


def _skip_space(packet: bytes, at: int) -> int:
    found = _SPACE.match(packet, at)
    return found.end() if found else at


def _qualify(raw: bytes, spaces: dict[bytes, list[bytes]], default: bytes) -> Name:
    prefix, colon, local = raw.partition(b":")
    if not colon:
        return default, raw
    known = spaces.get(prefix)
    return (known[-1] if known else prefix), local


def apply_edits(packet: bytes, edits: Iterable[Edit]) -> bytes:
    """Replace spans of a packet; a span inside one that is replaced already is left out."""
    pieces: list[bytes] = []
    at = 0
    for start, end, replacement in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if start < at:
            continue
        pieces += (packet[at:start], replacement)
        at = end
    pieces.append(packet[at:])
    return b"".join(pieces)


def correct_xmp(packet: bytes, *, height: int, width: int, gain_map_bytes: int = 0) -> bytes:
    """Correct orientation and sizes in a packet, and drop what it says about data that the new file lacks.

    Dropped are thumbnails, the film of a motion photo, and the gain map unless `gain_map_bytes`, its new size, is given
    (Android, "Motion Photo format" and "Ultra HDR Image Format"). Sizes and places of a panorama are scaled (Google,
    "Photo Sphere XMP Metadata"). Everything else stays to the byte.

    Raises MalformedXmpError if the packet has something to correct but is not well formed.

    >>> correct_xmp(b'<a tiff:Orientation="6" tiff:ImageWidth="60"/>', height=80, width=120)
    b'<a tiff:Orientation="1" tiff:ImageWidth="120"/>'
    """
    values = {
        (TIFF, b"Orientation"): b"1",
        (TIFF, b"ImageWidth"): b"%d" % width,
        (TIFF, b"ImageLength"): b"%d" % height,
        (EXIF, b"PixelXDimension"): b"%d" % width,
        (EXIF, b"PixelYDimension"): b"%d" % height,
    }
    packet = _decode_wide(packet)
    if not any(word in packet for word in _WORDS_TO_CORRECT):
        return packet
    elements = parse_xmp(packet)
    edits: list[Edit] = list(_correct_items(packet, elements, gain_map_bytes))
    edits += _correct_panorama(packet, elements, height=height, width=width)
    edits += _correct_dimensions(packet, elements, height=height, width=width)
    for element in elements:
        if element.name in values:
            text = packet[element.content_start : element.content_end]
            if text.strip().isdigit():
                corrected = text.replace(text.strip(), values[element.name])
                edits.append((element.content_start, element.content_end, corrected))
        elif _is_dropped(element.name, gain_map_bytes):
            edits.append((element.start, _skip_space(packet, element.end), b""))
        for attribute in element.attributes:
            if attribute.name in values and packet[attribute.value_start : attribute.value_end].strip().isdigit():
                edits.append((attribute.value_start, attribute.value_end, values[attribute.name]))
            elif _is_dropped(attribute.name, gain_map_bytes):
                edits.append((attribute.start, attribute.end, b""))
    return apply_edits(packet, edits)


def _list_numbers(packet: bytes, elements: Sequence[Element]) -> Iterator[tuple[Name, int, int, int, int]]:
    """List integers: name, number, start and end of its text, and the element that it belongs to."""
    for index, element in enumerate(elements):
        places = [(each.name, each.value_start, each.value_end, index) for each in element.attributes]
        places.append((element.name, element.content_start, element.content_end, element.parent))
        for name, start, end, owner in places:
            text = packet[start : min(end, start + _MOST_DIGITS)]
            if end - start <= _MOST_DIGITS and text.strip().isdigit():
                yield name, int(text), start, end, owner


def _correct_panorama(packet: bytes, elements: Sequence[Element], *, height: int, width: int) -> Iterator[Edit]:
    """Scale sizes and places in pixels by the size that the packet states for the picture."""
    found = [each for each in _list_numbers(packet, elements) if each[0][0] == PANORAMA]
    stated = {name[1]: number for name, number, *_ in found}
    old_width = stated.get(b"CroppedAreaImageWidthPixels") or stated.get(b"FullPanoWidthPixels")
    old_height = stated.get(b"CroppedAreaImageHeightPixels") or stated.get(b"FullPanoHeightPixels")
    for (_, local), number, start, end, _ in found:
        across, down = local in _PANORAMA_ACROSS, local in _PANORAMA_DOWN
        new, old = (width, old_width) if across else (height, old_height)
        if (across or down) and old:
            yield start, end, b"%d" % ((2 * number * new + old) // (2 * old))


def _correct_dimensions(packet: bytes, elements: Sequence[Element], *, height: int, width: int) -> Iterator[Edit]:
    """Correct the size to which regions such as faces apply; regions are fractions of it (MWG 2.0, 5.9)."""
    for (space, local), _, start, end, owner in _list_numbers(packet, elements):
        if space == DIMENSIONS and local in (b"w", b"h"):
            above = owner if owner < 0 or elements[owner].name == _APPLIED else elements[owner].parent
            if above >= 0 and elements[above].name == _APPLIED:
                yield start, end, b"%d" % (width if local == b"w" else height)


def _decode_wide(packet: bytes) -> bytes:
    """Convert a packet in UTF-16 to UTF-8; others stay to the byte. Raises MalformedXmpError."""
    order = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"<\x00": "utf-16-le", b"\x00<": "utf-16-be"}.get(packet[:2])
    if order is None:
        return packet
    try:
        return packet.decode(order).encode("utf-8")
    except UnicodeError:
        raise MalformedXmpError from None


_WORDS_TO_CORRECT = (
    *(b"Orientation", b"ImageWidth", b"ImageLength", b"PixelXDimension", b"PixelYDimension", b"Thumbnails"),
    *(b"MotionPhoto", b"MicroVideo", b"OLivePhoto", b"Directory", b"HasExtendedXMP", GAIN_MAP),
    *(PANORAMA, REGIONS),
)
_MOST_DIGITS = 32
_APPLIED = (REGIONS, b"AppliedToDimensions")
_PANORAMA_ACROSS = frozenset(
    (
        *(b"CroppedAreaImageWidthPixels", b"FullPanoWidthPixels", b"CroppedAreaLeftPixels"),
        *(b"LargestValidInteriorRectLeft", b"LargestValidInteriorRectWidth"),
    )
)
_PANORAMA_DOWN = frozenset(
    (
        *(b"CroppedAreaImageHeightPixels", b"FullPanoHeightPixels", b"CroppedAreaTopPixels"),
        *(b"LargestValidInteriorRectTop", b"LargestValidInteriorRectHeight"),
    )
)
_FILM = (b"MotionPhoto", b"MicroVideo", b"OLivePhoto")


def _is_dropped(name: Name, gain_map_bytes: int) -> bool:
    space, local = name
    if space == XMP_BASIC:
        return local == b"Thumbnails"
    if space == NOTE:
        return local == b"HasExtendedXMP"
    if space == GAIN_MAP:
        return not gain_map_bytes
    return local.startswith(_FILM)


def mentions_film(packet: bytes) -> bool:
    """Whether a packet calls the file a motion photo."""
    return any(word in packet for word in _FILM)


def _correct_items(packet: bytes, elements: Sequence[Element], gain_map_bytes: int) -> Iterator[Edit]:
    """Correct the directory of what follows the picture in the file: only a gain map stays."""
    meanings = _read_items(packet, elements)
    if not gain_map_bytes or not any(semantic == b"GainMap" for semantic, _ in meanings.values()):
        for element in elements:
            if element.name == (CONTAINER, b"Directory"):
                yield element.start, _skip_space(packet, element.end), b""
        return
    for index, (semantic, length) in meanings.items():
        if semantic == b"GainMap" and length is not None:
            yield length[0], length[1], b"%d" % gain_map_bytes
        elif semantic not in (b"GainMap", b"Primary"):
            parent = elements[index].parent
            whole = elements[parent] if parent >= 0 and elements[parent].name == (RDF, b"li") else elements[index]
            yield whole.start, _skip_space(packet, whole.end), b""


def _read_items(packet: bytes, elements: Sequence[Element]) -> dict[int, tuple[bytes, tuple[int, int] | None]]:
    """Read the items of the directory: index of the element -> what it is, and where its length stands."""
    found: dict[int, dict[bytes, tuple[int, int]]] = {}
    for index, element in enumerate(elements):
        if element.name == (CONTAINER, b"Item"):
            found.setdefault(index, {})
        for attribute in element.attributes:
            if attribute.name[0] == ITEM:
                found.setdefault(index, {})[attribute.name[1]] = attribute.value_start, attribute.value_end
        if element.name[0] == ITEM and element.parent >= 0:
            found.setdefault(element.parent, {})[element.name[1]] = element.content_start, element.content_end
    return {
        index: (packet[slice(*fields.get(b"Semantic", (0, 0)))].strip(), fields.get(b"Length"))
        for index, fields in found.items()
    }
