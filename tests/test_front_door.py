"""What a newcomer relies on: project metadata, the README on the package index, workflows and templates."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tessera.version import __version__

yaml = pytest.importorskip("yaml")
pytest.importorskip("hatchling")

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_long_description_has_only_absolute_links() -> None:
    command = [sys.executable, "-m", "hatchling", "metadata", "readme"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 10
    assert all(target.startswith("https://") for target in targets)
    assert "(https://github.com/tessera-sr/tessera/raw/main/docs/images/before_after.jpg)" in text


def test_the_workflows_run_the_tests_on_every_python_and_system() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    named = {line.rsplit(" ", 1)[-1] for line in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", line)}
    assert set(matrix["python"]) == named == {"3.11", "3.12", "3.13", "3.14"}
    assert {each["os"] for each in matrix["include"]} == {"macos-latest", "windows-latest"}


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_a_workflow_or_template_is_valid_and_its_scripts_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert isinstance(content, dict)
    for script in re.findall(r"\bscripts/\w+", text):
        assert (ROOT / script).exists(), script
    for job in content.get("jobs", {}).values():
        assert {"runs-on", "steps", "timeout-minutes"} <= set(job)
        for step in job["steps"]:
            assert len({"uses", "run"} & set(step)) == 1, step


def test_every_extra_and_group_that_is_installed_somewhere_exists() -> None:
    groups, extras = set(PROJECT["dependency-groups"]), set(PROJECT["project"]["optional-dependencies"])
    places = [ROOT / "Makefile", *(ROOT / ".github" / "workflows").iterdir(), *ROOT.glob("*.md")]
    places += [page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts]
    for path in places:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"--group ([\w-]+)", text)) <= groups, path
        for names in re.findall(r"(?:EXTRAS :?[:=]+ |EXTRAS: |install [^\n`]*['\"]\.\[)([\w,-]+)", text):
            assert set(names.split(",")) <= extras, path


def test_the_citation_and_the_changelog_know_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_target_of_the_makefile_has_a_recipe() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    for target in listed.split():
        assert re.search(rf"^{target}:.*\n\t", text, re.MULTILINE), target
