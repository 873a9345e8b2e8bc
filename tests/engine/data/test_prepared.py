"""Images are decoded one by one, and no more batches ahead than the memory allows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from zoo.engine.contracts import Batch
from zoo.engine.data import prepared
from zoo.engine.data.prepared import PreparedFeed
from zoo.engine.jobs import Columns, ColumnTransform, ImageTransform

ROW = 1 << 20  # bytes


class Feed:
    """Ten batches of one row each; remembers how many were asked for."""

    taken = 0
    extent = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for _ in range(10):
            self.taken += 1
            yield Batch((np.array([bytes(ROW)], object),), (), 1, 1)

    def close(self) -> None:
        pass


def fed(monkeypatch: pytest.MonkeyPatch, memory: int) -> list[int]:
    """How many batches the feed had been asked for when each batch was taken."""
    monkeypatch.setattr(prepared, "picture", lambda row, name: np.zeros(ROW, np.uint8))
    feed, asked = Feed(), []
    with_images = PreparedFeed(feed, Columns(("image",), (), images=("image",)), 2, memory)  # type: ignore[arg-type]
    for _ in with_images.epoch(0):
        threading.Event().wait(0.02)  # time to run ahead in, where that is allowed
        asked.append(feed.taken)
    with_images.close()
    return asked


def test_batches_ahead_are_within_an_eighth_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    small = fed(monkeypatch, 8 * ROW)
    assert len(small) == 10 and all(asked <= taken + 1 for taken, asked in enumerate(small, 1))
    assert fed(monkeypatch, 1 << 30)[-1] == 10


def test_an_image_is_transformed_before_the_next_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(prepared, "picture", lambda row, name: told.append(row) or np.zeros(3))

    def transform(image: np.ndarray) -> np.ndarray:
        told.append("made")
        return image[:1]

    columns = Columns(("image",), (), images=("image",), transform=ImageTransform(transform))
    (found,) = prepared.prepared([np.array([b"a", b"b"], object)], ["image"], columns)
    assert told == [b"a", "made", b"b", "made"] and found.shape == (2, 1)


@pytest.mark.parametrize("column, batched, here", [("y", True, True), ("y", False, False), ("x", True, False)])
def test_only_labels_at_once_are_made_by_the_thread_that_takes_them(column: str, batched: bool, here: bool) -> None:
    class Numbers(Feed):
        def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
            yield Batch((np.zeros((2, 3)),), (np.arange(2),), 2, 2)

    makers: list[int] = []

    def transform(values: Any) -> Any:
        makers.append(threading.get_ident())
        return np.asarray(values) + 1

    columns = Columns(("x",), ("y",), values=((column, ColumnTransform(transform, batched=batched)),))
    feed = PreparedFeed(Numbers(), columns, 2)  # type: ignore[arg-type]
    (batch,) = feed.epoch(0)
    feed.close()
    made = batch.labels[0] if column == "y" else batch.features[0][:, 0]
    np.testing.assert_array_equal(made, [1, 2] if column == "y" else [1, 1])
    assert {maker == threading.get_ident() for maker in makers} == {here}
