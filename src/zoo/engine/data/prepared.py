"""Batches whose images are decoded and transformed on the rank that takes them.

Owns: which columns are images, batches of images, reading ahead of the model.
Leaves: rows of images as bytes (pictures), decoding one (images), threads (ahead), which rows make a batch (feed).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from zoo.engine.contracts import Batch, Collective, Extent, Feed
from zoo.engine.data import images
from zoo.engine.data.ahead import Ahead, in_order
from zoo.engine.data.content import aligned
from zoo.engine.data.pictures import among, picture, told
from zoo.engine.data.valued import numbers, transformed
from zoo.engine.errors import ColumnNotFound, DataError, NotPicklable, UsageError
from zoo.engine.jobs import Columns, ColumnTransform, ImageTransform, Transform
from zoo.engine.parcels import Carried

_DECODED = 12.0  # bytes of pixels for each byte of a JPEG, until the first are decoded


def with_pictures(columns: Columns, schema: pa.Schema, transform: Transform | None) -> Columns:
    """The columns, with those that hold images marked, and what is done with them and with other columns.

    Raises:
        UsageError: a transform and no image; an image among the labels; a transform that cannot be called.
        ColumnNotFound: a transform for a column that is neither feature nor label.
        NotPicklable: the transform cannot travel to other processes.
        MissingDependency: there are images, and OpenCV is not installed.
    """
    if isinstance(transform, Mapping):
        return _with_values(columns, schema, transform)
    asked = transform if isinstance(transform, ImageTransform) else ImageTransform(transform)
    found = among(schema, columns.features)
    if labels := among(schema, columns.labels):
        raise UsageError(f"label column {', '.join(map(repr, labels))} holds images; only features may.")
    if not found:
        if transform is not None:
            raise UsageError(
                f"transform is for columns of images, and none of {', '.join(columns.features)} holds any. "
                "Give an image set, or a column as Spark's image source makes."
            )
        return columns
    images.decoder()
    return replace(columns, images=found, transform=_carried(asked))


def _with_values(
    columns: Columns, schema: pa.Schema, transforms: Mapping[str, Callable[[Any], Any] | ColumnTransform]
) -> Columns:
    used = (*columns.features, *columns.labels)
    if missing := [name for name in transforms if name not in used]:
        raise ColumnNotFound.among(missing, used, "transform")
    found = among(schema, used)
    if bare := [name for name in among(schema, columns.labels) if name not in transforms]:
        raise UsageError(f"label column {', '.join(map(repr, bare))} holds images; give it a transform.")
    asked = {
        name: given if isinstance(given, ColumnTransform) else ColumnTransform(given)
        for name, given in transforms.items()
    }
    if any(name not in asked or not asked[name].raw for name in found):
        images.decoder()
    return replace(columns, images=found, values=tuple((name, _carried(given)) for name, given in asked.items()))


_Travelling = TypeVar("_Travelling", ImageTransform, ColumnTransform)


def _carried(transform: _Travelling) -> _Travelling:
    if transform.function is None:
        return transform
    carried = Carried(transform.function)
    try:
        pickle.dumps(carried)
    except Exception as error:  # pickling raises whatever the objects do
        raise NotPicklable(
            f"transform={transform.function!r} cannot travel to other processes ({error}). "
            "Open files and connections inside it."
        ) from error
    return replace(transform, function=carried)


def prepared(arrays: Sequence[np.ndarray], names: Sequence[str], columns: Columns) -> tuple[np.ndarray, ...]:
    """The arrays of columns `names`, images decoded, values transformed; a column may give several.

    Raises:
        DataError: an image that cannot be decoded; arrays of different shapes; a transform that gives no array.
    """
    if not columns.prepared:
        return tuple(arrays)
    made: list[np.ndarray] = []
    values = dict(columns.values)
    for array, name in zip(arrays, names, strict=True):
        if name in values:
            made += transformed(array, name, values[name], name in columns.images)
        else:
            made.append(_stacked(array, name, columns.transform) if name in columns.images else array)
    return tuple(made)


def _stacked(kept: np.ndarray, name: str, transform: ImageTransform) -> np.ndarray:
    if not len(kept):
        return np.empty((0, 1, 1, 3), np.uint8)
    images = (picture(row, name) for row in kept)  # one by one: pixels take much memory
    if transform.function is None:
        return _together(list(images), name, kept)
    if not transform.batched:
        return _together([_array(transform.function(image), name) for image in images], name, kept)
    made = transform.function(list(images))
    if isinstance(made, list | tuple) and len(made) == len(kept):
        return _together([_array(one, name) for one in made], name, kept)
    whole = _array(made, name)
    if whole.ndim == 0 or len(whole) != len(kept):
        raise DataError(
            f"transform got {len(kept)} images of column '{name}' as a list, and must give as many arrays. "
            f"Received: {type(made).__name__} of shape {whole.shape}."
        )
    return whole


def _array(made: Any, name: str) -> np.ndarray:
    return numbers(made, f"transform must give an array of numbers for an image of column '{name}'")


def _together(made: list[np.ndarray], name: str, kept: np.ndarray) -> np.ndarray:
    """Arrays of one shape as one."""
    other = next((at for at, one in enumerate(made) if one.shape != made[0].shape), None)
    if other is not None:
        raise DataError(
            f"the images of column '{name}' have the shapes {made[0].shape} ({told(kept[0], name)}) and "
            f"{made[other].shape} ({told(kept[other], name)}) in one batch. "
            "Bring them to one size: transform=(image -> array)."
        )
    return np.stack(made)


class PreparedFeed:
    """A feed whose images are decoded and transformed, some batches ahead of the model; labels alone, as they go."""

    def __init__(self, feed: Feed, columns: Columns, threads: int, memory: int = 1 << 30, seed: int = 0) -> None:
        """Wraps it.

        Args:
            feed: gives encoded images.
            columns: which of them are images, and their transform.
            threads: that decode.
            memory: bytes of the rank's data; an eighth of it, which the feed leaves free, is for batches made ahead.
            seed: of transforms that are random.
        """
        self._feed, self._columns, self._seed = feed, columns, seed
        self._ahead = Ahead(max(1, threads), min(Ahead().limit, memory // 8), _DECODED)
        # Handing a batch from thread to thread takes longer than what is done with a column of labels at once.
        at_once = {name for name, given in columns.values if given.batched}
        self._inline = not columns.images and {name for name, _ in columns.values} <= at_once & set(columns.labels)
        self._running: Any = None

    @property
    def extent(self) -> Extent | None:
        """As of the feed that is wrapped."""
        return self._feed.extent

    def settle(self, group: Collective) -> None:
        """As of the feed that is wrapped; nothing is read while it settles."""
        self._stop()
        self._feed.settle(group)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Its batches."""
        self._stop()
        prepare = partial(_prepared, columns=self._columns.of_epoch(self._seed, epoch))
        batches = self._feed.epoch(epoch, start)
        if self._inline:
            self._running = (prepare(batch) for batch in batches)
        else:
            self._running = in_order(batches, prepare, self._ahead, (_bytes, _bytes))
        yield from self._running

    def close(self) -> None:
        """Ends reading ahead, and closes the feed."""
        self._stop()
        self._feed.close()

    def _stop(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None


def _prepared(batch: Batch, columns: Columns) -> Batch:
    features = prepared(batch.features, columns.features, columns)
    labels = prepared(batch.labels, columns.labels, columns)
    if batch.key is not None:
        features, labels = tuple(map(aligned, features)), tuple(map(aligned, labels))
    return replace(batch, features=features, labels=labels)


def _bytes(batch: Batch) -> int:
    return sum(sum(map(len, array)) if array.dtype.kind == "O" else array.nbytes for array in batch.features)
