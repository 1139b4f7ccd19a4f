"""What a discriminator looks at: the maps of its attention gates and its answers, as tensors, pictures and numbers."""

from tessera.explain.live import LiveMaps, live_maps
from tessera.explain.looking import Gate, answers, attention_maps, gates_of

__all__ = ["Gate", "LiveMaps", "answers", "attention_maps", "gates_of", "live_maps"]
