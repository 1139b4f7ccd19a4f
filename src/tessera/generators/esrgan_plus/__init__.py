"""The generator of ESRGAN+."""
