"""XMP in two parts, as JPEG stores packets above 64 KiB (Adobe, "XMP Specification Part 3", section 1.1.3.1).

The main packet names the MD5 sum of the second, which is separate RDF with the large properties.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from tessera.images.xmp import NOTE, RDF, Edit, Element, MalformedXmpError, apply_edits, parse_xmp

_HEAD = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="%s">'
_TAIL = b"</rdf:RDF></x:xmpmeta>"
_LINK = b' xmlns:xmpNote="%s" xmpNote:HasExtendedXMP="%s"'
_MOST_COPIED_BYTES = 2**24
"""Of namespace declarations that are repeated for each description."""
_LINK_BYTES = len(_LINK % (NOTE, b"0" * 32))


def read_extension_digest(packet: bytes) -> bytes | None:
    """Read the digest of the second part that a main packet names; None if it names none or is malformed."""
    if b"HasExtendedXMP" not in packet:
        return None
    try:
        elements = parse_xmp(packet)
    except MalformedXmpError:
        return None
    for element in elements:
        if element.name == (NOTE, b"HasExtendedXMP"):
            return packet[element.content_start : element.content_end].strip()
        for attribute in element.attributes:
            if attribute.name == (NOTE, b"HasExtendedXMP"):
                return packet[attribute.value_start : attribute.value_end].strip()
    return None


def merge_extended(main: bytes, extended: bytes) -> bytes:
    """Put the descriptions of the second part into the main packet. Raises MalformedXmpError."""
    elements, more = parse_xmp(main), parse_xmp(extended)
    target, root = _find_rdf(elements), _find_rdf(more)
    if elements[target].is_empty:
        raise MalformedXmpError
    inherited = _list_declarations(more, root)
    described = [element for element in more if element.parent == root and element.name == (RDF, b"Description")]
    _check_copies(inherited, len(described))
    pieces: list[bytes] = []
    for element in described:
        own = b"".join(whole for prefix, whole in inherited.items() if prefix not in element.declared)
        pieces += (extended[element.start : element.name_end], own, extended[element.name_end : element.end])
    end = elements[target].content_end
    edits: list[Edit] = [(end, end, b"".join(pieces))]
    for element in elements:
        edits += [(a.start, a.end, b"") for a in element.attributes if a.name == (NOTE, b"HasExtendedXMP")]
        if element.name == (NOTE, b"HasExtendedXMP"):
            edits.append((element.start, element.end, b""))
    return apply_edits(main, edits)


def split_extended(packet: bytes, most: int) -> tuple[bytes, bytes, bytes]:
    """Split a packet, its largest properties first -> main packet of at most `most` bytes, second part, its digest.

    Raises MalformedXmpError if the packet is not well formed, or cannot be split so far.
    """
    elements = parse_xmp(packet)
    root = _find_rdf(elements)
    described = {
        index: element
        for index, element in enumerate(elements)
        if element.parent == root and element.name == (RDF, b"Description")
    }
    spans = [(element.parent, element.start, element.end, False) for element in elements if element.parent in described]
    for index, element in described.items():
        spans += [(index, a.start, a.end, True) for a in element.attributes if a.name[0] != RDF]
    spans.sort(key=lambda span: span[1] - span[2])
    left, count = len(packet) + _LINK_BYTES, 0
    while left > most and count < len(spans):
        left -= spans[count][2] - spans[count][1]
        count += 1
    if left > most or not described:
        raise MalformedXmpError
    moved: dict[int, list[tuple[int, int, bool]]] = {}
    for index, start, end, is_attribute in sorted(spans[:count]):
        moved.setdefault(index, []).append((start, end, is_attribute))
    inherited = _list_declarations(elements, root)
    _check_copies(inherited, len(moved))
    pieces = [_HEAD % RDF]
    for index, parts in moved.items():
        element = elements[index]
        declared = inherited | {prefix: whole for prefix, (_, whole) in element.declared.items()}
        declared.pop(b"rdf", None)
        about = next((packet[a.start : a.end] for a in element.attributes if a.name == (RDF, b"about")), b"")
        pieces += (b"<rdf:Description", b"".join(declared.values()), about)
        pieces += (packet[start:end] for start, end, is_attribute in parts if is_attribute)
        pieces.append(b">")
        pieces += (packet[start:end] for start, end, is_attribute in parts if not is_attribute)
        pieces.append(b"</rdf:Description>")
    extended = b"".join((*pieces, _TAIL))
    digest = hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode()
    at = next(iter(described.values())).name_end
    edits = [(start, end, b"") for _, start, end, _ in spans[:count]]
    return apply_edits(packet, [(at, at, _LINK % (NOTE, digest)), *edits]), extended, digest


def _check_copies(declarations: Mapping[bytes, bytes], count: int) -> None:
    """Raise MalformedXmpError if repeating declarations would let a small file grow without bound."""
    if sum(map(len, declarations.values())) * count > _MOST_COPIED_BYTES:
        raise MalformedXmpError


def _find_rdf(elements: Sequence[Element]) -> int:
    found = next((index for index, element in enumerate(elements) if element.name == (RDF, b"RDF")), None)
    if found is None:
        raise MalformedXmpError
    return found


def _list_declarations(elements: Sequence[Element], index: int) -> dict[bytes, bytes]:
    """The namespace declarations that are valid inside an element, as they are written."""
    found: dict[bytes, bytes] = {}
    while index >= 0:
        for prefix, (_, whole) in elements[index].declared.items():
            found.setdefault(prefix, whole)
        index = elements[index].parent
    return found
