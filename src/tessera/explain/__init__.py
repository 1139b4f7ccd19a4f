"""Attention of a discriminator: the maps of its gates and its logits, as tensors, pictures and statistics."""

from tessera.explain.live import LiveMaps, compute_live_maps
from tessera.explain.maps import Gate, compute_attention_maps, compute_logits, list_gates

__all__ = ["Gate", "LiveMaps", "compute_attention_maps", "compute_live_maps", "compute_logits", "list_gates"]
