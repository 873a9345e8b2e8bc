"""What a model function is called with, and what it returns.

Owns: the words of ``tf.estimator`` for modes, specs and settings, and which parts a spec needs in which mode.
Leaves: the models (canned), running them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.engine.errors import UsageError


class ModeKeys:
    """What a model function builds its graph for."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


_NEEDED = {  # mode: (fields that it needs, what to do)
    ModeKeys.TRAIN: (
        ("loss", "train_op"),
        "Give loss=... and train_op=optimizer.minimize(loss, "
        "global_step=tf.compat.v1.train.get_or_create_global_step()).",
    ),
    ModeKeys.EVAL: (("loss",), "Give loss=..., the mean loss of the batch."),
    ModeKeys.PREDICT: (("predictions",), "Give predictions=..., a tensor or a dict of tensors, one row an example."),
}


@dataclass(frozen=True)
class EstimatorSpec:
    """The graph that a model function has built.

    Attributes:
        mode: one of `ModeKeys`.
        predictions: a tensor, or a dict of them; one row an example.
        loss: one number, the mean loss of the batch.
        train_op: runs one step, as ``optimizer.minimize`` makes it.
        eval_metric_ops: name -> metric.
        export_outputs: name -> what an exported model answers.
        training_chief_hooks: accepted for older programs, like the others below.
        training_hooks: as above.
        scaffold: as above.
        evaluation_hooks: as above.
        prediction_hooks: as above.

    Raises:
        UsageError: an unknown mode, a mode without what it needs, or a loss that is not one number.
    """

    mode: str
    predictions: Any = None
    loss: Any = None
    train_op: Any = None
    eval_metric_ops: Mapping[str, Any] | None = None
    export_outputs: Mapping[str, Any] | None = None
    training_chief_hooks: Sequence[Any] | None = None
    training_hooks: Sequence[Any] | None = None
    scaffold: Any = None
    evaluation_hooks: Sequence[Any] | None = None
    prediction_hooks: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        checks = (self._check_needed, self._check_loss, self._check_metrics)
        if problems := UsageError.found_by(lambda: check_mode(self.mode)) or UsageError.found_by(*checks):
            raise UsageError.listing(problems)

    def _check_needed(self) -> None:
        needed, advice = _NEEDED[self.mode]
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            given = [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None and f.name != "mode"]
            raise UsageError(
                f"an EstimatorSpec with mode={self.mode!r} needs {' and '.join(needed)}. "
                f"Received: no {' and no '.join(missing)} (given: {', '.join(given) or 'nothing'}). {advice}"
            )

    def _check_loss(self) -> None:
        rank = getattr(getattr(self.loss, "shape", None), "rank", None)
        if rank:
            raise UsageError(
                f"loss must be one number for the batch. Received a tensor of shape {self.loss.shape}. "
                "Give loss=tf.reduce_mean(loss)."
            )

    def _check_metrics(self) -> None:
        if self.eval_metric_ops is not None and not isinstance(self.eval_metric_ops, Mapping):
            raise UsageError(
                f"eval_metric_ops must be a dict of name -> metric. Received: {self.eval_metric_ops!r}. "
                "For example eval_metric_ops={'accuracy': ...}."
            )


@dataclass(frozen=True)
class RunConfig:
    """How an estimator runs.

    Attributes:
        model_dir: where checkpoints and summaries go.
        tf_random_seed: of the graph's random numbers.
        save_summary_steps: steps between two summaries.
        save_checkpoints_steps: steps between two checkpoints.
        save_checkpoints_secs: seconds between two checkpoints; this or `save_checkpoints_steps`.
        session_config: a ``tf.compat.v1.ConfigProto``.
        keep_checkpoint_max: checkpoints that are kept.
        log_step_count_steps: steps between two lines of the log.

    Raises:
        UsageError: both intervals for checkpoints, or an interval that is not positive.
    """

    model_dir: str | None = None
    tf_random_seed: int | None = None
    save_summary_steps: int | None = 100
    save_checkpoints_steps: int | None = None
    save_checkpoints_secs: float | None = None
    session_config: Any = None
    keep_checkpoint_max: int | None = 5
    log_step_count_steps: int | None = 100

    def __post_init__(self) -> None:
        problems = []
        if self.save_checkpoints_steps is not None and self.save_checkpoints_secs is not None:
            problems.append(
                "checkpoints are saved every so many steps or every so many seconds, not both. Received: "
                f"save_checkpoints_steps={self.save_checkpoints_steps}, "
                f"save_checkpoints_secs={self.save_checkpoints_secs}. Leave one of them out."
            )
        for name in ("save_checkpoints_steps", "save_checkpoints_secs", "log_step_count_steps"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                problems.append(f"{name} must be more than 0. Received: {value!r}. None switches it off.")
        if problems:
            raise UsageError.listing(problems)

    def replace(self, **changes: Any) -> RunConfig:
        """The same settings with changes."""
        return dataclasses.replace(self, **changes)


def check_mode(mode: object) -> None:
    """Refuses what is no mode.

    Raises:
        UsageError: `mode` is none of `ModeKeys`.
    """
    if mode not in _NEEDED:
        raise UsageError(
            f"mode must be ModeKeys.TRAIN, ModeKeys.EVAL or ModeKeys.PREDICT ({', '.join(map(repr, _NEEDED))}). "
            f"Received: {mode!r}."
        )
