"""The user's loss, called so that its usual mistakes name their fix.

Owns: shapes that torch would broadcast in silence, labels outside the classes.
Leaves: the loss itself (the user's), its gradient (replica).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from zoo.engine.errors import DataError, UsageError, ZooError
from zoo.engine.frameworks.torch.tensors import describe

_MOST_SHAPES = 1000
_SIZES = re.compile(r"(?i).*target size \(")
_BOUNDS = re.compile(r"Target (-?\d+) is out of bounds")
_WHOLE = re.compile(r"expected (scalar type|target dtype to be) (Long|Byte)")
_DEVICE_ASSERT = "device-side assert"


class CheckedLoss:
    """``loss(output, target)``, watched the first time that it meets a pair of shapes.

    Args:
        loss: takes (output, target), or (output) where the data have no labels; gives a scalar.
    """

    def __init__(self, loss: Callable[..., Any]) -> None:
        self._loss = loss
        self._seen: set[Any] = set()

    def __call__(self, output: Any, target: Any) -> Tensor:
        """The loss as a scalar tensor.

        Args:
            output: what the model gave: a tensor, or a tuple of them.
            target: the label, a tuple of several labels, or None without labels.

        Raises:
            UsageError: shapes that torch would broadcast, or a loss that is no scalar.
            DataError: a label outside the classes.
        """
        shapes = (_shapes(output), _shapes(target))
        try:
            if shapes in self._seen:
                return self._call(output, target)
            return self._first_call(output, target, shapes)
        except ZooError:
            raise
        except Exception as error:
            explained = _explain(error, output, target)
            if explained is None:
                error.add_note(f"The loss was given output: {describe(output)}; label: {describe(target)}.")
                raise
            raise explained from error

    def _call(self, output: Any, target: Any) -> Tensor:
        loss: Tensor = self._loss(output) if target is None else self._loss(output, target)
        return loss

    def _first_call(self, output: Any, target: Any, shapes: Any) -> Tensor:
        with warnings.catch_warnings():
            # torch warns once and broadcasts (n, 1) against (n,) to (n, n): the model would learn nothing.
            warnings.filterwarnings("error", message=_SIZES.pattern)
            loss = self._call(output, target)
        if not isinstance(loss, Tensor) or loss.ndim:
            raise UsageError(
                f"the loss must give one number, a scalar tensor. Received: {describe(loss)}. "
                "Use reduction='mean', or call .mean() on it."
            )
        if len(self._seen) >= _MOST_SHAPES:
            self._seen.clear()
        self._seen.add(shapes)
        return loss


def own_loss(result: Any) -> tuple[Tensor, Any]:
    """(loss, outputs) of a model that gives its loss itself."""
    loss, outputs = (result[0], result[1:]) if isinstance(result, tuple) and result else (result, ())
    if not isinstance(loss, Tensor) or loss.ndim:
        raise UsageError(
            "without a loss function the model must give the loss itself: a scalar tensor, or a tuple that begins with "
            f"one, from model(*features, *labels). Received: {describe(result)}. Or give the estimator a loss."
        )
    return loss, outputs


def _shapes(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.shape
    if isinstance(values, list | tuple):
        return tuple(_shapes(value) for value in values)
    return type(values)


def _explain(error: Exception, output: Any, target: Any) -> Exception | None:
    text = str(error)
    if _SIZES.match(text):
        return UsageError(
            f"the model's output and the label differ in shape. Output: {describe(output)}; label: {describe(target)}. "
            "Have forward() return output.squeeze(-1), or give the label the output's shape, e.g. label.reshape(-1, 1)."
        )
    if _BOUNDS.search(text) or _DEVICE_ASSERT in text:
        classes = output.shape[1] if isinstance(output, Tensor) and output.ndim > 1 else "?"
        return DataError(
            f"a label is outside the model's {classes} classes{_range(target, text)}. Labels must be 0 .. classes-1: "
            "number them from 0, or give the model as many outputs as there are classes."
        )
    if _WHOLE.search(text) and isinstance(target, Tensor) and target.is_floating_point():
        return UsageError(
            f"the loss takes class numbers, which are whole, and the label is {describe(target)}. Cast the column: "
            "df.withColumn('label', F.col('label').cast('long')), array.astype('int64'). CrossEntropyCriterion of "
            "zoo.bigdl.nn.criterion takes floats; its classes count from 1, as those of ImageSet.read(with_label=True)."
        )
    return None


def _range(target: Any, text: str) -> str:
    try:
        return f": labels of this batch run from {int(target.min())} to {int(target.max())}"
    except (RuntimeError, AttributeError, ValueError):  # after an assert on the device nothing can be read from it
        found = _BOUNDS.search(text)
        return f": found {found[1]}" if found else ""
