"""XMP packets are corrected to the byte, and in work that grows linearly with their size."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from tessera.images import xmp
from tessera.images.xmp import MalformedXmpError, correct_xmp, parse_xmp
from tessera.images.xmp_extended import merge_extended, split_extended

RDF = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b"%s</rdf:RDF></x:xmpmeta>"
)
TIFF = b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b'<a tiff:Orientation="6"/>', b'<a tiff:Orientation="1"/>'),
        (b"<a tiff:Orientation = '6'/>", b"<a tiff:Orientation = '1'/>"),
        (b"<tiff:ImageWidth>\n 3 </tiff:ImageWidth>", b"<tiff:ImageWidth>\n 70 </tiff:ImageWidth>"),
        (b'<a xmlns:t="http://ns.adobe.com/tiff/1.0/" t:ImageLength="3"/>', None),
        (b'<!-- tiff:Orientation="6" --><a/>', b'<!-- tiff:Orientation="6" --><a/>'),
        (
            b"<![CDATA[ <tiff:Orientation>6</tiff:Orientation> ]]>",
            b"<![CDATA[ <tiff:Orientation>6</tiff:Orientation> ]]>",
        ),
        (b'<a title="tiff:Orientation=6 &gt;"/>', b'<a title="tiff:Orientation=6 &gt;"/>'),
        (b'<a xmlns:tiff="urn:other" tiff:Orientation="6"/>', b'<a xmlns:tiff="urn:other" tiff:Orientation="6"/>'),
        (b"<a><xmp:Thumbnails><b/></xmp:Thumbnails>\n<c/></a>", b"<a><c/></a>"),
        (b"<a><xmp:Thumbnails/></a>", b"<a></a>"),
    ],
)
def test_what_is_corrected(given: bytes, expected: bytes | None) -> None:
    expected = expected if expected is not None else given.replace(b'"3"', b'"50"')
    assert correct_xmp(given, height=50, width=70) == expected


@pytest.mark.parametrize(
    "broken",
    [
        *(
            b"<a><b></a></b>",
            b"<a",
            b'<a x="',
            b"<a x=1/>",
            b"<a x/>",
            b"</a>",
            b"<a>",
            b"<!-- ",
            b"<![CDATA[ ",
            b"<?xpacket",
        ),
        *(b"< a/>", b"<a/ >", b"<a\x00/>"),
    ],
)
def test_what_is_not_well_formed_is_refused_only_if_it_must_be_corrected(broken: bytes) -> None:
    assert correct_xmp(broken, height=1, width=1) == broken
    with pytest.raises(MalformedXmpError):
        correct_xmp(b'<a tiff:Orientation="6"/>' + broken, height=1, width=1)


class CountedBytes(bytes):
    """Bytes that count how many of them `find` looks at."""

    looked_at = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        found = super().find(sub, start)
        self.looked_at += (found if found >= 0 else len(self)) - start + len(sub)
        return found


class CountedPattern:
    """A pattern that counts how many bytes it looks at."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.looked_at = 0

    def search(self, text: bytes, at: int) -> re.Match[bytes] | None:
        found = self._pattern.search(text, at)
        self.looked_at += (found.end() if found else len(text)) - at
        return found

    def match(self, text: bytes, at: int) -> re.Match[bytes] | None:
        found = self._pattern.match(text, at)
        self.looked_at += found.end() - at + 1 if found else 1
        return found


def look(packet: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes are looked at to correct a packet."""
    text = CountedBytes(packet)
    with monkeypatch.context() as patched:
        counted = {name: CountedPattern(getattr(xmp, name)) for name in ("_MARKUP", "_NAME", "_SPACE")}
        for name, pattern in counted.items():
            patched.setattr(xmp, name, pattern)
        with contextlib.suppress(MalformedXmpError):
            xmp.correct_xmp(text, height=1, width=1)
    return text.looked_at + sum(pattern.looked_at for pattern in counted.values())


HOSTILE = {
    "thumbnails": b"<xmp:Thumbnails ",
    "open thumbnails": b"<xmp:Thumbnails>",
    "comments": b"<!--",
    "sections": b"<![CDATA[",
    "instructions": b"<?",
    "blanks": b" ",
    "blanks before tags": b"<a >" + b" " * 60 + b"</a >",
    "quotes": b'x="',
    "apostrophes": b"x='\"",
    "tags": b'<a tiff:Orientation="6"/>',
    "nested tags": b"<a><b/>",
    "nested items": b'<c:Item xmlns:c="http://ns.google.com/photos/1.0/container/">',
    "elements": b"<tiff:ImageWidth>1</tiff:ImageWidth>",
    "declarations": b'<a xmlns:b="c">',
    "digits": b"tiff:Orientation>1111111",
    "signs": b">",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_twice_the_packet_is_at_most_twice_the_work(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    start = b'<r tiff:Orientation="6">'
    count = 60_000 // len(unit)
    once, twice = (look(start + unit * (count * factor), monkeypatch) for factor in (1, 2))
    assert once > 0
    assert twice <= 2.1 * once + 1000
    assert twice <= 4 * len(unit) * count * 2 + 1000


def test_the_number_of_tags_is_bounded() -> None:
    with pytest.raises(MalformedXmpError):
        parse_xmp(b"<a/>" * 200_001)
    with pytest.raises(MalformedXmpError):
        parse_xmp((b"<a" + b' b="c"' * 1000 + b"/>") * 201)


def test_a_second_part_that_would_grow_without_bound_is_refused() -> None:
    declarations = b"".join(b' xmlns:p%d="urn:x"' % number for number in range(5000))
    extended = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"%s>%s</rdf:RDF>' % (
        declarations,
        b"<rdf:Description/>" * 50_000,
    )
    with pytest.raises(MalformedXmpError):
        merge_extended(RDF % b"", extended)


@pytest.mark.parametrize("most", [1000, 5000])
def test_splitting_moves_the_largest_properties_and_merging_brings_them_back(most: int) -> None:
    names = [b"p%d" % number for number in range(12)]
    attributes = b"".join(b' q:%s="%s"' % (name, b"v" * 40 * index) for index, name in enumerate(names))
    elements = b"".join(b"<q:e%s>%s</q:e%s>" % (name, b"w" * 90 * index, name) for index, name in enumerate(names))
    packet = RDF % (b'<rdf:Description rdf:about="" xmlns:q="urn:q"%s>%s</rdf:Description>' % (attributes, elements))
    main, extended, _ = split_extended(packet, most)
    assert len(main) <= most
    assert b'q:p0=""' in main
    merged = merge_extended(main, extended)
    found = {attribute.raw_name for element in parse_xmp(merged) for attribute in element.attributes}
    assert {b"q:" + name for name in names} <= found
    assert all(b"<q:e%s>%s</q:e%s>" % (name, b"w" * 90 * index, name) in merged for index, name in enumerate(names))
    assert b"HasExtendedXMP" not in merged


def test_a_packet_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(MalformedXmpError):
        split_extended(RDF % (b"<!--%s-->" % (b"x" * 5000)), 1000)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_packet_in_utf_16_is_corrected_too(encoding: str) -> None:
    packet = '<a tiff:Orientation="6" t="Größe"/>'.encode(encoding)
    assert correct_xmp(packet, height=1, width=1) == '<a tiff:Orientation="1" t="Größe"/>'.encode()
    with pytest.raises(MalformedXmpError):
        correct_xmp(packet[:-1], height=1, width=1)


def test_sizes_of_a_panorama_are_scaled() -> None:
    """Twice a picture of 100x50 that is part of a panorama (Google, "Photo Sphere XMP Metadata")."""
    packet = (
        b'<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:FullPanoWidthPixels="400"'
        b' GPano:CroppedAreaLeftPixels="30" GPano:PoseHeadingDegrees="90" GPano:ProjectionType="equirectangular">'
        b"<GPano:FullPanoHeightPixels>200</GPano:FullPanoHeightPixels>"
        b"<GPano:CroppedAreaTopPixels>75</GPano:CroppedAreaTopPixels>"
        b"<GPano:CroppedAreaImageWidthPixels>100</GPano:CroppedAreaImageWidthPixels>"
        b"<GPano:CroppedAreaImageHeightPixels>50</GPano:CroppedAreaImageHeightPixels></rdf:Description>"
    )
    expected = (
        b'<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:FullPanoWidthPixels="800"'
        b' GPano:CroppedAreaLeftPixels="60" GPano:PoseHeadingDegrees="90" GPano:ProjectionType="equirectangular">'
        b"<GPano:FullPanoHeightPixels>400</GPano:FullPanoHeightPixels>"
        b"<GPano:CroppedAreaTopPixels>150</GPano:CroppedAreaTopPixels>"
        b"<GPano:CroppedAreaImageWidthPixels>200</GPano:CroppedAreaImageWidthPixels>"
        b"<GPano:CroppedAreaImageHeightPixels>100</GPano:CroppedAreaImageHeightPixels></rdf:Description>"
    )
    assert correct_xmp(packet, height=100, width=200) == expected


@pytest.mark.parametrize(
    "packet",
    [
        b'<r xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" %s><mwg-rs:AppliedToDimensions'
        b' stDim:w="100" stDim:h="50" stDim:unit="pixel"/><mwg-rs:Area stArea:x="0.5" stDim:w="7"/></r>',
        b'<r xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" %s><mwg-rs:AppliedToDimensions>'
        b'<rdf:Description stDim:w="100"><stDim:h>50</stDim:h></rdf:Description></mwg-rs:AppliedToDimensions></r>',
    ],
    ids=["attributes", "elements"],
)
def test_the_size_to_which_regions_apply_is_that_of_the_picture(packet: bytes) -> None:
    """Readers discard regions of another size (Metadata Working Group, "Guidelines", 2.0, 5.9)."""
    packet %= b'xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"'
    expected = packet.replace(b"100", b"400").replace(b"50", b"200")
    assert correct_xmp(packet, height=200, width=400) == expected
