"""The hook of the install: builds the kernels where a C compiler is, and never fails for want of them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src") / "tessera" / "native"


class KernelsHook(BuildHookInterface):
    """Builds `libtessera_kernels.so` into the package, for wheels and for installs that can be edited."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the library among what is shipped, and say for which platform the wheel is then."""
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
