"""Tessera: one toolkit for the ESRGAN family of super-resolution."""

from tessera.version import __version__

__all__ = ["__version__"]
