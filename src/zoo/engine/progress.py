"""How far a run has come: one frozen value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        epoch: epochs completed since the model's first `fit`.
        step: steps completed since the model's first `fit`.
        rows: rows trained on since the model's first `fit`.
        step_in_epoch: steps completed in the current epoch; 0 at an epoch's border.
        loss: mean loss over the rows of the last step, all ranks together; NaN before the first step.
        score: the first validation metric's last value; None before the first validation.
        epoch_ended: whether the last step was the last of its epoch.
    """

    epoch: int = 0
    step: int = 0
    rows: int = 0
    step_in_epoch: int = 0
    loss: float = float("nan")
    score: float | None = None
    epoch_ended: bool = False

    def after_step(self, loss: float, rows: int) -> Progress:
        """The progress once one more step over `rows` rows is done."""
        return Progress(
            self.epoch, self.step + 1, self.rows + rows, self.step_in_epoch + 1, loss, self.score, epoch_ended=False
        )

    def after_epoch(self) -> Progress:
        """The progress at the border behind the current epoch."""
        return dataclasses.replace(self, epoch=self.epoch + 1, step_in_epoch=0, epoch_ended=True)

    def scored(self, score: float) -> Progress:
        """The same progress with a new validation score."""
        return dataclasses.replace(self, score=score)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back. NaN becomes None."""
        values = dataclasses.asdict(self)
        return values | {"loss": None if self.loss != self.loss else self.loss}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Progress:
        """The inverse of `to_json`."""
        known = {field.name for field in dataclasses.fields(cls)}
        loss = values.get("loss")
        return cls(**{k: v for k, v in values.items() if k in known} | {"loss": float("nan") if loss is None else loss})
