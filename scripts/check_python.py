"""Say plainly when the Python at hand is too old or too new, before pip does it at length."""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    found = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"Tessera needs Python 3.11, 3.12 or 3.13 and this is {found}: make PYTHON=python3.12 demo")
