"""What all Keras-style models can do: `KerasNet`, `Input`, `InputLayer`, `merge`, `Merge`.

Owns: the words of older programs on a Keras model.
Leaves: training (course), gradients (backprop), the graph (graphs), the two kinds of model (models).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.engine.events.tensorboard import write_graph
from zoo.engine.frameworks.keras import files
from zoo.engine.optim import Optimizer
from zoo.pipeline.api.keras.engine import graphs
from zoo.pipeline.api.keras.engine.course import Course, classes, may_be, paired, split
from zoo.pipeline.api.keras.engine.descriptions import described, made
from zoo.pipeline.api.keras.engine.layer import ZooKerasLayer
from zoo.pipeline.api.keras.engine.merging import Merge, merge
from zoo.pipeline.api.keras.metrics import measured
from zoo.pipeline.api.keras.objectives import objective
from zoo.pipeline.api.keras.optimizers import optim_method
from zoo.pipeline.api.library import library
from zoo.pipeline.api.variable import Variable

__all__ = ["Input", "InputLayer", "KerasNet", "Merge", "merge"]

keras = library()
OURS = "zoo_compiled"
"""Where a file says how a model was compiled, beside Keras' own description."""


class Input(Variable):
    """The beginning of a graph.

    Args:
        shape: of one row, without the batch.
        name: of the input.
    """

    def __init__(self, shape: Sequence[int | None] | int | None = None, name: str | None = None) -> None:
        super().__init__(shape, name=name)


@keras.saving.register_keras_serializable("zoo")
class InputLayer(ZooKerasLayer, keras.layers.InputLayer):
    """The first layer of a `Sequential`: says the shape of one row.

    Args:
        input_shape: without the batch.
        **words: of ``keras.layers.InputLayer``, e.g. name.
    """

    def __init__(self, input_shape: Sequence[int | None] | int | None = None, **words: Any) -> None:
        if input_shape is not None:
            words["shape"] = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
        super().__init__(**words)


class KerasNet(ZooKerasLayer):
    """Mixed into a model of Keras; see `models`."""

    # --- training ----------------------------------------------------------------------------------------------------

    def compile(
        self, optimizer: Any = "sgd", loss: Any = None, metrics: Any = None, **words: Any
    ) -> None:  # fmt: skip
        """Says how the model is trained.

        Args:
            optimizer: ``"sgd"``, ``"adam"``, ``"adamax"``, ``"adagrad"``, ``"adadelta"``, ``"rmsprop"``, an
                optimizer of `zoo.orca.learn.optimizers` or of Keras.
            loss: a name, a loss of `objectives`, or a function of variables (y_true, y_pred), see `autograd`.
            metrics: names (``"accuracy"``, ``"top5accuracy"``, ``"mae"``, ``"mse"``, ``"auc"``, ``"loss"``,
                ``"treennaccuracy"``) or metrics.
            **words: further arguments of ``keras.Model.compile``, e.g. loss_weights.

        Raises:
            Unsupported: an optimizer, loss or metric that is none.
        """
        from zoo.engine.frameworks.keras.optim import build_optimizer  # imports Keras, whatever its backend

        method = optim_method(optimizer)
        shape = _output_shape(self)
        made_loss = objective(loss, None if shape is None else shape[1:])
        asked = measured(metrics, getattr(made_loss, "zero_based_label", True))
        own = isinstance(method, Optimizer)
        super().compile(  # type: ignore[misc]
            optimizer=build_optimizer(method)[0] if own else method,
            loss=made_loss,
            metrics=[one for one in asked if hasattr(one, "update_state")] or None,
            **words,
        )
        before = self.__dict__.get("_zoo_course")
        self.__dict__["_zoo_course"] = Course(self, method if own else None, asked).after(before)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as a model was that has been saved or cloned: by Keras' description, and ours."""
        given = dict(config)
        ours = given.pop(OURS, None) or self.__dict__.pop(OURS, {})
        words = keras.saving.deserialize_keras_object(given)
        of_keras = words.pop("metrics") or []
        asked = [made(one) for one in ours.get("metrics", [None] * len(of_keras))]
        left = iter(of_keras)
        metrics = [next(left) if one is None else one for one in asked]
        optimizer = words.pop("optimizer")
        self.compile(made(ours.get("optimizer")) or optimizer, words.pop("loss"), metrics, **words)
        if self.built and self._course.optimizer is None:  # type: ignore[attr-defined]  # else ours has the memory
            self.optimizer.build(self.trainable_variables)  # type: ignore[attr-defined]

    def fit(
        self, x: Any, y: Any = None, batch_size: int = 32, nb_epoch: int = 10, validation_split: float = 0,
        validation_data: Any = None, distributed: bool = True, **words: Any,
    ) -> list[dict[str, float]]:  # fmt: skip
        """Trains; a second call goes on where the first one ended.

        Args:
            x: an array, a list of them for several inputs, or data that hold the labels too: XShards, a `FeatureSet`,
                an `ImageSet`, a DataFrame (with `feature_cols` and `label_cols`), ...
            y: the labels of arrays.
            batch_size: rows of a step over all ranks.
            nb_epoch: further epochs; `epochs` means the same.
            validation_split: the share of the arrays' last rows that is for validation.
            validation_data: scored behind every epoch: ``(x, y)``, or data like `x`.
            distributed: whether to train on the current cluster, or in this process.
            **words: further arguments of `KerasEstimator.fit`: feature_cols, callbacks, class_weight, ...

        Returns:
            the statistics of each epoch: ``{"epoch", "train_loss", "val_Accuracy", ...}``.

        Raises:
            UsageError: the model is not compiled, or model, loss and data do not fit.
        """
        data, validation = paired(x, y), validation_data
        if validation_split and validation_data is None:
            data, validation = split(x, y, validation_split)
        epochs = words.pop("epochs", nb_epoch)
        return self._course.fit(data, validation, distributed, epochs=epochs, batch_size=batch_size, **words)

    def evaluate(
        self, x: Any, y: Any = None, batch_size: int = 32, distributed: bool = True, **words: Any
    ) -> list[float]:
        """The values of the compiled metrics, in their order; without metrics the loss.

        Args:
            x: as in `fit`.
            y: the labels of arrays.
            batch_size: rows scored at once.
            distributed: whether on the current cluster, or in this process.
            **words: further arguments of `KerasEstimator.evaluate`.
        """
        return self._course.evaluate(paired(x, y), distributed, batch_size=batch_size, **words)

    def predict(self, x: Any, batch_per_thread: int | None = None, distributed: bool = True, **words: Any) -> Any:
        """The outputs.

        Args:
            x: as in `fit`, without labels.
            batch_per_thread: rows predicted at once.
            distributed: whether on the current cluster, or in this process.
            **words: further arguments of `KerasEstimator.predict`.

        Returns:
            of arrays: arrays, or where distributed an RDD with an array for each row (without Spark a list that has
            `collect`, `map`, ...). Of other data: the same kind, with the predictions: an `ImageSet` has `get_predict`.
        """
        return self._course.predict(paired(x, None), distributed, batch_size=batch_per_thread, **words)

    def predict_classes(
        self, x: Any, batch_per_thread: int | None = None, zero_based_label: bool = True, distributed: bool = True
    ) -> Any:
        """The class with the highest score for each row; of a single output, whether it is above 0.5.

        Args:
            x: arrays.
            batch_per_thread: rows predicted at once.
            zero_based_label: whether classes count from 0; else from 1.
            distributed: as in `predict`: an RDD of int, or an array.
        """
        return classes(self.predict(x, batch_per_thread, distributed), zero_based_label)

    # --- settings ----------------------------------------------------------------------------------------------------

    def set_tensorboard(self, log_dir: str, app_name: str) -> None:
        """Has training write TensorBoard summaries to ``<log_dir>/<app_name>/train`` and ``/validation``."""
        self._course.setting("summaries", lambda estimator: estimator.set_tensorboard(log_dir, app_name))

    def get_train_summary(self, tag: str | None = None) -> np.ndarray:
        """(N, 3): step, value, unix seconds of "Loss" (the default), "Throughput" or "LearningRate"."""
        return _summary(self._course.estimator.get_train_summary(tag or "Loss"))

    def get_validation_summary(self, tag: str | None = None) -> np.ndarray:
        """(N, 3): likewise of a validation metric, e.g. "Loss" (the default), "Top1Accuracy", "MAE"."""
        return _summary(self._course.estimator.get_validation_summary(tag or "Loss"))

    def set_checkpoint(self, path: str, over_write: bool = True) -> None:
        """Has training write a checkpoint behind every epoch, each to a directory of its own below `path`."""
        self._course.keep_checkpoints(path)

    def load_checkpoint(self, path: str) -> None:
        """Goes back to a checkpoint, or the newest below `path`: weights, optimizer, epochs. `fit` goes on from it."""
        self._course.load_checkpoint(path)

    def set_constant_gradient_clipping(self, min: float, max: float) -> None:
        """Clamps every element of the averaged gradients to [min, max]."""
        self._course.setting("clip", lambda estimator: estimator.set_constant_gradient_clipping(min, max))

    def set_gradient_clipping_by_l2_norm(self, clip_norm: float) -> None:
        """Scales the averaged gradients, all together, to an L2 norm of at most `clip_norm`."""
        self._course.setting("clip", lambda estimator: estimator.set_l2_norm_gradient_clipping(clip_norm))

    def clear_gradient_clipping(self) -> None:
        """Leaves gradients as they are."""
        self._course.setting("clip", lambda estimator: estimator.clear_gradient_clipping())

    # --- layers ------------------------------------------------------------------------------------------------------

    def get_input_shape(self) -> Any:
        """Of one row with the batch, which is None; a list of several inputs'.

        Raises:
            UsageError: it is not known yet.
        """
        return _shapes_of(self, "inputs")

    def get_output_shape(self) -> Any:
        """Likewise of the outputs."""
        return _shapes_of(self, "outputs")

    def fits(self, found: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
        """Whether rows of the shape `found` may be an input of the shape `wanted`, both without the batch."""
        return may_be(found, wanted)

    def is_built(self) -> bool:
        """Whether the shapes of all weights are known."""
        return bool(self.built)  # type: ignore[attr-defined]

    def flattened_layers(self, include_container: bool = False) -> list[Any]:
        """The layers, those of models inside the model among them; with the models too, if asked."""
        found: list[Any] = [self] if include_container else []
        for layer in self.layers:  # type: ignore[attr-defined]
            found += _flattened(layer, include_container)
        return found

    def freeze(self, names: Any = None) -> Any:
        """Keeps the weights of the layers named, or of all, as they are in training."""
        return self._set_trainable(names, False)

    def unfreeze(self, names: Any = None) -> Any:
        """Trains the layers named, or all, again."""
        return self._set_trainable(names, True)

    def get_weights(self) -> list[np.ndarray]:
        """Of all layers in turn, in BigDL's layout."""
        return [array for layer in self.layers for array in layer.get_weights()]  # type: ignore[attr-defined]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Takes what `get_weights` gives.

        Raises:
            UsageError: another number of arrays.
        """
        left = list(weights)
        sizes = [len(layer.get_weights()) for layer in self.layers]  # type: ignore[attr-defined]
        if sum(sizes) != len(left):
            raise UsageError(f"the model has {sum(sizes)} arrays of weights. Received: {len(left)}")
        for layer, size in zip(self.layers, sizes, strict=True):  # type: ignore[attr-defined]
            layer.set_weights(left[:size])
            left = left[size:]

    def summary(self, line_length: int = 120, positions: Sequence[float] | None = None, **words: Any) -> None:
        """Prints the layers, the shapes of their outputs, and how many weights they have.

        Args:
            line_length: of a line, in characters; a narrower terminal has shorter ones.
            positions: where columns end, as shares of it; by default those of Keras.
            **words: further arguments of ``keras.Model.summary``.
        """
        width = min(line_length, shutil.get_terminal_size().columns)  # what is beyond, Keras would cut off
        super().summary(line_length=width, positions=positions, **words)  # type: ignore[misc]

    # --- files -------------------------------------------------------------------------------------------------------

    def save_model(self, path: str, weight_path: str | None = None, over_write: bool = False) -> str:
        """Writes the model, as ``.keras``, to a path or fsspec URL; read by `models.load_model`.

        Args:
            path: of the file.
            weight_path: of a further file with the weights alone.
            over_write: whether files there may be replaced.

        Raises:
            UsageError: there is a file already; an HDF5 file, which holds weights only.
        """
        if path.endswith((".h5", ".hdf5")):
            raise UsageError(
                f"a whole model is kept as a .keras file. Received: {path!r}. For weights alone in HDF5: "
                "save_model('model.keras', weight_path='weights.h5')."
            )
        written = files.save_model(self, path, overwrite=over_write)
        if weight_path is not None:
            files.save_weights(self, weight_path, overwrite=over_write)
        return written

    def saveModel(self, modelPath: str, weightPath: str | None = None, over_write: bool = False) -> str:
        """The older name of `save_model`."""
        return self.save_model(modelPath, weightPath, over_write)

    def save_graph_topology(self, log_path: str, backward: bool = False) -> None:
        """Writes the graph of layers for TensorBoard (``tensorboard --logdir <log_path>``).

        Args:
            log_path: a directory.
            backward: accepted for older programs; Keras has no backward graph.
        """
        write_graph(log_path, graphs.drawn(self._graph()))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _graph(self) -> Any:
        """The functional model."""
        return self

    def _described(self) -> dict[str, Any]:
        """How it was compiled, as far as Keras has no words for it; a user's functions as metrics are left out."""
        course = self._course
        kept = [one if hasattr(one, "update_state") else described(one) for one in course.metrics]
        metrics = [None if hasattr(one, "update_state") else one for one in kept if one is not None]
        return {"optimizer": described(course.optimizer), "metrics": metrics}

    @property
    def _course(self) -> Course:
        if "_zoo_course" not in self.__dict__:
            self.__dict__["_zoo_course"] = Course(self)
        found: Course = self.__dict__["_zoo_course"]
        return found

    def _set_trainable(self, names: Any, trainable: bool) -> Any:
        if names is None:
            for layer in self.flattened_layers(include_container=trainable):
                layer.trainable = trainable
            return self
        layers = {layer.name: layer for layer in self.flattened_layers(include_container=True) if layer is not self}
        asked = [graphs.among(layers, name) for name in graphs.listed(names)]
        if trainable:
            _open([self, *layers.values()])
        for layer in asked:
            layer.trainable = trainable
        return self


def _flattened(layer: Any, include_container: bool) -> list[Any]:
    """A layer; of a model, and of a `Merge` of models, those in it."""
    if isinstance(layer, KerasNet):
        return layer.flattened_layers(include_container)
    branches = getattr(layer, "branches", None)
    if not branches:
        return [layer]
    inner = [one for branch in branches for one in _flattened(branch, include_container)]
    return [layer, *inner] if include_container else inner


def _open(layers: Sequence[Any]) -> None:
    """Has models that were frozen as a whole train again, and the layers in them be as they were."""
    whole = [layer for layer in layers if isinstance(layer, KerasNet) or getattr(layer, "branches", None)]
    alone = [(layer, layer.trainable) for layer in layers if layer not in whole]
    for layer in whole:
        layer.trainable = True
    for layer, value in alone:
        layer.trainable = value


def _shapes_of(model: Any, ends: str) -> Any:
    tensors = getattr(model, ends, None) if model.built else None
    if not tensors:
        raise UsageError(
            f"the shapes of the model '{model.name}' are not known yet. Give its first layer an input_shape."
        )
    shapes = [(None, *tensor.shape[1:]) for tensor in tensors]
    return shapes[0] if len(shapes) == 1 else shapes


def _output_shape(model: Any) -> tuple[int | None, ...] | None:
    """Of a model with one output whose shape is known; else None."""
    outputs = getattr(model, "outputs", None) if model.built else None
    return tuple(outputs[0].shape) if outputs and len(outputs) == 1 else None


def _summary(found: list[list[float]] | None) -> np.ndarray:
    if found is None:
        raise UsageError("no summaries: call set_tensorboard(log_dir, app_name) before fit.")
    return np.array(found, np.float64).reshape(-1, 3)
