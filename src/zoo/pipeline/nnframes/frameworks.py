"""Keras' models, torch's, and graphs of TensorFlow that only compute, as the stages need them.

Owns: telling them apart, a copy to train, an engine's estimator over it, trying it on one row, its bytes.
Leaves: training and applying (zoo.orca.learn), criteria, what a stage does with them (stages).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np

from zoo.engine.errors import UsageError
from zoo.orca.learn.kinds import is_keras, is_of, is_torch
from zoo.pipeline.nnframes import criteria
from zoo.pipeline.nnframes.criteria import Loss

Arrays = Sequence[np.ndarray]


class Framework(Protocol):
    """What differs between frameworks."""

    def loss(self, criterion: Any) -> Loss:
        """The criterion in the framework's words."""

    def trainer(self, model: Any, loss: Loss, optimizer: Any, **words: Any) -> Any:
        """An estimator over a copy of the model."""

    def predictor(self, model: Any) -> Any:
        """An estimator over the model itself, which only predicts."""

    def outputs(self, model: Any, features: Arrays) -> list[np.ndarray]:
        """The model's outputs for a few rows."""

    def value(self, loss: Loss, outputs: Arrays, labels: Arrays) -> np.ndarray:
        """The loss of a few rows."""


@dataclass(frozen=True)
class Keras:
    """Models of Keras 3, zoo's Keras-style ones among them."""

    def loss(self, criterion: Any) -> Loss:
        """See `criteria.for_keras`."""
        return criteria.for_keras(criterion)

    def trainer(self, model: Any, loss: Loss, optimizer: Any, **words: Any) -> Any:
        """Over a copy, compiled anew: equal fits begin with equal weights."""
        from zoo.engine.frameworks.keras import travel
        from zoo.orca.learn.keras_estimator import make_estimator

        own = travel.unpack(travel.pack(model))
        of_keras = is_of(optimizer, "keras.")
        own.compile(optimizer=_fresh(optimizer) if of_keras else "sgd", loss=loss.function)
        return make_estimator(own, optimizer=None if of_keras else optimizer, **words)

    def predictor(self, model: Any) -> Any:
        """Over the model."""
        from zoo.orca.learn.keras_estimator import make_estimator

        return make_estimator(model)

    def outputs(self, model: Any, features: Arrays) -> list[np.ndarray]:
        """Flat, in the order of the model's outputs."""
        from zoo.pipeline.api.library import library

        keras = library()
        tensors = [keras.ops.convert_to_tensor(array) for array in features]
        made = model(_arranged(model, tensors), training=False)
        return [np.asarray(keras.ops.convert_to_numpy(one)) for one in keras.tree.flatten(made)]

    def value(self, loss: Loss, outputs: Arrays, labels: Arrays) -> np.ndarray:
        """Of a name, an object or a function (y_true, y_pred)."""
        from zoo.pipeline.api.library import library

        keras = library()
        function = keras.losses.get(loss.function) if isinstance(loss.function, str) else loss.function
        made = function(keras.ops.convert_to_tensor(labels[0]), keras.ops.convert_to_tensor(outputs[0]))
        return np.asarray(keras.ops.convert_to_numpy(made))


@dataclass(frozen=True)
class Torch:
    """``torch.nn.Module``, BigDL's torch-style layers among them."""

    def loss(self, criterion: Any) -> Loss:
        """See `criteria.for_torch`."""
        return criteria.for_torch(criterion)

    def trainer(self, model: Any, loss: Loss, optimizer: Any, **words: Any) -> Any:
        """Over a copy: equal fits begin with equal weights."""
        from zoo.orca.learn.pytorch import Estimator

        own, optimizer = copy.deepcopy((model, optimizer))  # together: torch's optimizers know their parameters
        return Estimator.from_torch(model=own, loss=loss.function, optimizer=optimizer, **words)

    def predictor(self, model: Any) -> Any:
        """Over the model."""
        from zoo.orca.learn.pytorch import Estimator

        return Estimator.from_torch(model=model)

    def outputs(self, model: Any, features: Arrays) -> list[np.ndarray]:
        """In evaluation mode; the model stays as it was."""
        from zoo.engine.frameworks.torch import trial

        return trial.outputs(model, features)

    def value(self, loss: Loss, outputs: Arrays, labels: Arrays) -> np.ndarray:
        """Of (output, target)."""
        from zoo.engine.frameworks.torch import trial

        return trial.value(loss.function, outputs, labels)


@dataclass(frozen=True)
class Graph:
    """A `TFNet`, whose weights are constants.

    Attributes:
        refusal: what is said to those who would train it.
    """

    refusal: str

    def loss(self, criterion: Any) -> NoReturn:
        """There is nothing to train.

        Raises:
            UsageError: always; says what can be trained.
        """
        raise UsageError(self.refusal)

    def trainer(self, model: Any, loss: Loss, optimizer: Any, **words: Any) -> NoReturn:
        """As `loss`."""
        self.loss(None)

    def predictor(self, model: Any) -> Any:
        """Over the graph."""
        return model.estimator

    def outputs(self, model: Any, features: Arrays) -> list[np.ndarray]:
        """In the order of the graph's outputs."""
        made = model.forward(list(features))
        return made if isinstance(made, list) else [made]

    def value(self, loss: Loss, outputs: Arrays, labels: Arrays) -> NoReturn:
        """As `loss`."""
        self.loss(None)


def of(model: Any) -> tuple[Framework, Any]:
    """(the framework of a model, the model in its words).

    Args:
        model: of Keras, zoo's Keras-style API or torch; a `TFNet`; or with ``to_keras()`` or ``to_pytorch()``.

    Raises:
        UsageError: anything else.
    """
    if hasattr(model, "only_computes"):
        return Graph(model.only_computes), model
    for word in ("to_keras", "to_pytorch"):
        if not is_keras(model) and hasattr(model, word):
            return of(getattr(model, word)())
    if is_keras(model):
        return Keras(), model
    if is_torch(model):
        return Torch(), model
    raise UsageError(
        "model must be a Keras 3 model, a model of zoo.pipeline.api.keras, a loaded BigDL model, a torch.nn.Module "
        f"(zoo.bigdl.nn, TorchModel, TorchNet), or a TFNet. Received: {model!r}"
    )


def _fresh(optimizer: Any) -> Any:
    """The same optimizer of Keras without memory."""
    return type(optimizer).from_config(optimizer.get_config())


def _arranged(model: Any, tensors: list[Any]) -> Any:
    """As the model's input is: one tensor, a list, or a dict in the order of its keys."""
    wanted = getattr(model, "input", None) if model.built else None
    if isinstance(wanted, dict):
        return dict(zip(wanted, tensors, strict=True))
    return tensors[0] if len(tensors) == 1 else tensors
