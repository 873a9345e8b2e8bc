"""Mistakes in the user's own code: one error, the user's own line first, and the next run works.

On two local processes they are tested without torch in engine/clusters/test_local.py, and with it by docs/errors.md.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from broken_models import WORDS, BadCallback, FailsAt, Line, bad_loss, estimator, rows
from fields import Field

from zoo.engine.errors import NotPicklable, TrainingDiverged, UsageError, WorkerFailed


def first_line(caught: Any) -> str:
    return str(caught.value).partition("\n")[0]


def test_an_error_on_all_ranks_is_told_once(on_spark: Field) -> None:
    made = estimator(FailsAt(step=2), workers_per_node=2)
    with pytest.raises(WorkerFailed) as caught:
        made.fit(on_spark.keep(rows()), **WORDS)
    assert "broken_models.py:" in first_line(caught)
    assert "in forward: ValueError: my own mistake (on " in first_line(caught)  # all ranks, or one that was faster
    assert str(caught.value).splitlines()[1].strip() == 'raise ValueError("my own mistake")'
    assert isinstance(caught.value.error, ValueError)
    assert str(caught.value).count("Traceback") == 1
    made = estimator(workers_per_node=2)
    assert made.fit(on_spark.keep(rows()), **WORDS)[0]["num_samples"] == 40  # the place is as good as before


def test_an_error_on_one_rank_is_told_with_its_rank(on_spark: Field) -> None:
    with pytest.raises(WorkerFailed) as caught:
        estimator(FailsAt(step=3, rank=1), workers_per_node=2).fit(on_spark.keep(rows()), **WORDS)
    assert first_line(caught).endswith("in forward: ValueError: my own mistake (on rank 1 of 2)")
    assert caught.value.ranks == (1,)
    assert "Rank 0 stopped because its peers had gone" in str(caught.value)


def test_an_error_in_the_loss(on_spark: Field) -> None:
    with pytest.raises(WorkerFailed) as caught:
        estimator(loss=bad_loss, workers_per_node=2).fit(on_spark.keep(rows()), **WORDS)
    assert "in bad_loss: KeyError: 'weights of classes' (on " in first_line(caught)


def test_an_error_in_a_callback(on_spark: Field) -> None:
    with pytest.raises(WorkerFailed) as caught:
        estimator(workers_per_node=2).fit(on_spark.keep(rows()), callbacks=[BadCallback()], **WORDS)
    assert "in after_train_iter: RuntimeError: cannot reach my server (on rank 1 of 2)" in first_line(caught)


def test_in_this_process_the_exception_comes_as_it_is(inline: Field) -> None:
    with pytest.raises(ValueError, match="my own mistake") as caught:
        estimator(FailsAt(step=2)).fit(rows(), **WORDS)
    assert caught.traceback[-1].path.name == "broken_models.py"
    assert any("The model was given: float32 (8,), float32 (8,)" in note for note in caught.value.__notes__)


def test_an_error_while_predicting_names_the_users_line(on_spark: Field) -> None:
    frame = estimator(FailsAt(step=2)).predict(on_spark.keep(rows()), feature_cols=["a", "b"], batch_size=4)
    with pytest.raises(Exception, match="my own mistake") as caught:
        frame.collect()
    assert "broken_models.py" in str(caught.value)


def test_an_error_while_evaluating_names_the_users_line(on_spark: Field) -> None:
    with pytest.raises(WorkerFailed) as caught:
        estimator(FailsAt(step=2)).evaluate(on_spark.keep(rows()), **WORDS)
    assert "broken_models.py:" in first_line(caught)
    assert first_line(caught).endswith("in forward: ValueError: my own mistake")


class HoldsALock(Line):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def test_what_cannot_travel_is_named(gang: Field) -> None:
    with pytest.raises(NotPicklable, match=r"^model\.lock .*_thread\.lock.*creator function"):
        estimator(HoldsALock(), workers_per_node=2).fit(gang.keep(rows()), **WORDS)
    with pytest.raises(NotPicklable, match=r"^model\.lock "):
        estimator(HoldsALock()).predict(gang.keep(rows()), feature_cols=["a", "b"])


def test_a_loss_that_is_nan_stops_the_run(on_spark: Field) -> None:
    exploding = estimator(workers_per_node=2)
    exploding._spec.optimizer.param_groups[0]["lr"] = 1e30
    with pytest.raises(TrainingDiverged, match=r"^the loss is (nan|inf) at step \d+ .*stop_on_nan=False"):
        exploding.fit(on_spark.keep(rows()), epochs=3, **WORDS)


def test_unless_it_is_told_to_go_on(inline: Field) -> None:
    exploding = estimator()
    exploding._spec.optimizer.param_groups[0]["lr"] = 1e30
    history = exploding.fit(rows(), epochs=3, stop_on_nan=False, **WORDS)
    assert len(history) == 3
    assert history[-1]["train_loss"] != history[-1]["train_loss"]


class Reduces(Line):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(*inputs).mean(0, keepdim=True)


def test_an_output_without_its_rows_is_refused_before_anything_starts(anywhere: Field) -> None:
    with pytest.raises(UsageError, match=r"^wrong output shape in predict: 2 rows went in.*gave \(1,\)"):
        estimator(Reduces()).predict(anywhere.keep(rows()), feature_cols=["a", "b"])


def test_output_and_label_that_would_be_broadcast(inline: Field) -> None:
    class Column(Line):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(*inputs)[:, None]

    with pytest.raises(UsageError, match=r"^the model's output and the label differ in shape.*\(8, 1\).*\(8,\)"):
        estimator(Column()).fit(rows(), **WORDS)
