"""One picture, many files, several devices: what `tessera upscale` does."""
