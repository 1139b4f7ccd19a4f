"""Build hooks: compile the kernels if there is a C compiler, and make the README's links absolute."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

NATIVE = Path("src") / "tessera" / "native"
REPOSITORY = "https://github.com/tessera-sr/tessera"


class KernelsHook(BuildHookInterface[Any]):
    """Builds `libtessera_kernels.so` into the package, for wheels and editable installs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library, add it to the wheel, and tag the wheel with the platform."""
        if self.target_name != "wheel":
            return
        native = runpy.run_path(str(Path(self.root) / NATIVE / "build.py"))
        try:
            built = native["build"]()
        except native["NotBuiltError"] as error:
            self.app.display_warning(str(error))
            return
        build_data["artifacts"].append(f"/{NATIVE.as_posix()}/{built.library.name}")
        build_data["pure_python"] = False
        build_data["tag"] = native["wheel_tag"]()


class ReadmeHook(MetadataHookInterface):
    """Sets the package's long description: the README with links that also work outside of the repository."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the field `readme`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": make_links_absolute(text)}


def make_links_absolute(markdown: str) -> str:
    """Replace relative links with links into the repository, and relative pictures with their raw files.

    >>> make_links_absolute("![dog](docs/dog.jpg) [use](docs/use.md#sizes) [site](https://example.org)")[:66]
    '![dog](https://github.com/tessera-sr/tessera/raw/main/docs/dog.jpg'
    """

    def replace(found: re.Match[str]) -> str:
        kind = "raw" if found["mark"] else "blob"
        return f"{found['mark']}[{found['text']}]({REPOSITORY}/{kind}/main/{found['target']})"

    return re.sub(r"(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<target>[^)]+)\)", replace, markdown)
