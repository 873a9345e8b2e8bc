"""Data for TensorFlow programs."""
