"""Tessera's own kernels: C sources, how they are built, and the loader (docs/explanation/kernels.md)."""
