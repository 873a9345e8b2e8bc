"""TensorFlow 1 as its programs know it: ``from zoo.tfpark.compat import tf`` in place of ``import tensorflow as tf``.

`tf` is ``tensorflow.compat.v1`` with ``tf.estimator``, which TensorFlow no longer has: the words of
`zoo.tfpark.estimator`. Importing it makes this process build graphs, as TensorFlow 1 did; import it before anything of
TensorFlow is used. Keras 3 needs the opposite: programs with Keras models import ``tensorflow``.

Owns: that.
Leaves: the words themselves (zoo.tfpark.estimator).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from zoo.engine.frameworks.tensorflow.process import library
from zoo.tfpark import estimator

_v1 = library("zoo.tfpark.compat is TensorFlow 1").compat.v1
_v1.disable_eager_execution()


class _TensorFlow(ModuleType):
    """``tensorflow.compat.v1`` and ``estimator``."""

    estimator = estimator

    def __getattr__(self, name: str) -> Any:
        return getattr(_v1, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(_v1), "estimator"})


tf = _TensorFlow("tf", __doc__)
