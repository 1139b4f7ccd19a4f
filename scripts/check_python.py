"""Check the Python version, so that the user reads one clear line instead of pip's long message."""

import sys

OLDEST = (3, 11)

if sys.version_info[:2] < OLDEST:
    found = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"Tessera needs Python 3.11 or later, found {found}. Name another one: make PYTHON=python3.12 demo")
