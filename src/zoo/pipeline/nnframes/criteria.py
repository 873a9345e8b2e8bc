"""What a model is trained for: a criterion in any of its forms, for a Keras model and for a torch model.

Owns: BigDL's names on Keras, which criteria take class numbers, and from which number on these count.
Leaves: the mathematics (Keras, torch, zoo.bigdl.nn.criterion, keras_losses).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.engine.errors import UsageError
from zoo.orca.learn.kinds import is_of

BIGDL = "zoo.bigdl."
_PLAIN: Mapping[str, str] = {
    "MSECriterion": "mean_squared_error",
    "AbsCriterion": "mean_absolute_error",
    "BCECriterion": "binary_crossentropy",
    "CosineProximityCriterion": "cosine_similarity",
    "KullbackLeiblerDivergenceCriterion": "kl_divergence",
    "MeanAbsolutePercentageCriterion": "mean_absolute_percentage_error",
    "MeanSquaredLogarithmicCriterion": "mean_squared_logarithmic_error",
    "PoissonCriterion": "poisson",
    "SmoothL1Criterion": "huber",
    "CategoricalCrossEntropy": "categorical_crossentropy",
}
_CLASSES: Mapping[str, bool] = {"ClassNLLCriterion": False, "CrossEntropyCriterion": True}  # name -> of logits
_TORCH_CLASSES = {"CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"}
_BIGDL_CLASSES = {*_CLASSES, "MultiMarginCriterion"}


@dataclass(frozen=True)
class Loss:
    """A criterion in a framework's words.

    Attributes:
        function: what the framework takes.
        classes: whether targets are class numbers.
        first: the number of the first class: 0 or 1.
        ignored: a target that is no class and counts for nothing.
    """

    function: Any
    classes: bool = False
    first: int = 0
    ignored: int | None = None


def for_keras(criterion: Any) -> Loss:
    """A criterion for a Keras model.

    Args:
        criterion: a name, an object or a function of Keras, an objective of `zoo.pipeline.api.keras.objectives`, or a
            criterion of `zoo.bigdl.nn.criterion`.

    Raises:
        UsageError: a loss of torch, or a criterion that has no counterpart in Keras.
    """
    _refuse_class(criterion)
    if is_of(criterion, BIGDL):
        return _bigdl_on_keras(criterion)
    if not is_of(criterion, "keras.") and (hasattr(criterion, "to_pytorch") or is_of(criterion, "torch.")):
        raise UsageError(
            f"the model is a Keras model, and {type(criterion).__name__} is a loss of torch. Give a loss of Keras, "
            "e.g. 'mse' or keras.losses.BinaryCrossentropy(), or an objective of zoo.pipeline.api.keras.objectives."
        )
    if not isinstance(criterion, str) and not callable(criterion):
        raise UsageError(f"criterion must be a loss: a name, an object or a function. Received: {criterion!r}")
    from zoo.pipeline.api.library import library

    if isinstance(criterion, str):
        try:
            library().losses.get(criterion)
        except ValueError as error:
            raise UsageError(f"Keras has no loss {criterion!r}: {error}") from error
    name = criterion if isinstance(criterion, str) else getattr(criterion, "__name__", type(criterion).__name__)
    sparse = name.replace("_", "").lower() == "sparsecategoricalcrossentropy"
    return Loss(criterion, sparse, 0 if getattr(criterion, "zero_based_label", True) else 1)


def for_torch(criterion: Any) -> Loss:
    """A criterion for a torch model.

    Args:
        criterion: a torch loss or a function of (output, target), a criterion of `zoo.bigdl.nn.criterion`, or a
            `TorchLoss`.

    Raises:
        UsageError: a loss of Keras, or its name.
    """
    _refuse_class(criterion)
    if hasattr(criterion, "to_torch"):  # an objective that has a form for torch
        return Loss(criterion.to_torch(), *_numbers(criterion))
    if hasattr(criterion, "to_pytorch"):
        criterion = criterion.to_pytorch()
    of_torch = is_of(criterion, "torch.nn")
    if isinstance(criterion, str) or not callable(criterion) or (is_of(criterion, "keras.") and not of_torch):
        raise UsageError(
            f"the model is a torch.nn.Module, and {criterion!r} is no loss of torch. Give one, e.g. torch.nn.MSELoss(),"
            " a function of (output, target), or a criterion of zoo.bigdl.nn.criterion."
        )
    names = {cls.__name__ for cls in type(criterion).__mro__}
    if is_of(criterion, BIGDL):
        return Loss(criterion, bool(names & _BIGDL_CLASSES), 1, _arguments(criterion).get("paddingValue"))
    ignored = getattr(criterion, "ignore_index", None)
    return Loss(criterion, bool(names & _TORCH_CLASSES), 0, ignored)


def _refuse_class(criterion: Any) -> None:
    if isinstance(criterion, type):
        raise UsageError(f"criterion must be made first: write {criterion.__name__}(...). Received the class itself.")


def _arguments(criterion: Any) -> Mapping[str, Any]:
    """What the constructor of one of BigDL's criteria was given."""
    return getattr(criterion, "arguments", None) or {}


def _numbers(criterion: Any) -> tuple[bool, int]:
    sparse = "sparsecategorical" in type(criterion).__name__.lower()
    return sparse, 0 if getattr(criterion, "zero_based_label", True) else 1


def _bigdl_on_keras(criterion: Any) -> Loss:
    from zoo.pipeline.nnframes.keras_losses import ClassNumbers

    name = type(criterion).__name__
    given = _arguments(criterion)
    weights, averaged = given.get("weights"), bool(given.get("size_average", True))
    if name in _CLASSES:
        logits = _CLASSES[name]
        log = logits or bool(given.get("logProbAsInput", True))
        listed = None if weights is None else [float(weight) for weight in weights]
        return Loss(ClassNumbers(logits=logits, log=log, weights=listed, averaged=averaged), True, 1)
    if name not in _PLAIN:
        raise UsageError(
            f"{name} is a criterion of BigDL's torch-style layers and has no counterpart for a Keras model. There are: "
            f"{', '.join((*_CLASSES, *_PLAIN))}; or give an objective of zoo.pipeline.api.keras.objectives."
        )
    if weights is not None or not averaged:
        raise UsageError(
            f"{name} with weights or size_average=False has no counterpart for a Keras model. Leave them out, or give "
            "an objective of zoo.pipeline.api.keras.objectives."
        )
    return Loss(_PLAIN[name])
