"""The file list is the diagram: imports point to the ground floor, without cycles, and never at what is forbidden."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "tessera"

# Ground floor first: a module may import from lines above its own. Stations on one line do not import each other.
FLOORS = (
    ("config", "errors", "libraries", "machine", "memory_errors", "version", "wording"),
    ("generators", "native", "storage"),
    ("discriminators",),
    ("images", "weights"),
    ("dataset", "degrade", "zoo"),
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
ONLY_IN_PLACE = {"pyvips": {"images"}, "spandrel": {"weights"}}


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


IMPORTERS = {"__init__.py", "cli/__init__.py", "generators/__init__.py", "libraries.py"}  # of Tessera's own modules


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_optional_libraries_are_imported_with_their_telemetry_off(path):
    if path.relative_to(SOURCE).as_posix() in IMPORTERS:
        return
    assert not {name.split(".")[0] for name in imported(path)} & {"openvino", "onnxruntime"}
    called = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert "import_module" not in called, f"{path}: use libraries.import_library"


def module_name(path: Path) -> str:
    parts = ("tessera", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_file_imports_itself_through_others():
    """Also not inside a function, and not for types alone."""
    known = {module_name(path) for path in modules()}
    above: dict[str, set[str]] = {}
    for path in modules():
        imports = set[str]()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    imports.add(inner if inner in known else node.module)
            elif isinstance(node, ast.Import):
                imports |= {alias.name for alias in node.names}
        above[module_name(path)] = (imports & known) - {module_name(path)}
    while ready := {name for name, imports in above.items() if not imports}:
        above = {name: imports - ready for name, imports in above.items() if name not in ready}
    # what is left imports each other in circles, or imports such a circle; drop the latter
    while unused := {name for name in above if not any(name in imports for imports in above.values())}:
        above = {name: imports for name, imports in above.items() if name not in unused}
    assert not above, f"these files import each other in circles: {', '.join(sorted(above))}"


def test_the_root_has_few_entries_and_few_floors():
    entries = {path.name for path in SOURCE.iterdir() if path.name not in ("__pycache__", "py.typed")}
    assert len(entries) <= 34
    assert len(FLOORS) <= 16


# Class names that two modules share, and why.
SHARED_CLASS_NAMES = {"RRDB": "the papers' name of a block, whose layers differ between the two networks"}


def test_no_two_classes_have_the_same_name():
    """Private ones included: a reader who searches for a name finds one thing."""
    places: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path.relative_to(SOURCE).as_posix())
    shared = {name: where for name, where in places.items() if len(where) > 1}
    assert shared.keys() == SHARED_CLASS_NAMES.keys(), shared


# Strings outside cli/ that hold an option for good reason.
OPTIONS_ALLOWED = ("pip install", "apt install")
# An option, but not a property of a style sheet.
OPTION = re.compile(r"(?<![\"\w-])(?<!var\()--[a-z][a-z-]*(?![a-z-]|:)")


def messages(path: Path) -> list[str]:
    """String constants of a module, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docs = {
        id(node.value)
        for parent in documented
        for node in parent.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return [node.value for node in constants if isinstance(node.value, str)]


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if station(path) != "cli"],
    ids=lambda path: path.relative_to(SOURCE).as_posix(),
)
def test_the_library_does_not_speak_command_line(path):
    """Errors name fields; the command line shows them as options (tessera.cli.options)."""
    for text in messages(path):
        if not any(words in text for words in OPTIONS_ALLOWED):
            assert OPTION.search(text) is None, text


# Calls that write files, and why they may stand outside of storage/. The list only shrinks.
WRITE_THEMSELVES = {
    "bench/launcher.py": "a report in a private temporary folder; imports nothing that costs time",
    "bench/peers.py": "files in a private temporary folder",
    "cli/streams.py": "the null device in the place of a closed stream",
    "dataset/cache.py": "NumPy writes into a file that storage has opened",
    "dataset/decoding.py": "a file in a private temporary folder",
    "deploy/npz.py": "NumPy writes into memory",
    "engines/ncnn/vulkan.py": "the null device in the place of standard error",
    "images/codecs/avif.py": "the temporary file that PictureWriter has created",
    "images/codecs/gif.py": "the temporary file that PictureWriter has created",
    "images/codecs/jpeg.py": "the temporary file that PictureWriter has created",
    "images/codecs/netpbm.py": "the temporary file that PictureWriter has created",
    "images/codecs/splicing.py": "the temporary file that PictureWriter has created",
    "images/codecs/webp.py": "the temporary file that PictureWriter has created",
    "images/exif_tables.py": "the temporary file that PictureWriter has created",
    "images/writer.py": "PictureWriter: an empty file under a new random name, for libvips to write to",
    "native/build.py": "runs during installation, before the package can be imported",
    "tiling/canvas.py": "a file without a name, for rows that do not fit in memory",
    "train/checkpoints.py": "flushes a file that it has just written under a temporary name",
    "weights/torchscript_file.py": "an archive in memory",
}
WRITING_METHODS = {"write_text", "write_bytes", "touch", "tofile", "symlink_to", "hardlink_to"}
WRITING_FUNCTIONS = {
    *(
        "np.save",
        "np.savez",
        "np.savez_compressed",
        "numpy.save",
        "torch.save",
        "save_file",
        "safetensors.torch.save_file",
    ),
    *("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.move", "shutil.copytree"),
    *("os.rename", "os.replace", "os.link", "os.symlink", "os.mkfifo", "os.truncate"),
    *("tempfile.mkstemp", "tempfile.mktemp", "tempfile.NamedTemporaryFile", "tempfile.TemporaryFile"),
}
WRITING_MODE = re.compile(r"[rbt]*[wax+][rbt+]*")
WRITING_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}


def writing_calls(tree: ast.AST) -> list[str]:
    """The calls that create or change a file, by line; names imported from tessera.storage.files are fine."""
    ours = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tessera.")
        for alias in node.names
    }
    found: list[str] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else name
        values = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
        modes = [each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        flags = {each.attr for value in values for each in ast.walk(value) if isinstance(each, ast.Attribute)}
        if (
            (
                method in ("open", "fdopen", "ZipFile")
                and any(re.fullmatch(r"[rbt]*[wax+][rbt+]*", mode) for mode in modes)
            )
            or (name == "os.open" and flags & WRITING_FLAGS)
            or (isinstance(node.func, ast.Attribute) and method in WRITING_METHODS)
            or (name in WRITING_FUNCTIONS and name not in ours)
        ):
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_are_written_through_storage(path):
    """A name in somebody's folder may be a link, a FIFO or a device: tessera.storage.files knows (SECURITY.md)."""
    found = writing_calls(ast.parse(path.read_text(encoding="utf-8")))
    name = path.relative_to(SOURCE).as_posix()
    if station(path) == "storage":
        return
    if name in WRITE_THEMSELVES:
        assert found, f"{name} writes nothing itself any more: remove it from WRITE_THEMSELVES"
    else:
        assert not found, f"{name}: {'; '.join(found)}. Use tessera.storage.files"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("open(path, 'w')", 1),
        ("path.open(mode='ab')", 1),
        ("open(path)", 0),
        ("path.open('rb')", 0),
        ("os.open(path, os.O_WRONLY | os.O_CREAT)", 1),
        ("os.open(path, os.O_RDONLY)", 0),
        ("path.write_text('w')", 1),
        ("np.save(path, array)", 1),
        ("from tessera.storage.files import write_text\nwrite_text(path, 'w')", 0),
    ],
)
def test_writing_calls_are_recognized(code, count):
    assert len(writing_calls(ast.parse(code))) == count
