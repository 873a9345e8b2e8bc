"""`Net.load_tf`: SavedModels and frozen graphs of TensorFlow that predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import files
from zoo.pipeline.api.net import Net

pytestmark = pytest.mark.tensorflow

KERNEL = np.arange(6, dtype=np.float32).reshape(3, 2)
X = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)


class Module(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(KERNEL, name="kernel")

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def __call__(self, x: Any) -> Any:
        return {"a": x @ self.kernel, "b": 2 * x}


def test_a_saved_model_predicts(expected_leftovers: Any, tmp_path: Path) -> None:
    with expected_leftovers.during():  # TensorFlow removes its generated code at exit
        tf.saved_model.save(Module(), str(tmp_path))
    net = Net.load_tf(str(tmp_path))
    for batch in (3, 100):
        a, b = net.predict(X, batch)
        np.testing.assert_allclose(a, X @ KERNEL, atol=1e-6)
        np.testing.assert_allclose(b, 2 * X, atol=1e-6)
    with pytest.raises(UsageError, match=r"rows of the shape \(4,\), and feeds serving_default_x \(float32"):
        net.predict(np.zeros((10, 4)))
    with pytest.raises(UsageError, match=r"takes 1 arrays \(serving_default_x:0\). Received: 2"):
        net.predict([X, X])


def test_a_frozen_graph_predicts(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], "x")
        y = tf.matmul(x, tf.constant(KERNEL), name="y")
        files.export_frozen(session, str(tmp_path / "frozen"), [x], [y])
    np.testing.assert_allclose(Net.load_tf(str(tmp_path / "frozen")).predict(X), X @ KERNEL, atol=1e-6)
    (graph,) = (tmp_path / "frozen").glob("*.pb")
    np.testing.assert_allclose(Net.load_tf(str(graph), ["x"], ["y"]).predict(X), X @ KERNEL, atol=1e-6)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no SavedModel at"):
        Net.load_tf(str(tmp_path))
