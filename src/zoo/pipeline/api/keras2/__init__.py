"""The Keras-style API in the words of Keras 2."""
