"""Keras has the backend of the environment (KERAS_BACKEND), TensorFlow by default, before any test imports it."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
