"""Whether a Keras model can be trained by ranks that average their gradients."""

from __future__ import annotations

from typing import Any

import keras

from zoo.engine.errors import UsageError
from zoo.engine.jobs import Columns


def check_trainable(model: Any, optimizer: Any, columns: Columns) -> None:
    """Refuses what training would fail on.

    Args:
        model: a Keras model.
        optimizer: the estimator's own, or None.
        columns: what is trained on; without features where only the ranks will know.

    Raises:
        UsageError: it was not compiled, has no loss, optimizer or targets, or a step of its own.
    """
    if not model.compiled:
        raise UsageError(
            "the model is not compiled: call model.compile(optimizer=..., loss=...) before it is given to "
            "from_keras, in the model creator, or give compile_args_creator."
        )
    if type(model).train_step is not keras.Model.train_step:
        raise UsageError(
            f"{type(model).__name__} has a train_step of its own, which applies gradients before the ranks could "
            "average them. Say what is special in compute_loss(x, y, y_pred, sample_weight) or call(), and leave "
            "train_step to Keras."
        )
    _check_loss(model, columns)
    if optimizer is None and model.optimizer is None:
        raise UsageError("the model was compiled without an optimizer: model.compile(optimizer='adam', ...).")


def _check_loss(model: Any, columns: Columns) -> None:
    if type(model).compute_loss is not keras.Model.compute_loss:
        return
    if model.loss is None:
        raise UsageError("the model was compiled without a loss: model.compile(optimizer=..., loss=...).")
    if columns.features and not columns.labels:
        raise UsageError(
            f"the loss {model.loss!r} compares outputs with targets, and the data have none. Give label_cols=, or "
            "pairs (features, targets)."
        )
