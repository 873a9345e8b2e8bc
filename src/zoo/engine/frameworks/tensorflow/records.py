"""Records of Parquet files as a ``tf.data.Dataset``.

Blocks of rows come from Python; TensorFlow takes them apart. Without a function of the program's, Python touches single
rows only where arrays are ``.npy`` files.

Owns: elements.
Leaves: reading (zoo.engine.data.records).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from zoo.engine.data.ahead import Ahead
from zoo.engine.data.fields import RecordField
from zoo.engine.data.records import Block, RecordMaker
from zoo.engine.errors import ColumnNotFound, DataError, UsageError
from zoo.engine.frameworks.tensorflow.pipelines import made_of_batches
from zoo.engine.frameworks.tensorflow.process import library

Blocks: TypeAlias = Callable[[], Iterator[Block]]

_SHAPE = "{}.shape"
_RAW = {"uint32": "int32", "uint64": "int64"}  # which TensorFlow reads from bytes as if they were signed


@dataclass(frozen=True, slots=True)
class Elements:
    """What the elements are to be.

    Attributes:
        types: of each column; those of `tf.DType`, or its names.
        shapes: of some columns.
        transforms: record -> record, in Python; None for none.
        steps: whether an element is a whole block of rows, as a batch; else each is a row.
    """

    types: Mapping[str, Any]
    shapes: Mapping[str, Any]
    transforms: Callable[[dict[str, Any]], Any] | None = None
    steps: bool = False


def dataset_of_records(blocks: Blocks, fields: Sequence[RecordField], elements: Elements) -> Any:
    """A dict of tensors for each record: images as scalar strings of encoded bytes, arrays as they were written.

    For each block, where `elements` says so: its records together, or, of a block without rows, tensors without rows.

    Args:
        blocks: begins to read anew.
        fields: the columns.
        elements: what the data set's elements are.

    Returns:
        a ``tf.data.Dataset``.

    Raises:
        UsageError: a type that is none, or that its column cannot become; a shape of another column.
    """
    tf = library("the data set is one of tf.data")
    types = {name: _dtype(name, dtype, tf) for name, dtype in elements.types.items()}
    if unknown := [name for name in elements.shapes if name not in types]:
        raise ColumnNotFound.among(unknown, list(types), "output_shapes")
    if elements.transforms is None:
        _refuse_casts(fields, types, tf)
    else:
        return _transformed(blocks, fields, elements, types)
    signature = {
        name: tf.TensorSpec((None, *shape), dtype) for field in fields for name, shape, dtype in _sent(field, tf)
    }
    rows = tf.data.Dataset.from_generator(_Sending(blocks, tuple(fields)), output_signature=signature)
    made = partial(_element, fields=tuple(fields), types=types, shapes=elements.shapes)
    made = tf.autograph.experimental.do_not_convert(made)
    if not elements.steps:
        return rows.prefetch(2).unbatch().map(made)
    whole = tf.autograph.experimental.do_not_convert(partial(_together, made=made))
    return made_of_batches(rows.prefetch(2).flat_map(whole))


def _together(block: Mapping[str, Any], made: Callable[[Any], Any]) -> Any:
    """A data set of one element: the records of a block."""
    tf = library()
    count = tf.shape(next(iter(block.values())), tf.int64)[0]
    records = tf.data.Dataset.from_tensor_slices(block).map(made)
    nothing = {name: tf.zeros(_no_rows(spec.shape), spec.dtype) for name, spec in records.element_spec.items()}
    instead = tf.data.Dataset.from_tensors(nothing).take(tf.cast(count == 0, tf.int64))
    return records.batch(tf.maximum(count, 1)).concatenate(instead)


def _no_rows(shape: Any) -> tuple[int, ...]:
    """The shape of no records of this shape: 0 where it is not known."""
    return (0, *(size or 0 for size in (shape.as_list() if shape.rank is not None else ())))


def _dtype(name: str, said: Any, tf: Any) -> Any:
    try:
        return tf.as_dtype(said)
    except TypeError as error:
        raise UsageError(f"output_types of '{name}' must be a TensorFlow dtype. Received: {said!r}") from error


def _refuse_casts(fields: Sequence[RecordField], types: Mapping[str, Any], tf: Any) -> None:
    """Text and images are strings to TensorFlow, and nothing else is."""
    for field in fields:
        is_text = field.dtype.kind == "O"
        if is_text != (types[field.name] == tf.string):
            wanted = "tf.string" if is_text else f"a type of numbers, as tf.{field.dtype.name}"
            raise UsageError(
                f"output_types of '{field.name}' must be {wanted}, for it holds {_held(field)}. "
                f"Received: {types[field.name].name}"
            )


def _held(field: RecordField) -> str:
    return {"image": "encoded images", "scalar": "text or bytes"}[field.holds] if field.dtype.kind == "O" else "numbers"


@dataclass(frozen=True)
class _Sending:
    """Blocks as TensorFlow takes them."""

    blocks: Blocks
    fields: tuple[RecordField, ...]

    def __call__(self) -> Iterator[dict[str, Any]]:
        for block in self.blocks():
            sent: dict[str, Any] = {}
            for field in self.fields:
                values = block.arrays[field.name]
                if field.form != "npy":
                    sent[field.name] = values
                    continue
                arrays = [np.asarray(field.value(value), field.dtype) for value in values]
                sent[field.name] = _objects(np.ascontiguousarray(array).tobytes() for array in arrays)
                sent[_SHAPE.format(field.name)] = _objects(
                    np.array(array.shape, np.int64).tobytes() for array in arrays
                )
            yield sent


def _objects(values: Iterator[bytes]) -> np.ndarray:
    found = list(values)
    array = np.empty(len(found), object)
    array[:] = found
    return array


def _sent(field: RecordField, tf: Any) -> Iterator[tuple[str, tuple[int | None, ...], Any]]:
    """(name, shape of a row, dtype) of what `_Sending` gives for a column."""
    if field.form == "npy":
        yield _SHAPE.format(field.name), (), tf.string
    plain = field.form == "plain" and field.dtype.kind != "O"
    yield field.name, field.inner if plain else (), tf.as_dtype(field.dtype) if plain else tf.string


def _element(
    row: Mapping[str, Any], fields: Sequence[RecordField], types: Mapping[str, Any], shapes: Mapping[str, Any]
) -> dict[str, Any]:
    """One record, in TensorFlow's graph."""
    tf = library()
    made = {}
    for field in fields:
        value, dtype = row[field.name], types[field.name]
        if field.form in ("raw", "npy"):
            name = field.dtype.name
            value = tf.io.decode_raw(value, _RAW.get(name, name))
            value = tf.bitcast(value, name) if name in _RAW else value
            shape = (-1, *field.inner)
            value = tf.reshape(value, _shape(row, field) if field.form == "npy" else shape)
        value = value if value.dtype == dtype else tf.cast(value, dtype)
        made[field.name] = tf.ensure_shape(value, shapes[field.name]) if field.name in shapes else value
    return made


def _shape(row: Mapping[str, Any], field: RecordField) -> Any:
    return library().io.decode_raw(row[_SHAPE.format(field.name)], "int64")


def _transformed(
    blocks: Blocks, fields: Sequence[RecordField], elements: Elements, types: Mapping[str, Any]
) -> Any:  # fmt: skip
    tf, transforms = library(), elements.transforms
    assert transforms is not None

    def records() -> Iterator[Any]:
        maker = RecordMaker(tuple(fields))
        for record in chain.from_iterable(maker.steps(blocks(), Ahead(threads=1))):
            yield _transformed_record(transforms(record), types)

    def steps() -> Iterator[Any]:
        maker = RecordMaker(tuple(fields))
        for step in maker.steps(blocks(), Ahead(threads=1)):
            made = [_transformed_record(transforms(record), types) for record in step]
            yield {name: _stacked(name, [one[name] for one in made], spec) for name, spec in signature.items()}

    signature = {name: tf.TensorSpec(elements.shapes.get(name), dtype) for name, dtype in types.items()}
    if not elements.steps:
        return tf.data.Dataset.from_generator(records, output_signature=signature).prefetch(16)
    batched = {
        name: tf.TensorSpec(None if spec.shape.rank is None else (None, *spec.shape), spec.dtype)
        for name, spec in signature.items()
    }
    return made_of_batches(tf.data.Dataset.from_generator(steps, output_signature=batched).prefetch(2))


def _transformed_record(made: Any, types: Mapping[str, Any]) -> dict[str, Any]:
    """What `transforms` returned, where it is what `output_types` say.

    Raises:
        DataError: other keys, or values that a cast would change into others.
    """
    if not isinstance(made, Mapping) or set(made) != set(types):
        told = f"a dict with {sorted(made)}" if isinstance(made, Mapping) else type(made).__name__
        raise DataError(
            f"transforms=... must return a dict with the keys of output_types: {sorted(types)}. Got {told}."
        )
    for name, dtype in types.items():
        given = np.asarray(made[name])
        if dtype.is_integer and given.dtype.kind in "fc":
            raise DataError(
                f"transforms=... gave '{name}' as {given.dtype}, and output_types say {dtype.name}: fractions would be "
                "cut off. Round it, or say a floating type."
            )
    return dict(made)


def _stacked(name: str, values: list[Any], spec: Any) -> np.ndarray:
    """The values of a column, as an array with rows.

    Raises:
        DataError: they have different shapes.
    """
    dtype = np.dtype(object) if spec.dtype == library().string else spec.dtype.as_numpy_dtype
    if not values:
        return np.zeros(_no_rows(spec.shape), dtype)
    if all(isinstance(value, bytes | str) for value in values):
        return _objects(iter(values))
    arrays = [np.asarray(value, dtype) for value in values]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise DataError(
            f"'{name}' has the shapes {shapes[0]} and {shapes[1]} in one step. Bring them to one size in transforms, "
            "or give batch_size=1 and batch the records with padded_batch."
        )
    return np.stack(arrays)
