"""Under which license weights are: from the published sums, from metadata, and for mixtures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stand_ins import loaded
from tessera.generators import SRVGGNetCompactConfig
from tessera.weights.license import LICENSE_KEY, combine_licenses, find_license
from tessera.weights.published import MODELS, find_published
from tessera.zoo.interpolation import interpolate

PUBLISHED = [
    (digest, model)
    for model in MODELS
    for digest in (
        *(model.remote.sha256 if model.remote is not None else ()),
        *([model.packaged.digest] if model.packaged is not None else ()),
    )
]


@pytest.mark.parametrize(("digest", "model"), PUBLISHED, ids=lambda value: getattr(value, "name", str(value)[:8]))
def test_every_published_sum_leads_to_its_model_and_license(digest: str, model: object) -> None:
    found = find_published(digest)
    assert found is model
    assert found is not None
    assert find_license(digest, {"license": "another"}) == found.license


@pytest.mark.parametrize(
    ("metadata", "license"),
    [
        ({}, None),
        ({"license": "  "}, None),
        ({"license": "CC-BY-4.0"}, "CC-BY-4.0"),
        ({"modelspec.license": "MIT", "license": "other"}, "MIT"),
        ({LICENSE_KEY: "MIT", "license": "other"}, "MIT"),
        ({"license": "in\ntwo  lines"}, "in two lines"),
        ({"license": "x" * 10_000}, "x" * 200),
    ],
)
def test_a_file_nobody_published_has_the_license_it_tells(metadata: dict[str, str], license: str | None) -> None:
    assert find_license("0" * 64, metadata) == license
    assert find_license(None, metadata) == license


@pytest.mark.parametrize(
    ("parts", "license"),
    [
        (["MIT", "MIT"], "MIT"),
        (["MIT", "BSD-3-Clause"], "MIT AND BSD-3-Clause"),
        (["MIT", None], "MIT AND unknown"),
        ([None, None], None),
        (["MIT AND unknown", "unknown"], "MIT AND unknown"),
        (["(A OR B) AND C", "C"], "((A OR B) AND C) AND C"),
    ],
)
def test_a_mixture_is_under_all_its_licenses(parts: list[str | None], license: str | None) -> None:
    assert combine_licenses(parts) == license


def test_a_part_without_a_share_has_no_say() -> None:
    config = SRVGGNetCompactConfig(features=4, convolutions=1, scale=2)
    ends = [replace(loaded(config.build(), config), license=name) for name in ("MIT", "Apache-2.0")]
    assert interpolate([(ends[0], 0.5), (ends[1], 0.5)]).license == "MIT AND Apache-2.0"
    mixed = interpolate([(ends[0], 0), (ends[1], 1)])
    assert mixed.license == "Apache-2.0"
    assert [part["licence"] for part in json.loads(mixed.metadata["tessera.mixed_from"])] == ["MIT", "Apache-2.0"]
