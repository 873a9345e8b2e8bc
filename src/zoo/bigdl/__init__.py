"""BigDL's own vocabulary: Torch-style layers, criteria, optimizers, samples; `nn` is made of torch modules."""
