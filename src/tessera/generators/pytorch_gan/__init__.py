"""GeneratorRRDB of PyTorch-GAN."""
