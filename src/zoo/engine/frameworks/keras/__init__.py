"""Keras 3 on each of its backends: model spec, replica, optimizers, metrics, callbacks.

The only room that imports keras, tensorflow and jax. Importing it loads none of them: Keras reads the name of its
backend once, when it is imported, so that name must be there before (`backends.begin`).
"""
