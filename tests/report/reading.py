"""Reads pages back: a strict parser, and the pictures inside."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np

from pictures import Array
from tessera.images.libvips import vips

VOID = {"meta", "img", "input"}
EMPTY = {"line", "path"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    words: str = ""

    def all(self, tag: str, **wanted: str) -> list[Element]:
        found: list[Element] = []
        for child in self.children:
            if child.tag == tag and all(child.attributes.get(key) == value for key, value in wanted.items()):
                found.append(child)
            found += child.all(tag, **wanted)
        return found

    @property
    def text(self) -> str:
        return self.words


class StrictParser(HTMLParser):
    """Fails on any element that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in EMPTY
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.words += data


def parsed(page: str) -> Element:
    parser = StrictParser()
    parser.feed(page)
    parser.close()
    assert len(parser.open) == 1, f"<{parser.open[-1].tag}> is never closed"
    return parser.root


def decoded(uri: str | None) -> Array:
    """The picture of a data address, (H, W, 3)."""
    assert uri is not None
    head, data = uri.split(",")
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    image = vips().Image.new_from_buffer(base64.b64decode(data), "")
    return np.asarray(image.numpy())
