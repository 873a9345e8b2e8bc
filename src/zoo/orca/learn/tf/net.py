"""`TFNet`: a graph from a file or a session, which only computes.

Owns: the words of the call.
Leaves: files (zoo.engine.frameworks.graph.files), computing on the cluster (graph_estimator), the layer
(zoo.engine.frameworks.keras.frozen).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from zoo.engine import session
from zoo.engine.clusters.inline import InlineCluster
from zoo.engine.data.adapters import adapt
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import files
from zoo.engine.frameworks.graph.files import Loaded
from zoo.engine.frameworks.graph.home import Home, flat, graph_of
from zoo.engine.frameworks.graph.making import Tensors, graph_spec
from zoo.orca.learn import estimator
from zoo.orca.learn.rows import as_rdd
from zoo.orca.learn.tf.graph_estimator import GraphEstimator, serialised
from zoo.orca.learn.words import scores_of


class TFNet:
    """A graph that computes outputs of inputs; made by the ``from_*`` functions, or from an exported folder.

    Args:
        path: a folder that `zoo.util.tf.export_tf` has written, or a frozen graph (``.pb``).
        input_names: tensors of a frozen graph that are fed; a folder knows its own.
        output_names: tensors of it that are computed.
        tf_session_config: a ``tf.compat.v1.ConfigProto``.

    Attributes:
        estimator: of the graph, on the current cluster.
    """

    only_computes = (
        "a TFNet only computes, its weights are constants: train layers on top of it, "
        "Sequential().add(net).add(Dense(1)); or train the graph with TFOptimizer.from_loss or Estimator.from_graph."
    )
    """What is said to those who would train it."""

    def __init__(
        self, path: str, input_names: Any = None, output_names: Any = None, tf_session_config: Any = None
    ) -> None:
        self._take(files.load_frozen(str(path), _names(input_names), _names(output_names)), tf_session_config)

    @classmethod
    def from_export_folder(cls, folder: str, tf_session_config: Any = None) -> TFNet:
        """Of a folder that `zoo.util.tf.export_tf` has written."""
        return cls(folder, tf_session_config=tf_session_config)

    @classmethod
    def from_saved_model(
        cls,
        model_path: str,
        tag: str | None = None,
        signature: str | None = None,
        inputs: Any = None,
        outputs: Any = None,
        tf_session_config: Any = None,
        init_op: Any = None,
    ) -> TFNet:
        """Of a SavedModel, of TensorFlow 1 or 2, or one that Keras has exported.

        Args:
            model_path: its directory.
            tag: of the graph in it; ``"serve"`` by default; several with commas between them.
            signature: which of its functions; ``"serving_default"`` by default.
            inputs: names of tensors, in place of the signature's inputs.
            outputs: likewise.
            tf_session_config: a ``tf.compat.v1.ConfigProto``.
            init_op: accepted for older programs; tables are initialised.

        Raises:
            UsageError: no SavedModel there; no such tag, signature or tensor; those that are there are listed.
        """
        made = cls.__new__(cls)
        loaded = files.load_saved_model(
            str(model_path), tag or "serve", signature or "serving_default", (_names(inputs), _names(outputs))
        )
        made._take(loaded, tf_session_config)
        return made

    @classmethod
    def of_file(
        cls, path: str, inputs: Any = None, outputs: Any = None, tag: str = "serve", signature: str = "serving_default"
    ) -> TFNet:
        """Of a frozen graph or a SavedModel, whichever is there.

        Args:
            path: a folder of `zoo.util.tf.export_tf`, a ``.pb`` file, or the directory of a SavedModel.
            inputs: names of tensors that are fed; None for those that the file tells.
            outputs: likewise, computed.
            tag: of the graph in a SavedModel.
            signature: which of its functions.
        """
        if files.is_frozen(path):
            return cls(path, inputs, outputs)
        return cls.from_saved_model(path, tag, signature, inputs=inputs, outputs=outputs)

    @classmethod
    def from_session(
        cls,
        sess: Any,
        inputs: Any,
        outputs: Any,
        generate_backward: bool = False,
        allow_non_differentiable_input: bool = True,
        tf_session_config: Any = None,
    ) -> TFNet:
        """Of a session's graph, with the values that its variables have whenever it computes.

        Args:
            sess: the session.
            inputs: tensors that are fed: one or several.
            outputs: tensors that are computed.
            generate_backward: refused if True: train with `TFOptimizer`, or Estimator.from_graph.
            allow_non_differentiable_input: accepted for older programs.
            tf_session_config: a ``tf.compat.v1.ConfigProto``.
        """
        if generate_backward:
            raise UsageError(cls.only_computes)
        made = cls.__new__(cls)
        if graph_of([tensor for nest in (inputs, outputs) for _, tensor in flat(nest)]) not in (None, sess.graph):
            raise UsageError("inputs and outputs are tensors of another graph than the session's.")
        fed, computed = ([tensor for _, tensor in flat(nest)] for nest in (inputs, outputs))
        made._take(Loaded(sess, fed, computed), tf_session_config)
        return made

    @property
    def inputs(self) -> list[str]:
        """Names of the tensors that are fed."""
        return [tensor.name for tensor in self._loaded.inputs]

    @property
    def outputs(self) -> list[str]:
        """Names of the tensors that are computed."""
        return [tensor.name for tensor in self._loaded.outputs]

    def predict(self, x: Any, batch_per_thread: int = 32, distributed: bool = True, mini_batch: bool = False) -> Any:
        """The outputs.

        Args:
            x: arrays (one, or a list or tuple of them); an RDD, XShards, a `TFDataset`, of DataFrames too.
            batch_per_thread: rows at once.
            distributed: whether arrays are computed on the current cluster, if there is one, or in this process;
                other data are always computed on the cluster.
            mini_batch: accepted for older programs.

        Returns:
            arrays for arrays (a list for several outputs); an RDD for an RDD or a `TFDataset`; else the same kind.
        """
        if isinstance(x, tuple):
            x = list(x)
        local = isinstance(x, np.ndarray) or (isinstance(x, list) and all(isinstance(one, np.ndarray) for one in x))
        if local:
            self._listed(x)
        here = local and not (distributed and session.running())
        with session.using(InlineCluster()) if here else nullcontext():
            found = self.estimator.predict(x, getattr(x, "rows_at_once", batch_per_thread))
        return as_rdd(found) if hasattr(x, "rows_at_once") else found

    def evaluate(self, dataset: Any, batch_size: int | None = None, val_methods: Any = None) -> dict[str, float]:
        """Metrics of the outputs.

        Args:
            dataset: a `TFDataset` with labels, or ``(x, y)``, or XShards or an RDD of such.
            batch_size: rows at once (default 32); a `TFDataset` has its own.
            val_methods: of `zoo.orca.learn.metrics`, or names.
        """
        if val_methods is None:
            raise UsageError("val_methods is None: name what to measure, e.g. [Accuracy()].")
        if not adapt(dataset).columns.labels:
            raise UsageError("the data have no labels that outputs could be compared with: give (features, labels).")
        rows = batch_size or getattr(dataset, "rows_at_once", None)
        results = estimator.Estimator.evaluate(self.estimator, dataset, rows, validation_metrics=val_methods)
        return scores_of(results)

    def forward(self, x: Any) -> Any:
        """The outputs of arrays, in this process: an array, or a list of them for several outputs."""
        arrays = self._listed(x)
        fed = {tensor: self._fitting(tensor, one) for tensor, one in zip(self._loaded.inputs, arrays, strict=True)}
        found = self._home.session.run(list(self._loaded.outputs), fed)
        return found[0] if len(found) == 1 else found

    def to_keras(self, name: str | None = None) -> Any:
        """The graph as a layer of Keras, with the values that its variables have now.

        Args:
            name: of the layer.

        Raises:
            UsageError: Keras computes with another backend than TensorFlow.
        """
        from zoo.engine.frameworks.keras import backends

        backends.begin(backends.current())
        from zoo.engine.frameworks.keras.frozen import FrozenGraph

        graph = base64.b64encode(files.frozen(self._loaded)).decode()
        return FrozenGraph(graph, self.inputs, self.outputs, name=name)

    def __call__(self, x: Any) -> Any:
        """Applies the graph, as a layer (`to_keras`), to a tensor of Keras, a `Variable`, or a list of such."""
        layer, first = self.to_keras(), x[0] if isinstance(x, list | tuple) else x
        return first.through(layer, x) if hasattr(first, "through") else layer(x)

    def save(self, folder: str) -> str:
        """Writes the graph, its variables as constants, to a folder that ``TFNet(folder)`` reads; returns it.

        Args:
            folder: a path or any fsspec URL.
        """
        return files.export_frozen(self._loaded.session, folder, self._loaded.inputs, self._loaded.outputs)

    def _take(self, loaded: Loaded, config: Any) -> None:
        if not loaded.inputs or not loaded.outputs:
            missing = "outputs" if loaded.inputs else "inputs"
            raise UsageError(f"the call names no {missing}: a TFNet computes outputs of inputs, at least one of each.")
        self._loaded, self._config = loaded, serialised(config)
        self._home = Home(loaded.session.graph, loaded.session)
        given = Tensors(inputs=list(loaded.inputs), outputs=list(loaded.outputs))
        spec = graph_spec(given, self._home, session_config=self._config)
        self.estimator = GraphEstimator(spec, spec.placed)

    def _listed(self, x: Any) -> list[Any]:
        arrays = list(x) if isinstance(x, list | tuple) else [x]
        if len(arrays) != len(self.inputs):
            raise UsageError(
                f"the graph takes {len(self.inputs)} arrays ({', '.join(self.inputs)}). Received: {len(arrays)}"
            )
        return arrays

    def _fitting(self, tensor: Any, array: Any) -> np.ndarray:
        values = self._home.port(tensor).take(array)
        if not tensor.shape.is_compatible_with(values.shape):
            raise UsageError(f"{tensor.name} takes arrays of the shape {tensor.shape}. Received one of {values.shape}")
        return values


def _names(given: Any) -> Sequence[str] | None:
    if given is None:
        return None
    return [given] if isinstance(given, str) else [name if isinstance(name, str) else name.name for name in given]
