"""A column's own function: what it gets, what it may give, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoo.engine import session
from zoo.engine.data import pictures
from zoo.engine.data.prepared import prepared, with_pictures
from zoo.engine.data.valued import transformed
from zoo.engine.errors import ColumnNotFound, DataError, NotPicklable, UsageError
from zoo.engine.jobs import Columns, ColumnTransform, Outputs

torch = pytest.importorskip("torch")

IMAGE = pa.struct(
    [
        ("origin", pa.string()),
        *((name, pa.int32()) for name in ("height", "width", "nChannels", "mode")),
        ("data", pa.binary()),
    ]
)
ROWS = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(-9, 9, width=32))


@given(ROWS)
def test_row_by_row_and_batched_give_the_same(values: np.ndarray) -> None:
    single = transformed(values, "x", ColumnTransform(lambda row: (row[:1], row * 2)), False)
    batched = transformed(values, "x", ColumnTransform(lambda rows: (rows[:, :1], rows * 2), batched=True), False)
    for one, other in zip(single, batched, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (ColumnTransform(lambda value: "text"), "must give an array of numbers.*Received: str"),
        (ColumnTransform(lambda value: np.zeros(int(value))), "shapes .1,. and .2,. in one batch"),
        (ColumnTransform(lambda value: (value,) * int(value)), "1 arrays for one row, not for another"),
        (ColumnTransform(lambda values: values[:1], batched=True), "got 2 values and must give arrays of as many rows"),
    ],
)
def test_what_is_no_array_of_the_rows_is_an_error(transform: ColumnTransform, message: str) -> None:
    with pytest.raises(DataError, match=message):
        transformed(np.array([1.0, 2.0], np.float32), "x", transform, False)


@given(st.binary(min_size=12, max_size=12), st.text(max_size=5), st.sampled_from([16, 0, None]))
def test_an_image_is_given_back_as_its_column_had_it(data: bytes, origin: str, mode: int | None) -> None:
    row = {"origin": origin, "height": 2, "width": 2, "nChannels": 3, "mode": mode, "data": data}
    (kept,) = pictures.encoded(pa.array([row], IMAGE)).to_pylist()
    assert pictures.record(kept) == row | {"origin": origin or None, "mode": -1 if mode is None else mode}
    (found,) = transformed(
        np.array([kept], object), "image", ColumnTransform(lambda one: one["height"], raw=True), True
    )
    assert found.tolist() == [2]


def test_functions_are_checked_before_anything_runs() -> None:
    schema, columns = pa.schema([("x", pa.float32()), ("y", pa.float32())]), Columns(("x",), ("y",))
    with pytest.raises(ColumnNotFound, match="transform="):
        with_pictures(columns, schema, {"z": abs})
    with pytest.raises(NotPicklable):
        with_pictures(columns, schema, {"x": (one for one in ()).__next__})
    with pytest.raises(UsageError, match="value -> array"):
        with_pictures(columns, schema, {"x": 3})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="label column 'y' holds images"):
        with_pictures(columns, pa.schema([("x", pa.float32()), ("y", IMAGE)]), {"x": abs})


class OfEpoch:
    def __init__(self, *made: int) -> None:
        self.made = made

    def of_epoch(self, seed: int, epoch: int) -> OfEpoch:
        return OfEpoch(seed, epoch)

    def __call__(self, value: Any) -> np.ndarray:
        return np.array([value, *self.made], np.float32)


def test_a_function_may_know_its_epoch() -> None:
    columns = with_pictures(Columns(("x",)), pa.schema([("x", pa.float32())]), {"x": OfEpoch()})
    values = [np.array([1.0], np.float32)]
    assert prepared(values, ("x",), columns)[0].tolist() == [[1.0]]
    assert prepared(values, ("x",), columns.of_epoch(7, 3))[0].tolist() == [[1.0, 7.0, 3.0]]


def doubled(outputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    return [outputs[0].reshape(-1) * 2]


def test_an_estimator_takes_functions_of_columns_and_of_outputs() -> None:
    from zoo.orca.learn.pytorch import Estimator

    session.begin_local(1)
    try:
        model = torch.nn.Linear(2, 1)
        table = pa.table({"x": pa.array([1.0, 2.0, 3.0]), "label": pa.array(["a", "bb", "ccc"])})
        transform = {"x": lambda x: np.array([x, 1.0]), "label": lambda text: np.array([len(text)])}
        est = Estimator.from_torch(model=model, loss=lambda out, y: ((out - y) ** 2).mean(), optimizer=torch.optim.SGD)
        history = est.fit(table, 2, 3, feature_cols="x", label_cols="label", transform=transform)
        assert history[1]["train_loss"] < history[0]["train_loss"]
        assert est.evaluate(table, 3, "x", "label", transform=transform)["num_samples"] == 3
        outputs = Outputs(pa.schema([("score", pa.float64())]), doubled)
        found = est.predict(table, 2, "x", transform={"x": transform["x"]}, outputs=outputs)
        wanted = model(torch.tensor([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])) * 2
        assert found["score"].to_pylist() == pytest.approx(wanted.reshape(-1).tolist(), abs=1e-5)
    finally:
        session.end()
