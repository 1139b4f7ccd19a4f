"""The documentation site and the man page build without warnings, and load nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import tessera
from tessera.train.recipe import RECIPES

ROOT = Path(__file__).parent.parent
sphinx = pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make docs` writes, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(["bash", ROOT / "scripts" / "docs", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def test_no_page_requests_anything_from_elsewhere(site: Path) -> None:
    pages = list((site / "html").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>", html), page
        assert not re.findall(r"<link\b(?![^>]*rel=[\"']?canonical)[^>]*href=[\"']?(?:https?:)?//[^>]*>", html), page
    for sheet in (site / "html").rglob("*.css"):
        assert not re.findall(
            r"url\(\s*[\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//", sheet.read_text("utf-8")
        ), sheet


def test_the_reference_has_every_command_option_public_name_and_recipe(site: Path) -> None:
    commands = site / "html" / "reference" / "generated" / "commands"
    assert "--outscale" in text_of(commands / "upscale.html")
    assert "tessera models interpolate" in text_of(commands / "models.html")
    api = text_of(site / "html" / "reference" / "api.html") + text_of(
        site / "html" / "reference" / "generated" / "settings.html"
    )
    for name in tessera.__all__:
        assert name in api, name
    recipes = text_of(site / "html" / "reference" / "generated" / "recipes.html")
    for name in RECIPES:
        assert name in recipes, name
    keys = text_of(site / "html" / "reference" / "generated" / "recipe-keys.html")
    for key in ("accumulate", "instance_noise", "weight_decay", "cache_folder"):
        assert key in keys, key


def test_the_man_page_has_every_command(site: Path) -> None:
    page = (site / "man" / "tessera.1").read_text(encoding="utf-8").replace("\\-", "-")
    assert page.count(".SH") > 15
    for words in ("TESSERA UPSCALE", "tessera models list", "--outscale", "TESSERA DOCTOR"):
        assert words.lower() in page.lower(), words
