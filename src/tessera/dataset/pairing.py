"""Which picture belongs to which, by name: what is left without the marks of scale and role."""

from __future__ import annotations

import re
from pathlib import Path

_SUFFIXES = re.compile(
    r"(?:[_-]SRF[_-]\d+)?(?:[_-](?:HR|LR|SR|GT|LQ|out|rlt|result|sr_\d+x|bicubic|nearest))?(?:[_-]?x\d)?$",
    re.IGNORECASE,
)
_SUB_IMAGE = re.compile(r"_s\d{3,}$", re.IGNORECASE)


def key_of(path: Path) -> str:
    """What is left of a file's name without the marks of scale and role, folded; a sub-image keeps its number.

    >>> [key_of(Path(name)) for name in ("img_001_SRF_4_HR.png", "img_001_SRF_4_LR.png", "babyx4.png", "Baby_out.jpg")]
    ['img_001', 'img_001', 'baby', 'baby']
    >>> key_of(Path("0001x4_s012.png")) == key_of(Path("0001_s012.png"))
    True
    """
    stem, number = path.stem, ""
    if (found := _SUB_IMAGE.search(stem)) is not None and found.start() > 0:
        stem, number = stem[: found.start()], found[0]
    while (shorter := _SUFFIXES.sub("", stem)) and shorter != stem:
        stem = shorter
    return (stem + number).casefold()
