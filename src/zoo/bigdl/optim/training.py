"""`Optimizer`: trains a model until a trigger ends it.

Owns: BigDL's words for a run.
Leaves: the run (zoo.orca.learn.pytorch, zoo.engine).
"""

from __future__ import annotations

from typing import Any

from zoo.bigdl.optim.validation import methods_of
from zoo.engine.errors import UsageError
from zoo.engine.optim import SGD, ConstantClip, NormClip
from zoo.engine.triggers import MaxEpoch, convert_trigger
from zoo.orca.learn.pytorch import Estimator


class Optimizer:
    """Trains a layer of `zoo.bigdl.nn`, or any torch module, on the current cluster.

    Args:
        model: which holds the trained weights afterwards.
        training_rdd: an RDD of `Sample`s or of ``(x, y)``, arrays ``(x, y)``, XShards.
        criterion: of `zoo.bigdl.nn.criterion`, or a torch loss.
        end_trigger: when to end; ``MaxEpoch(1)`` by default.
        batch_size: rows per step over ALL ranks.
        optim_method: of `zoo.bigdl.optim.optimizer`; ``SGD()`` by default.
        bigdl_type: accepted for older programs.

    Raises:
        UsageError: no torch module; no criterion; no trigger; optimizers for parts of the model.
    """

    def __init__(
        self,
        model: Any,
        training_rdd: Any,
        criterion: Any,
        end_trigger: Any = None,
        batch_size: int = 32,
        optim_method: Any = None,
        bigdl_type: str = "float",
    ) -> None:
        if isinstance(optim_method, dict):
            raise UsageError("one optim_method trains the whole model. Received a dict of several: give one.")
        self._data, self._batch_size = training_rdd, batch_size
        self._end = convert_trigger(MaxEpoch(1) if end_trigger is None else end_trigger)
        self._parts = {"model": model, "loss": criterion, "optimizer": SGD() if optim_method is None else optim_method}
        self._words: dict[str, Any] = {}
        self._methods: list[Any] = []
        self._model_dir: str | None = None
        self._summaries: tuple[str, str] | None = None
        self._clip: Any = None
        self._estimator: Any = None  # made anew for what it was not told; the former one tells where it stood
        self._former: Any = None
        _check(self._parts)

    @staticmethod
    def create(
        model: Any,
        training_set: Any,
        criterion: Any,
        end_trigger: Any = None,
        batch_size: int = 32,
        optim_method: Any = None,
        cores: int | None = None,
        bigdl_type: str = "float",
    ) -> Optimizer:
        """As the constructor; `cores` is accepted for older programs: the context decides."""
        return Optimizer(model, training_set, criterion, end_trigger, batch_size, optim_method)

    def optimize(self) -> Any:
        """Trains, and returns the model; a second call goes on until its end trigger fires.

        Raises:
            UsageError: a mistake in the call, before any process starts.
            WorkerFailed: ranks failed; the user's own line comes first.
        """
        estimator = self._made()
        self._told(estimator)
        estimator.fit(
            self._data, epochs=None, batch_size=self._batch_size, end_trigger=self._end, **self._words
        )  # fmt: skip
        return self._parts["model"]

    def load_checkpoint(self, path: str) -> None:
        """Goes back to a checkpoint, or the newest below `path`; `optimize` goes on from there.

        The model gets its weights, the optimizer its memory; epochs and steps are counted on from the checkpoint's.

        Raises:
            UsageError: there is none, or it is another model's.
            CheckpointDamaged: the one that was named is damaged.
        """
        self._made().load_checkpoint(path)

    def set_validation(self, batch_size: int, val_rdd: Any, trigger: Any, val_method: Any = "Top1Accuracy") -> None:
        """Measures while training.

        Args:
            batch_size: accepted for older programs.
            val_rdd: rows, of the kind of the training rows.
            trigger: when.
            val_method: validation methods, or their names.
        """
        self._methods = methods_of(val_method)
        self._remake()
        self._words |= {"validation_data": val_rdd, "validation_trigger": convert_trigger(trigger)}

    def set_checkpoint(self, checkpoint_trigger: Any, checkpoint_path: str, isOverWrite: bool = True) -> None:
        """Writes checkpoints, each into a directory of its own, so that none is overwritten.

        Args:
            checkpoint_trigger: when.
            checkpoint_path: a directory, or any fsspec URL.
            isOverWrite: accepted for older programs.
        """
        self._model_dir = checkpoint_path
        self._remake()
        self._words["checkpoint_trigger"] = convert_trigger(checkpoint_trigger)

    def set_gradclip_const(self, min_value: float, max_value: float) -> None:
        """Keeps each element of the gradient within [min_value, max_value]."""
        self._clip = ConstantClip(min_value, max_value)

    def set_gradclip_l2norm(self, clip_norm: float) -> None:
        """Scales the gradient, all together, to an L2 norm of at most `clip_norm`."""
        self._clip = NormClip(clip_norm)

    def disable_gradclip(self) -> None:
        """Leaves gradients as they are."""
        self._clip = None

    def set_train_summary(self, summary: Any) -> Optimizer:
        """Writes summaries of training where a `TrainSummary` says; returns self."""
        return self._summarise(summary)

    def set_val_summary(self, summary: Any) -> Optimizer:
        """Writes summaries of validation where a `ValidationSummary` says; returns self."""
        return self._summarise(summary)

    def set_model(self, model: Any) -> None:
        """Trains another model, from its first epoch."""
        self._change(model=model)
        self._former = None

    def set_criterion(self, criterion: Any) -> None:
        """Goes on with another criterion."""
        self._change(loss=criterion)

    def set_optim_method(self, optim_method: Any) -> None:
        """Trains with another optimizer; epochs and steps count from 1 again, as they are its own in BigDL."""
        self._change(optimizer=optim_method)
        self._former = None

    def set_end_when(self, end_when: Any) -> None:
        """Ends at another trigger."""
        self._end = convert_trigger(end_when)

    def set_traindata(self, training_rdd: Any, batch_size: int) -> None:
        """Trains on other rows."""
        self._data, self._batch_size = training_rdd, batch_size

    def prepare_input(self) -> None:
        """Accepted for older programs: rows are read when training begins."""

    def _change(self, **part: Any) -> None:
        _check(self._parts | part)
        self._parts |= part
        self._remake()

    def _remake(self) -> None:
        self._estimator, self._former = None, self._estimator or self._former

    def _made(self) -> Any:
        if self._estimator is None:
            self._estimator = Estimator.from_torch(
                **self._parts, metrics=self._methods or None, model_dir=self._model_dir
            )
            if self._former is not None:
                self._estimator.go_on_from(self._former)
        return self._estimator

    def _summarise(self, summary: Any) -> Optimizer:
        place = (summary.log_dir, summary.app_name)
        if self._summaries not in (None, place):
            raise UsageError(
                f"summaries of training and of validation go to one place. Received: {self._summaries} and {place}"
            )
        self._summaries = place
        return self

    def _told(self, estimator: Any) -> None:
        if self._summaries is not None:
            estimator.set_tensorboard(*self._summaries)
        estimator.clear_gradient_clipping()
        if isinstance(self._clip, ConstantClip):
            estimator.set_constant_gradient_clipping(self._clip.min, self._clip.max)
        elif self._clip is not None:
            estimator.set_l2_norm_gradient_clipping(self._clip.max_norm)


class DistriOptimizer(Optimizer):
    """`Optimizer`, by the name of older programs."""


class LocalOptimizer(Optimizer):
    """`Optimizer` of arrays.

    Args:
        X: an array, or a list of arrays, rows first.
        Y: likewise, of the targets.
        model: as of `Optimizer`, and so are the others.
        criterion: likewise.
        end_trigger: likewise.
        batch_size: likewise.
        optim_method: likewise.
        cores: accepted for older programs: the context decides.
        bigdl_type: accepted for older programs.
    """

    def __init__(
        self,
        X: Any,
        Y: Any,
        model: Any,
        criterion: Any,
        end_trigger: Any = None,
        batch_size: int = 32,
        optim_method: Any = None,
        cores: int | None = None,
        bigdl_type: str = "float",
    ) -> None:
        super().__init__(model, (X, Y), criterion, end_trigger, batch_size, optim_method)

    def set_validation(  # type: ignore[override]
        self, batch_size: int, X_val: Any, Y_val: Any, trigger: Any, val_method: Any = "Top1Accuracy"
    ) -> None:
        """As of `Optimizer`, on arrays."""
        super().set_validation(batch_size, (X_val, Y_val), trigger, val_method)


def _check(parts: dict[str, Any]) -> None:
    import torch

    if not isinstance(parts["model"], torch.nn.Module):
        raise UsageError(
            "Optimizer trains layers of zoo.bigdl.nn.layer, and torch modules. Keras-style models have compile() and "
            f"fit(). Received: {type(parts['model']).__name__}"
        )
    if not callable(parts["loss"]):
        raise UsageError(f"Optimizer needs a criterion of zoo.bigdl.nn.criterion. Received: {parts['loss']!r}")
