"""Degradation of photographs: drawn as a value, and applied as a pure function."""

from tessera.degrade.realesrgan import RealESRGANDegradation
from tessera.degrade.recipe import BatchDraw, Degradation, Degraded, apply, draw, from_json, to_json
from tessera.degrade.sharpen import sharpen
from tessera.degrade.simple import Area, Cv2Cubic, MatlabBicubic, PilBicubic

__all__ = [
    "Area",
    "BatchDraw",
    "Cv2Cubic",
    "Degradation",
    "Degraded",
    "MatlabBicubic",
    "PilBicubic",
    "RealESRGANDegradation",
    "apply",
    "draw",
    "from_json",
    "sharpen",
    "to_json",
]
