"""Keras has the backend of the environment (KERAS_BACKEND), TensorFlow by default, before any test imports it."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what the first backend has shown for all (`one_backend`)."""
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        return
    left_out = [item for item in items if item.get_closest_marker("one_backend")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
