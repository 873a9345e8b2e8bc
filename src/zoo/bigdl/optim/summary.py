"""Summaries for TensorBoard, as BigDL programs name them.

Owns: `set_summary_trigger`.
Leaves: everything else (zoo.orca.learn.summary).
"""

from __future__ import annotations

from typing import Any

from zoo.engine.errors import UsageError
from zoo.engine.triggers import convert_trigger
from zoo.orca.learn import summary

_WRITTEN = ("Loss", "Throughput", "LearningRate")


class TrainSummary(summary.TrainSummary):
    """At ``<log_dir>/<app_name>/train``: "Loss", "Throughput" and "LearningRate" of each step."""

    def set_summary_trigger(self, name: str, trigger: Any) -> TrainSummary:
        """Accepted for older programs: all three are written, whatever the trigger; returns self.

        Raises:
            UsageError: another name; histograms of ``"Parameters"`` are not written.
        """
        convert_trigger(trigger)
        if name not in _WRITTEN:
            raise UsageError(f"summaries are written of {', '.join(_WRITTEN)}. Received: {name!r}")
        return self


class ValidationSummary(summary.ValidationSummary):
    """Summaries of validation, at ``<log_dir>/<app_name>/validation``: each method's value."""
