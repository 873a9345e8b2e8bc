"""Losses: for ``compile``, as criteria with `forward` and `backward`, and for torch models.

Owns: names and arguments of older programs, averaging over rows, gradients of one batch.
Leaves: formulas (engine.formulas), losses of one's own (autograd.CustomLoss).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.engine.frameworks.keras.labels import not_among, not_whole
from zoo.orca.learn.kinds import is_torch
from zoo.pipeline.api.keras.engine.formulas import CHECKS, FORMULAS, TorchOps, entries_differ
from zoo.pipeline.api.keras.engine.words import Unsupported
from zoo.pipeline.api.library import library

keras = library()

__all__ = [
    "BinaryCrossEntropy", "CategoricalCrossEntropy", "CosineProximity", "Hinge", "KullbackLeiblerDivergence",
    "LossFunction", "MAE", "MAPE", "MSE", "MSLE", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson", "RankHinge", "SparseCategoricalCrossEntropy",
    "SquaredHinge", "mae", "mape", "mse", "msle",
]  # fmt: skip


class LossFunction(keras.losses.Loss):
    """A loss of Keras with the words of BigDL's criteria.

    With ``size_average=False`` it is the sum over the rows that a rank has in a step, which is another number on
    another number of ranks; leave it as it is where that matters.

    Args:
        size_average: whether it is the mean over rows and entries, or their sum.
        name: of the loss.
        **options: of the formula, JSON values.
    """

    formula = ""
    """The key of the formula in `engine.formulas`."""

    def __init__(self, size_average: bool = True, name: str | None = None, **options: Any) -> None:
        super().__init__(reduction="sum_over_batch_size" if size_average else "sum", name=name or self.formula)
        self._options = {"size_average": bool(size_average), **options}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each row."""
        return FORMULAS[self.formula](keras.ops, y_true, y_pred, self._options)

    def check(self, y_true: tuple[int | None, ...], y_pred: tuple[int | None, ...]) -> str:
        """Why labels of one shape do not fit outputs of another, without the batch; empty where they do."""
        return CHECKS.get(self.formula, entries_differ)(y_true, y_pred)

    def check_values(self, y_true: np.ndarray, y_pred: tuple[int | None, ...]) -> str:
        """Why labels are none for outputs of a shape, without the batch; empty where they are, or nobody knows."""
        return ""

    def forward(self, y_pred: Any, y_true: Any) -> float:
        """The loss of one batch of arrays."""
        return float(keras.ops.convert_to_numpy(self(np.asarray(y_true), np.asarray(y_pred))))

    def backward(self, y_pred: Any, y_true: Any) -> np.ndarray:
        """The gradient of `forward` by `y_pred`, in its shape."""
        from zoo.engine.frameworks.keras.derivatives import gradients  # imports Keras, whatever its backend

        target = np.asarray(y_true)
        _, found, _ = gradients(lambda output: self(target, output), [np.asarray(y_pred, np.float32)])
        return found[0]

    def to_torch(self) -> Callable[[Any, Any], Any]:
        """``loss(output, target)`` for a torch model; picklable, and needs no Keras."""
        return TorchCriterion(self.formula, dict(self._options))

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        return {"name": self.name, **self._options}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._options.items())})"


@dataclass(frozen=True)
class TorchCriterion:
    """A formula as the loss of a torch model.

    Attributes:
        formula: its key.
        options: of the formula.
    """

    formula: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, output: Any, target: Any) -> Any:
        """The loss, a scalar tensor."""
        rows = FORMULAS[self.formula](TorchOps, target, output, self.options)
        return rows.mean() if self.options.get("size_average", True) else rows.sum()


def _listed(weights: Any) -> list[float] | None:
    return None if weights is None else np.asarray(weights, np.float32).tolist()


@keras.saving.register_keras_serializable("zoo")
class MeanSquaredError(LossFunction):
    """The mean of (target - output)^2."""

    formula = "mean_squared_error"

    def __init__(self, size_average: bool = True, name: str | None = None) -> None:
        super().__init__(size_average, name)


@keras.saving.register_keras_serializable("zoo")
class MeanAbsoluteError(LossFunction):
    """The mean of abs(target - output)."""

    formula = "mean_absolute_error"

    def __init__(self, size_average: bool = True, name: str | None = None) -> None:
        super().__init__(size_average, name)


class _Averaged(LossFunction):
    """A loss without arguments, that is a mean."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(True, name)

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        return {"name": self.name}


@keras.saving.register_keras_serializable("zoo")
class MeanAbsolutePercentageError(_Averaged):
    """The mean of 100 * abs(target - output) / abs(target)."""

    formula = "mean_absolute_percentage_error"


@keras.saving.register_keras_serializable("zoo")
class MeanSquaredLogarithmicError(_Averaged):
    """The mean of (log(1 + target) - log(1 + output))^2; numbers below 1e-7 count as 1e-7."""

    formula = "mean_squared_logarithmic_error"


@keras.saving.register_keras_serializable("zoo")
class CosineProximity(_Averaged):
    """The mean over all entries of -target * output, both of length 1 along the last axis, as in Keras 1."""

    formula = "cosine_proximity"


@keras.saving.register_keras_serializable("zoo")
class KullbackLeiblerDivergence(_Averaged):
    """The mean over rows of sum(target * log(target / output)) over the last axis, both within [1e-7, 1]."""

    formula = "kullback_leibler_divergence"


@keras.saving.register_keras_serializable("zoo")
class Poisson(_Averaged):
    """The mean of output - target * log(output); outputs are rates."""

    formula = "poisson"


@keras.saving.register_keras_serializable("zoo")
class CategoricalCrossEntropy(_Averaged):
    """The mean over rows of -sum(target * log(output)); outputs are probabilities, targets one-hot."""

    formula = "categorical_crossentropy"


@keras.saving.register_keras_serializable("zoo")
class BinaryCrossEntropy(LossFunction):
    """The mean of -target * log(output) - (1 - target) * log(1 - output); outputs are probabilities.

    Args:
        weights: of the entries of a row, of the output's shape without the batch.
        size_average: whether it is the mean.
        name: of the loss.
    """

    formula = "binary_crossentropy"

    def __init__(self, weights: Any = None, size_average: bool = True, name: str | None = None) -> None:
        super().__init__(size_average, name, weights=_listed(weights))


@keras.saving.register_keras_serializable("zoo")
class SparseCategoricalCrossEntropy(LossFunction):
    """The mean of -log(output of the label's class); (rows, ..., classes) for labels (rows, ...) or (rows, ..., 1).

    A label that is no class is refused: where `y` is an array, before anything starts; else the loss is NaN, which ends
    training with an error that names the labels.

    Args:
        log_prob_as_input: whether outputs are logarithms of probabilities; else probabilities.
        zero_based_label: whether classes count from 0; else from 1.
        weights: of the classes; the mean is then weighted by them, over the rows that a rank has in a step.
        size_average: whether it is the mean; else the sum.
        padding_value: the label of entries that count for nothing.
        name: of the loss.
    """

    formula = "sparse_categorical_crossentropy"

    def __init__(
        self, log_prob_as_input: bool = False, zero_based_label: bool = True, weights: Any = None,
        size_average: bool = True, padding_value: int = -1, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            size_average, name, log_prob_as_input=log_prob_as_input, zero_based_label=zero_based_label,
            weights=_listed(weights), padding_value=int(padding_value),
        )  # fmt: skip

    def check(self, y_true: tuple[int | None, ...], y_pred: tuple[int | None, ...]) -> str:
        """As `LossFunction.check`; and the classes that have no weight."""
        weights = self._options["weights"]
        if y_pred and weights is not None and y_pred[-1] not in (None, len(weights)):
            return f"the output has {y_pred[-1]} classes, and each needs one of weights. Received: {len(weights)}"
        return super().check(y_true, y_pred)

    def check_values(self, y_true: np.ndarray, y_pred: tuple[int | None, ...]) -> str:
        """Why labels are no classes of the output."""
        labels, first = y_true[y_true != self._options["padding_value"]], 0 if self.zero_based_label else 1
        if text := not_whole(labels):
            return text
        told = not_among(labels, y_pred[-1], first)
        if not told or not_among(labels, y_pred[-1], 1 - first):  # they do not count from the other number either
            return told
        return f"{told} If they count from {1 - first}: SparseCategoricalCrossEntropy(zero_based_label={first == 1})."

    @property
    def zero_based_label(self) -> bool:
        """Whether classes count from 0."""
        return bool(self._options["zero_based_label"])


@keras.saving.register_keras_serializable("zoo")
class Hinge(LossFunction):
    """The mean of max(margin - target * output, 0); targets are -1 and 1."""

    formula = "hinge"

    def __init__(self, margin: float = 1.0, size_average: bool = True, name: str | None = None) -> None:
        super().__init__(size_average, name, margin=float(margin))


@keras.saving.register_keras_serializable("zoo")
class SquaredHinge(LossFunction):
    """The sum (with `size_average` the mean) of max(margin - target * output, 0)^2; targets are -1 and 1."""

    formula = "squared_hinge"

    def __init__(self, margin: float = 1.0, size_average: bool = False, name: str | None = None) -> None:
        super().__init__(size_average, name, margin=float(margin))


@keras.saving.register_keras_serializable("zoo")
class RankHinge(LossFunction):
    """The mean over pairs of max(margin - positive + negative, 0); outputs (rows, 2, ...), labels are not looked at."""

    formula = "rank_hinge"

    def __init__(self, margin: float = 1.0, name: str | None = None) -> None:
        super().__init__(True, name, margin=float(margin))

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        return {"name": self.name, "margin": self._options["margin"]}


mse = MSE = MeanSquaredError
mae = MAE = MeanAbsoluteError
mape = MAPE = MeanAbsolutePercentageError
msle = MSLE = MeanSquaredLogarithmicError

_NAMES: Mapping[str, Callable[[], LossFunction]] = {
    "mse": MSE, "mean_squared_error": MSE, "mae": MAE, "mean_absolute_error": MAE,
    "mape": MAPE, "mean_absolute_percentage_error": MAPE, "msle": MSLE, "mean_squared_logarithmic_error": MSLE,
    "categorical_crossentropy": CategoricalCrossEntropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossEntropy,
    "binary_crossentropy": BinaryCrossEntropy,
    "hinge": Hinge, "squared_hinge": lambda: SquaredHinge(size_average=True), "rank_hinge": RankHinge,
    "kld": KullbackLeiblerDivergence, "kullback_leibler_divergence": KullbackLeiblerDivergence,
    "poisson": Poisson, "cosine_proximity": CosineProximity,
}  # fmt: skip


def objective(given: Any, shape: Sequence[int | None] | None = None) -> Any:
    """The loss that a program gives to ``compile``: a name, a loss, a function of variables, a torch criterion.

    Args:
        given: it; or a list or dict of several, one for each output.
        shape: of the model's output without the batch, where it is known; for functions.

    Raises:
        Unsupported: something else.
    """
    if isinstance(given, Mapping):
        return {name: objective(one) for name, one in given.items()}
    if isinstance(given, list | tuple):
        return [objective(one) for one in given]
    if isinstance(given, str):
        if given.lower() not in _NAMES:
            raise Unsupported.among("loss", given, _NAMES)
        return _NAMES[given.lower()]()
    if given is None or isinstance(given, keras.losses.Loss):
        return given
    if is_torch(given):
        from zoo.pipeline.api.keras.engine.torchloss import TorchObjective

        return TorchObjective(given)
    if not callable(given) or isinstance(given, type):
        raise Unsupported.among("loss", given, _NAMES)
    if (getattr(given, "__module__", None) or "").startswith("keras."):
        return given
    from zoo.pipeline.api.tracing import CustomLoss

    return CustomLoss(given, shape)
