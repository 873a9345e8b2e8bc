"""Features: what is done with a value before a model gets it."""
