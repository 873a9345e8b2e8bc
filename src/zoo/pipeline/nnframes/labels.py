"""Class numbers among the labels.

Owns: their check, their type.
Leaves: which criteria take class numbers (criteria).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zoo.engine.errors import DataError


@dataclass(frozen=True)
class ClassNumbers:
    """Checks a column of class numbers and makes it whole numbers.

    Attributes:
        column: for errors.
        first: the number of the first class.
        classes: how many the model has; None where nobody knows.
        ignored: a number that is no class, and that the criterion leaves out.
    """

    column: str
    first: int
    classes: int | None
    ignored: int | None = None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """int64 of shape (rows,).

        Raises:
            DataError: text, numbers outside the classes, or fractions.
        """
        if values.dtype == object:
            raise DataError(
                f"column '{self.column}' holds text or bytes. Number the classes first, e.g. by StringIndexer."
            )
        flat = values.reshape(len(values), math.prod(values.shape[1:]))  # of no rows, -1 would say nothing
        if len(flat) and flat.shape[1] != 1:
            raise DataError(
                f"column '{self.column}' should hold one class number in a row. It holds {flat.shape[1]}. For targets "
                f"of another kind give NNEstimator a label_preprocessing, e.g. [{flat.shape[1]}]."
            )
        with np.errstate(invalid="ignore"):  # NaN is found below
            numbers = flat.reshape(-1).astype(np.int64)
        last = None if self.classes is None else self.first + self.classes - 1
        wrong = (numbers != flat.reshape(-1)) | (numbers < self.first)
        if last is not None:
            wrong |= numbers > last
        if self.ignored is not None:
            wrong &= numbers != self.ignored
        if wrong.any():
            raise DataError(
                f"column '{self.column}' must hold class numbers {self.first} .. {last or ''}: the criterion counts "
                f"classes from {self.first}, and the model gives {self.classes or 'their'} scores. "
                f"Found: {flat.reshape(-1)[wrong][0]}.{self._remedy(flat.reshape(-1)[wrong])}"
            )
        return numbers

    def _remedy(self, wrong: np.ndarray) -> str:
        """What to do, where all that is wrong looks like one mistake."""
        if np.isnan(wrong).all():
            return f" Drop such rows: df.na.drop(subset=['{self.column}'])."
        if self.first == 1 and not wrong.any():
            return " Classes that count from 0 need + 1."
        if self.first == 0 and self.classes is not None and (wrong == self.classes).all():
            return " Classes that count from 1 need - 1."
        return ""
