"""Data that cannot be learned from: the column, how many rows, and what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from broken_models import WORDS, Line, estimator, rows
from fields import Field

from zoo.engine.errors import ColumnNotFound, DataError, NotEnoughSlots, UsageError


def words(*features: str, **others: Any) -> dict[str, Any]:
    return WORDS | {"feature_cols": list(features)} | others


@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict"])
def test_a_column_that_is_not_there(anywhere: Field, verb: str) -> None:
    call = {"feature_cols": ["a", "tekst"]} | ({} if verb == "predict" else {"label_cols": ["y"]})
    with pytest.raises(ColumnNotFound, match="(?s)^no column 'tekst' in the data.*Did you mean 'text'"):
        getattr(estimator(), verb)(anywhere.keep(rows()), **call)


def test_a_label_that_is_not_there(anywhere: Field) -> None:
    with pytest.raises(ColumnNotFound, match="(?s)^no column 'z' in the data \\(label_cols"):
        estimator().fit(anywhere.keep(rows()), **words("a", label_cols=["z"]))


def test_text_where_numbers_are_needed(anywhere: Field) -> None:
    with pytest.raises(UsageError, match="^column 'text' holds text.*encode"):
        estimator().fit(anywhere.keep(rows()), **words("a", "text"))


@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_nulls_are_counted(anywhere: Field, verb: str) -> None:
    with pytest.raises(DataError, match=r"^column 'holes' has \d+ null values.*(?i:fill|drop)"):
        getattr(estimator(), verb)(anywhere.keep(rows()), **words("a", "holes"))


def test_nulls_among_the_rows_of_two_ranks(on_spark: Field) -> None:
    with pytest.raises(DataError, match=r"^column 'holes' has \d+ null values"):
        estimator(workers_per_node=2).fit(on_spark.keep(rows()), **words("a", "holes"))


def test_nulls_while_predicting(on_spark: Field) -> None:
    predicted = estimator().predict(on_spark.keep(rows()), feature_cols=["a", "holes"])
    with pytest.raises(Exception, match="column 'holes' has 5 null values|column 'holes' has \\d null value"):
        predicted.collect()


def test_lists_of_different_lengths(anywhere: Field) -> None:
    with pytest.raises(DataError, match="^column 'ragged'.*2.*3"):
        estimator().fit(anywhere.keep(rows()), **words("ragged"))


class Classes(Line):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack([super().forward(*inputs), inputs[0]], dim=1)


def test_a_label_outside_the_classes(on_spark: Field) -> None:
    made = estimator(Classes(), loss=torch.nn.CrossEntropyLoss(), workers_per_node=2)
    with pytest.raises(DataError, match="^a label is outside the model's 2 classes: labels of this batch run"):
        made.fit(on_spark.keep(rows()), **words("a", "b", label_cols=["k"]))


@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_no_rows(anywhere: Field, verb: str) -> None:
    with pytest.raises((DataError, UsageError), match=r"^the (training|evaluation) data has no rows"):
        getattr(estimator(), verb)(anywhere.keep(rows().slice(0, 0)), **WORDS)


def test_no_rows_to_validate_with(anywhere: Field) -> None:
    with pytest.raises(DataError, match="^the validation data has no rows"):
        estimator().fit(anywhere.keep(rows()), validation_data=anywhere.keep(rows().slice(0, 0)), **WORDS)


def test_fewer_rows_than_ranks_is_no_failure(gang: Field) -> None:
    made = estimator(workers_per_node=2)
    (stats,) = made.fit(gang.keep(rows(1)), validation_data=gang.keep(rows(1)), **WORDS)
    assert (stats["num_samples"], stats["batch_count"]) == (1, 1)
    assert stats["val_loss"] >= 0


def test_more_ranks_than_slots_start_nothing(gang: Field) -> None:
    with pytest.raises(NotEnoughSlots, match="^9 ranks need 9 .*workers_per_node") as caught:
        estimator(workers_per_node=9).fit(gang.keep(rows()), **WORDS)
    assert "cores=" in str(caught.value)
