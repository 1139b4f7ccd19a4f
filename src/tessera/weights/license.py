"""Under which license weights are: known for published files by their sha256, and read where a file tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tessera.weights.published import find_published

LICENSE_KEY = "tessera.licence"
UNKNOWN = "unknown"
_KEYS = (LICENSE_KEY, "modelspec.license", "license", "licence")
_LONGEST = 200


def license_of(sha256: str | None, metadata: Mapping[str, str]) -> str | None:
    """Give the license of the published file with this sha256, else the one that the metadata tells, else None."""
    published = find_published(sha256) if sha256 is not None else None
    if published is not None:
        return published.license
    told = (" ".join(metadata.get(key, "").split())[:_LONGEST] for key in _KEYS)
    return next((text for text in told if text), None)


def license_of_mix(licenses: Iterable[str | None]) -> str | None:
    """Give what holds for weights made of several: every license, as SPDX writes it; None if not one is known.

    >>> license_of_mix(["BSD-3-Clause", "Apache-2.0", "BSD-3-Clause AND Apache-2.0"])
    'BSD-3-Clause AND Apache-2.0'
    >>> license_of_mix(["MIT OR Apache-2.0", None])
    '(MIT OR Apache-2.0) AND unknown'
    """
    terms: dict[str, None] = {}
    for license in licenses:
        text = license or UNKNOWN
        compound = " OR " in text or "(" in text
        terms |= dict.fromkeys([f"({text})"] if compound else text.split(" AND "))
    return None if terms.keys() <= {UNKNOWN} else " AND ".join(terms)
