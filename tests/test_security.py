"""SECURITY.md names a test for each promise; every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_promise_names_a_test_that_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promises = text[text.index("## Promises") : text.index("## What is not promised")]
    rows = [line for line in promises.splitlines() if line.startswith("|") and not re.match(r"\|(---| promise )", line)]
    assert len(rows) > 20
    assert all(NAMED.search(row) for row in rows)
    for path, name in NAMED.findall(text):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}: no {name}"


def test_the_minimum_versions_are_those_of_the_package() -> None:
    from tessera.libraries import MINIMUM_VERSIONS

    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name, version in MINIMUM_VERSIONS.items():
        needed = ".".join(map(str, version))
        assert f"| `{name}` | {needed} |" in text
        assert set(re.findall(rf'"{name}>=([\d.]+)"', project)) == {needed}
