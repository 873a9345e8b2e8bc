"""Models: the Keras-style API, automatic differentiation, models in files."""
