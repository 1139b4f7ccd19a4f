"""The documentation site: Sphinx with MyST and furo. `make docs` builds it and the man page."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from tessera.version import __version__

project = "Tessera"
author = "The Tessera developers"
copyright = "The Tessera developers. Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated_pages", "plain_docstrings"]
exclude_patterns = ["_build", "_ext"]
nitpicky = False

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

smartquotes = False  # would turn the dashes of options into en dashes

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# No third-party request: furo uses system fonts, and no extension loads a script or a style sheet from elsewhere.
html_theme = "furo"
html_title = "Tessera"
html_static_path = ["_static"]
html_css_files = ["tessera.css"]
html_show_sourcelink = False
html_copy_source = False

man_pages = [
    ("reference/generated/commands/index", "tessera", "super-resolution with the ESRGAN family", [], 1),
]
