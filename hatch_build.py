"""Build hooks: compile the kernels if there is a C compiler, and make the README's links absolute."""

from __future__ import annotations

import os
import re
import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

NATIVE = Path("src") / "tessera" / "native"
REPOSITORY = "https://github.com/tessera-sr/tessera"


class KernelsHook(BuildHookInterface[Any]):
    """Builds the library of the kernels into the package, for wheels and editable installs.

    `TESSERA_KERNELS_PLATFORM` names another platform that a wheel is built for (scripts/release); a failure is then an
    error, and the library does not touch the one in the source tree.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library, add it to the wheel, and tag the wheel with the platform."""
        if self.target_name != "wheel":
            return
        native = runpy.run_path(str(Path(self.root) / NATIVE / "build.py"))
        platform = os.environ.get(native["PLATFORM_VARIABLE"])
        if platform:
            self._build_for(platform, native, build_data)
            return
        try:
            built = native["build"]()
        except native["NotBuiltError"] as error:
            self.app.display_warning(str(error))
            return
        build_data["artifacts"].append(f"/{NATIVE.as_posix()}/{built.library.name}")
        build_data["pure_python"] = False
        build_data["tag"] = native["wheel_tag"]()

    def _build_for(self, platform: str, native: dict[str, Any], build_data: dict[str, Any]) -> None:
        if platform not in native["PLATFORMS"]:
            known = ", ".join(native["PLATFORMS"])
            raise ValueError(f"{native['PLATFORM_VARIABLE']}: expected one of {known}, found {platform!r}")
        # Removed when the hook is: the wheel reads the file after this method.
        self._scratch = tempfile.TemporaryDirectory(prefix="tessera-wheel-")
        name = native["LIBRARY_NAMES"][native["system_of"](platform)]
        built = native["build"](Path(self._scratch.name) / name, platform=platform)
        if built.left_out:
            raise RuntimeError(f"The compiler did not build {', '.join(built.left_out)} for {platform}.")
        build_data["force_include"][str(built.library)] = f"tessera/native/{name}"
        build_data["pure_python"] = False
        build_data["tag"] = native["wheel_tag"](platform)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the library that was built for another platform."""
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()


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
