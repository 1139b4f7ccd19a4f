"""Blocks of a network that add least are taken out: what each adds is measured, the rest stays as it was."""
