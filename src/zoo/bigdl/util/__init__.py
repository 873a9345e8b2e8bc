"""`common`: starting, samples and tensors."""
