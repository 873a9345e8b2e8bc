"""BigDL's criteria of class numbers for Keras models.

Owns: `ClassNumbers`, on any backend.
Leaves: which criterion it stands for (criteria).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.pipeline.api.library import library

keras = library()


@keras.saving.register_keras_serializable("zoo")
class ClassNumbers(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """The negative logarithm of the probability of each row's class; classes count from 1, as BigDL's do.

    Args:
        logits: whether outputs are unnormalised scores, as for CrossEntropyCriterion.
        log: whether outputs are log-probabilities, as for ClassNLLCriterion.
        weights: of the classes; the mean is over the weights of the rows' classes.
        averaged: whether the loss is a mean and not a sum.
        name: of the loss.
        **words: Keras' own.
    """

    def __init__(
        self,
        logits: bool = False,
        log: bool = True,
        weights: Sequence[float] | None = None,
        averaged: bool = True,
        name: str = "class_numbers",
        **words: Any,
    ) -> None:
        super().__init__(name=name, **({"reduction": "sum_over_batch_size" if averaged else "sum"} | words))
        self.logits, self.log, self.weights, self.averaged = logits, log, weights, averaged

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses of the rows: shape (rows,)."""
        ops = keras.ops
        classes = ops.shape(y_pred)[-1]
        numbers = ops.cast(ops.reshape(y_true, (-1,)), "int32") - 1
        if self.logits:
            logarithms = ops.log_softmax(y_pred)
        else:
            logarithms = y_pred if self.log else ops.log(ops.maximum(y_pred, 1e-8))
        chosen = ops.cast(ops.one_hot(numbers, classes), y_pred.dtype)
        losses = -ops.sum(chosen * ops.reshape(logarithms, (-1, classes)), axis=-1)
        if self.weights is None:
            return losses
        each = ops.sum(chosen * ops.cast(ops.convert_to_tensor(self.weights), y_pred.dtype), axis=-1)
        weighted = each * losses
        return weighted / ops.mean(each) if self.averaged else weighted

    def get_config(self) -> dict[str, Any]:
        """For Keras' files."""
        own = {"logits": self.logits, "log": self.log, "weights": self.weights, "averaged": self.averaged}
        return {**super().get_config(), **own}
