"""Layers by their names in Keras 1.2, BigDL and Analytics Zoo."""
