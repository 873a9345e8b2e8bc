"""`zoo.pipeline.estimator.Estimator`: the words of its calls.

Owns: one optimizer for the model's life, a criterion for each training.
Leaves: everything else (zoo.orca.learn.bigdl).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.bigdl.optim.validation import methods_of
from zoo.engine.errors import UsageError
from zoo.engine.optim import SGD, ConstantClip, NormClip
from zoo.engine.triggers import MaxEpoch
from zoo.orca.learn import bigdl


class Estimator:
    """Trains and measures a model on the current cluster.

    Args:
        model: a layer of `zoo.bigdl.nn.layer`, any torch module, a Keras-style model; a `TFNet`, to be measured.
        optim_methods: of `zoo.bigdl.optim.optimizer`; ``SGD()`` by default. A dict of one is that one.
        model_dir: where checkpoints and summaries go.

    Raises:
        UsageError: optimizers for several parts of the model.
    """

    def __init__(self, model: Any, optim_methods: Any = None, model_dir: str | None = None) -> None:
        if isinstance(optim_methods, Mapping):
            if len(optim_methods) != 1:
                raise UsageError(f"one optimizer trains the whole model. Received: {dict(optim_methods)!r}")
            (optim_methods,) = optim_methods.values()
        self._model, self._model_dir = model, model_dir
        self._optimizer = SGD() if optim_methods is None else optim_methods
        self._summaries: tuple[str, str] | None = None
        self._clip: Any = None
        self._made: Any = None
        self._asked: tuple[Any, ...] = ()

    def train(
        self,
        train_set: Any,
        criterion: Any,
        end_trigger: Any = None,
        checkpoint_trigger: Any = None,
        validation_set: Any = None,
        validation_method: Any = None,
        batch_size: int = 32,
    ) -> Estimator:
        """Trains; a second call goes on, also with another criterion or other methods.

        Args:
            train_set: a `FeatureSet`, an RDD of `Sample`s, arrays ``(x, y)``, XShards.
            criterion: of `zoo.bigdl.nn.criterion`, a torch loss, or, of a Keras-style model, what ``compile`` takes.
            end_trigger: ``MaxEpoch(1)`` by default.
            checkpoint_trigger: when a checkpoint goes to `model_dir`; every epoch by default.
            validation_set: measured every epoch.
            validation_method: validation methods.
            batch_size: rows per step over ALL ranks.

        Returns:
            itself.

        Raises:
            UsageError: a mistake in the call, before any process starts.
        """
        methods = [] if validation_method is None else methods_of(validation_method)
        self._over(criterion, methods).fit(
            train_set, None, batch_size, validation_data=validation_set, checkpoint_trigger=checkpoint_trigger,
            end_trigger=MaxEpoch(1) if end_trigger is None else end_trigger,
        )  # fmt: skip
        return self

    def train_imagefeature(self, train_set: Any, criterion: Any, **words: Any) -> Estimator:
        """As `train`, of a `FeatureSet` of images."""
        return self.train(train_set, criterion, **words)

    def evaluate(self, validation_set: Any, validation_method: Any, batch_size: int = 32) -> dict[str, float]:
        """Measures the model: each validation method's value by its name."""
        methods = methods_of(validation_method)
        if hasattr(self._model, "only_computes"):
            return dict(self._model.evaluate(validation_set, batch_size, methods))
        loss = self._asked[0] if self._asked else _no_loss
        own = bigdl.Estimator.from_bigdl(
            model=self._model, loss=None if _compiled(self._model) else loss, metrics=methods
        )
        found = own.evaluate(validation_set, batch_size)
        return {one.name: found[one.name] for one in methods}

    def evaluate_imagefeature(self, validation_set: Any, validation_method: Any, batch_size: int = 32) -> Any:
        """As `evaluate`, of a `FeatureSet` of images."""
        return self.evaluate(validation_set, validation_method, batch_size)

    def set_constant_gradient_clipping(self, min: float, max: float) -> None:
        """Keeps each element of the gradient within [min, max]."""
        self._clip = ConstantClip(min, max)

    def set_l2_norm_gradient_clipping(self, clip_norm: float) -> None:
        """Scales the gradient, all together, to an L2 norm of at most `clip_norm`."""
        self._clip = NormClip(clip_norm)

    def clear_gradient_clipping(self) -> None:
        """Leaves gradients as they are."""
        self._clip = None

    def set_tensorboard(self, log_dir: str, app_name: str) -> None:
        """Writes summaries to ``<log_dir>/<app_name>/train`` and ``/validation``."""
        self._summaries = (log_dir, app_name)

    def get_train_summary(self, tag: str = "Loss") -> Any:
        """An array (steps, 3) of step, value, unix seconds; None where no summaries are written."""
        return None if self._made is None else _array(self._made.get_train_summary(tag))

    def get_validation_summary(self, tag: str = "Loss") -> Any:
        """Likewise of a validation method."""
        return None if self._made is None else _array(self._made.get_validation_summary(tag))

    def _over(self, criterion: Any, methods: list[Any]) -> Any:
        if self._made is None or self._asked != (criterion, methods):
            former, self._made = self._made, bigdl.Estimator.from_bigdl(
                model=self._model, loss=criterion, optimizer=self._optimizer, metrics=methods or None,
                model_dir=self._model_dir,
            )  # fmt: skip
            if former is not None:
                self._made.go_on_from(former)
            self._asked = (criterion, methods)
        if self._summaries is not None:
            self._made.set_tensorboard(*self._summaries)
        self._made.clear_gradient_clipping()
        if isinstance(self._clip, ConstantClip):
            self._made.set_constant_gradient_clipping(self._clip.min, self._clip.max)
        elif self._clip is not None:
            self._made.set_l2_norm_gradient_clipping(self._clip.max_norm)
        return self._made


def _compiled(model: Any) -> bool:
    """Whether it is a Keras model, whose loss is compiled into it."""
    return bool(getattr(model, "compiled", False))


def _no_loss(output: Any, target: Any) -> Any:
    return 0 * output.sum()


def _array(found: Any) -> Any:
    return None if found is None else np.array(found)
