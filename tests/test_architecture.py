"""The file list is the diagram: imports point to the ground floor, without cycles, and never at what is forbidden."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "tessera"

# Ground floor first: a module may import from lines above its own. Stations on one line do not import each other.
FLOORS = (
    ("config", "errors", "machine", "version", "wording"),
    ("generators", "native", "storage"),
    ("images", "weights"),
    ("dataset", "degrade", "discriminators", "zoo"),
    ("engines", "trunks"),
    ("losses", "metrics", "pruning", "tiling"),
    ("planning",),
    ("upscaling",),
    ("bench", "evaluate"),
    ("report",),
    ("explain",),
    ("train",),
    ("deploy",),
    ("cli",),
    ("__main__", "__init__"),
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
GROUND = set(FLOORS[0])  # the root's own modules: they may import each other
FORBIDDEN = {"torchvision", "basicsr", "cv2", "PIL"}
ONLY_IN_PLACE = {"pyvips": {"images"}, "openvino": {"engines"}, "spandrel": {"weights"}}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def station(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names.add(node.module)
            if node.module == "tessera":
                names |= {f"tessera.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_point_to_the_ground_floor(path):
    here = station(path)
    assert here in FLOOR_OF, f"{here} is not in the diagram: add it to FLOORS and to docs/architecture.md"
    for name in imported(path):
        if not name.startswith("tessera."):
            continue
        there = name.split(".")[1]
        if there == here or (name == "tessera.__version__"):
            continue
        allowed = FLOOR_OF[there] < FLOOR_OF[here] or {here, there} <= GROUND
        assert allowed, f"{path.name} imports {name}, which lies above or beside it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_forbidden_or_out_of_place_is_imported(path):
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & FORBIDDEN
    for library, places in ONLY_IN_PLACE.items():
        assert library not in roots or station(path) in places


def test_every_station_of_the_diagram_exists_and_is_described():
    text = (SOURCE.parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name in {station(path) for path in modules()} - {"__init__", "__main__"}:
        assert f"{name}.py" in text or f"{name}/" in text, f"docs/architecture.md does not mention {name}"


def test_public_names_are_what_they_were():
    import tessera

    assert set(tessera.__all__) == {
        *("LoadedGenerator", "Picture", "Settings", "TesseraError", "Upscaler", "__version__"),
        *("load_generator", "read_picture", "save_weights", "upscale", "write_picture"),
    }
    assert len(tessera.__all__) <= 12
    for name in tessera.__all__:
        assert getattr(tessera, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'upscail'"):
        _ = tessera.upscail
