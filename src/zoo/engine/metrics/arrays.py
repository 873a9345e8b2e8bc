"""How outputs and targets are laid against each other, and the errors where they don't fit.

Owns: columns (n, 1) against (n,), class scores against labels or one-hot rows, checks of values.
Leaves: what is measured (the sibling modules).

The axis of classes is the last one: scores (rows, ..., classes), labels (rows, ...). Torch's order, scores
(rows, classes, ...), is taken where the last axis can't be it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from zoo.engine.errors import DataError

SLACK = 1e-3  # rounding that is forgiven in probabilities, which bf16 needs


def pairs(name: str, output: Any, target: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each output with its target. Several label columns against one output are its columns."""
    outputs, targets = many(output), many(target)
    if len(outputs) == 1 and len(targets) > 1:
        targets = (_as_columns(name, targets),)
    if len(outputs) != len(targets):
        raise DataError(
            f"{name}: the model gives {len(outputs)} outputs for {len(targets)} targets. "
            f"Give one label column per output, or a function as the metric."
        )
    for one_output, one_target in zip(outputs, targets, strict=True):
        shapes = np.shape(one_output), np.shape(one_target)
        if not shapes[0] or not shapes[1] or shapes[0][0] != shapes[1][0]:
            raise _mismatch(name, *shapes, "Both need their rows first, and as many of them.")
        yield _numeric(name, one_output, "output"), _numeric(name, one_target, "target")


def many(arrays: Any) -> tuple[Any, ...]:
    """A tuple or list of arrays as it is, one array as a tuple of one."""
    return tuple(arrays) if isinstance(arrays, tuple | list) else (arrays,)


def alike(name: str, output: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 of one shape; a column (n, 1) against (n,) loses its axis.

    Raises:
        DataError: the shapes differ.
    """
    output, target = squared(output, target)
    if output.shape != target.shape:
        raise _mismatch(
            name, output.shape, target.shape, "This metric compares element by element: give both the same shape."
        )
    return output.astype(np.float64, copy=False), target.astype(np.float64, copy=False)


def squared(output: Any, target: Any) -> tuple[Any, Any]:
    """Without the last axis of the one that has a single column too many."""
    if tuple(output.shape) == (*target.shape, 1):
        return output[..., 0], target
    if tuple(target.shape) == (*output.shape, 1):
        return output, target[..., 0]
    return output, target


def one_column(output: np.ndarray) -> bool:
    """Whether the output is one number per row."""
    return output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1)


def scored(name: str, output: np.ndarray, target: np.ndarray, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N, classes) as they are and labels (N,) int64, one for each element of the target.

    Args:
        name: of the metric, for errors.
        output: (rows, ..., classes).
        target: (rows, ...) labels, (rows, ..., 1) labels, or one-hot (rows, ..., classes).
        first: the label of the first class, 0 or 1.

    Raises:
        DataError: the shapes don't fit, or a label is not one of the classes.
    """
    classes_last = _classes_last(name, output, target)
    classes = classes_last.shape[-1]
    scores = classes_last.reshape(-1, classes)
    if target.shape == classes_last.shape:
        return scores, target.reshape(-1, classes).argmax(axis=1)
    return scores, labels(name, target, classes, first)


def labels(name: str, target: np.ndarray, classes: int, first: int = 0) -> np.ndarray:
    """The target as class numbers 0 .. classes-1, flat, int64.

    Raises:
        DataError: a label that is no whole number, or not one of the classes.
    """
    flat = target.reshape(-1)
    with np.errstate(invalid="ignore"):  # NaN and infinity become some number, and so differ from themselves below
        numbers: np.ndarray = flat.astype(np.int64)
    if (numbers != flat).any():
        wrong = flat[numbers != flat][0]
        raise DataError(f"{name}: labels must be whole numbers. Received: {wrong!s}. Cast the label column.")
    numbers = numbers - first
    outside = (numbers < 0) | (numbers >= classes)
    if outside.any():
        hint = " If labels count from 1, shift them or say zero_based_label=False where the metric has it."
        raise DataError(
            f"{name}: label {numbers[outside][0] + first} is not one of the {classes} classes "
            f"{first}..{classes - 1 + first} that the model's output has.{hint if not first else ''}"
        )
    return numbers


def zero_one(name: str, target: np.ndarray) -> np.ndarray:
    """The target as bool.

    Raises:
        DataError: a value other than 0 and 1.
    """
    wrong = (target != 0) & (target != 1)
    if wrong.any():
        raise DataError(
            f"{name}: with one score per label the labels must be 0 or 1. Received: {target[wrong].flat[0]!s}. "
            f"Map the labels to 0 and 1, or give the model one output column per class."
        )
    return np.asarray(target == 1)


def probabilities(name: str, output: np.ndarray, fix: str) -> np.ndarray:
    """The output, of which every value lies in [0, 1] up to rounding; NaN passes.

    Raises:
        DataError: one does not.
    """
    if output.size and (output.min() < -SLACK or output.max() > 1 + SLACK):
        raise DataError(
            f"{name}: outputs must be probabilities in [0, 1]. Received values from {output.min():.6g} "
            f"to {output.max():.6g}. {fix}"
        )
    return output


def ranked(name: str, scores: np.ndarray) -> np.ndarray:
    """The scores, none of which is NaN.

    Raises:
        DataError: one is: it has no rank.
    """
    lost = int(np.isnan(scores).sum())
    if lost:
        raise DataError(f"{name}: {lost} of {scores.size} outputs are NaN, which has no rank. The model has diverged.")
    return scores


def _classes_last(name: str, output: np.ndarray, target: np.ndarray) -> np.ndarray:
    if output.ndim >= 2 and output.shape[-1] > 1:
        if target.shape in (output.shape[:-1], (*output.shape[:-1], 1), output.shape):
            return output
        if output.ndim >= 3 and target.shape == (output.shape[0], *output.shape[2:]):
            return np.moveaxis(output, 1, -1)
    raise _mismatch(
        name,
        output.shape,
        target.shape,
        "This metric needs one score per class, (rows, classes), and labels (rows,) or one-hot (rows, classes).",
    )


def _as_columns(name: str, targets: tuple[Any, ...]) -> np.ndarray:
    columns = [np.asarray(target) for target in targets]
    shapes = {column.shape for column in columns}
    if len(shapes) > 1 or not one_column(columns[0]):
        raise DataError(
            f"{name}: the model gives 1 output for {len(targets)} targets of shapes "
            f"{sorted(shapes)}. Give one label column per output, or label columns of one number per row."
        )
    return np.stack([column.reshape(-1) for column in columns], axis=1)


def _numeric(name: str, array: Any, role: str) -> np.ndarray:
    numbers: np.ndarray = np.asarray(array)
    if numbers.dtype.kind == "b":
        return numbers.astype(np.float32)
    if numbers.dtype.kind not in "iuf":
        raise DataError(f"{name}: the {role} must hold numbers. Received dtype: {numbers.dtype}. Cast it first.")
    return numbers


def _mismatch(name: str, output: tuple[int, ...], target: tuple[int, ...], fix: str) -> DataError:
    return DataError(f"{name}: the model's output has shape {output} and the target {target}. {fix}")
