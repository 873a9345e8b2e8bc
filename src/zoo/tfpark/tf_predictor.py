"""`TFPredictor`: the outputs of a graph, or of a Keras model, for a `TFDataset`.

Owns: the words of the call.
Leaves: computing them (zoo.orca.learn.estimator).
"""

from __future__ import annotations

from typing import Any

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph.home import Home
from zoo.engine.frameworks.graph.making import Tensors, graph_spec
from zoo.orca.learn.keras_estimator import KerasEstimator, make_estimator
from zoo.orca.learn.rows import as_rdd
from zoo.orca.learn.tf.graph_estimator import GraphEstimator
from zoo.tfpark.tf_dataset import TFDataset, dataset_behind


class TFPredictor:
    """Predicts.

    Args:
        sess: a session with the values of the variables.
        outputs: tensors, rows first; one, a list or a dict of them.
        inputs: the tensors that the features of `dataset` feed; None: its own.
        dataset: None for the one whose tensors the outputs depend on.
    """

    def __init__(self, sess: Any, outputs: Any, inputs: Any = None, dataset: TFDataset | None = None) -> None:
        found = dataset or dataset_behind(outputs)
        if found is None:
            raise UsageError("the outputs depend on no tensors of a TFDataset: give inputs=... and dataset=...")
        with sess.graph.as_default():
            fed, _ = found.feeding(found.feature_tensors if inputs is None else inputs, None)
        spec = graph_spec(Tensors(inputs=fed, outputs=outputs), Home(sess.graph, sess))
        self._estimator: GraphEstimator | KerasEstimator = GraphEstimator(spec, spec.placed)
        self._dataset = found

    @classmethod
    def from_outputs(cls, sess: Any, outputs: Any) -> TFPredictor:
        """Of tensors that depend on those of a `TFDataset`."""
        return cls(sess, outputs)

    @classmethod
    def from_keras(cls, keras_model: Any, dataset: TFDataset) -> TFPredictor:
        """Of a Keras model."""
        made = cls.__new__(cls)
        made._estimator, made._dataset = make_estimator(keras_model), dataset
        return made

    def predict(self) -> Any:
        """One prediction for each row, an array, or a list of arrays for several outputs.

        Returns:
            an RDD where Spark runs, in the order of the rows; else a list with the words of an RDD (``collect``, ...).
        """
        return as_rdd(self._estimator.predict(self._dataset, self._dataset.rows_at_once))
