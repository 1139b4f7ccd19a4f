"""The license of weights: by the digest of published files, else from the metadata of the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tessera.weights.published import find_published

LICENSE_KEY = "tessera.licence"
UNKNOWN = "unknown"
_KEYS = (LICENSE_KEY, "modelspec.license", "license", "licence")
_LONGEST = 200


def find_license(sha256: str | None, metadata: Mapping[str, str]) -> str | None:
    """Find the license of the published model with this digest, else that in the metadata, else None."""
    published = find_published(sha256) if sha256 is not None else None
    if published is not None:
        return published.license
    told = (" ".join(metadata.get(key, "").split())[:_LONGEST] for key in _KEYS)
    return next((text for text in told if text), None)


def combine_licenses(licenses: Iterable[str | None]) -> str | None:
    """Combine the licenses of blended weights into an SPDX expression; None if none is known.

    >>> combine_licenses(["BSD-3-Clause", "Apache-2.0", "BSD-3-Clause AND Apache-2.0"])
    'BSD-3-Clause AND Apache-2.0'
    >>> combine_licenses(["MIT OR Apache-2.0", None])
    '(MIT OR Apache-2.0) AND unknown'
    """
    terms: dict[str, None] = {}
    for license in licenses:
        text = license or UNKNOWN
        compound = " OR " in text or "(" in text
        terms |= dict.fromkeys([f"({text})"] if compound else text.split(" AND "))
    return None if terms.keys() <= {UNKNOWN} else " AND ".join(terms)
