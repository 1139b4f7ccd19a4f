"""The generator of ESRGAN-Pytorch."""
