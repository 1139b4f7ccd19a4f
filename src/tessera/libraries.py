"""Optional third-party libraries, imported with their telemetry switched off.

OpenVINO's Python tools report every import to a statistics server and keep a client id in the home folder; ONNX Runtime
(1.27 and later) does the same from its native code. Tessera sends nothing, and neither does what it imports: every
optional library is imported through `import_library`, which switches telemetry off first.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from typing import Any, cast

TELEMETRY_SWITCHES = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
"""Read once by ONNX Runtime when its library is loaded (microsoft/onnxruntime pull requests 27379 and 29843)."""
TELEMETRY_PACKAGES = ("openvino_telemetry",)
"""Packages that only send usage data. Their callers carry on without them when the import fails."""
MINIMUM_VERSIONS = {"onnxruntime": (1, 27)}
"""Earlier versions read external data of a hostile model from outside its folder (see SECURITY.md)."""


def import_library(name: str) -> Any:
    """Import a library, or a module inside one, without starting its telemetry.

    Args:
        name: the full module name, such as "openvino.opset15".

    Returns:
        The module, untyped: most of these libraries are compiled and have no types.

    Raises:
        ImportError: the library is missing, broken or too old to be safe. A broken one may raise anything else.
    """
    switch_telemetry_off()
    check_version(name.partition(".")[0])
    return importlib.import_module(name)


def check_version(name: str) -> None:
    """Raise ImportError for an installed library that is older than the first safe version."""
    minimum = MINIMUM_VERSIONS.get(name)
    if minimum is None:
        return
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # a build under another name, such as onnxruntime-gpu
        return
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < minimum:
        needed = ".".join(map(str, minimum))
        raise ImportError(f"{name} {version} is not safe: expected {needed} or later. pip install -U {name}")


def switch_telemetry_off() -> None:
    """Switch telemetry off for this process and its children, unless the user has set the switch."""
    for variable in TELEMETRY_SWITCHES:
        os.environ.setdefault(variable, "1")
    for package in TELEMETRY_PACKAGES:
        if package not in sys.modules:
            cast(dict[str, Any], sys.modules)[package] = None  # makes `import` raise ModuleNotFoundError
