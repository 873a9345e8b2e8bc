"""Where TensorBoard summaries go, as values.

Owns: the names of older programs for it.
Leaves: writing and reading them (zoo.engine.events.tensorboard).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zoo.engine.events.tensorboard import read_scalars


@dataclass(frozen=True)
class Summary:
    """A place for summaries: ``<log_dir>/<app_name>/<kind>``.

    Attributes:
        log_dir: a path or fsspec URL.
        app_name: of the program.
    """

    log_dir: str
    app_name: str
    kind: ClassVar[str] = "train"

    def read_scalar(self, tag: str) -> list[list[float]]:
        """``[[step, value, unix seconds], ...]`` of a tag, e.g. "Loss"."""
        return read_scalars(self.log_dir, self.app_name, self.kind, tag)


@dataclass(frozen=True)
class TrainSummary(Summary):
    """Of training: "Loss", "Throughput", "LearningRate"."""


@dataclass(frozen=True)
class ValidationSummary(Summary):
    """Of validation: its metrics."""

    kind: ClassVar[str] = "validation"
