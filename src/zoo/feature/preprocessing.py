"""Preprocessing: a step from one value to another, and chains of steps.

    step.apply(value)      one value
    step(values)           each value of a list, an iterator, an RDD, an ImageSet or a TextSet; else `apply`
    first >> second        a chain

A step is a plain value: it pickles, and equal steps do the same. Random steps draw from the row's own numbers
(`zoo.feature.draws`); `seeded` says for which seed and epoch.

Owns: how steps are called and chained.
Leaves: the steps (tensors, samples, image), where the values are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.engine.errors import UsageError
from zoo.feature.draws import Draws, checked


class Preprocessing:
    """A step from one value to another; derived classes define `step`, or `apply` where nothing is random."""

    def apply(self, value: Any) -> Any:
        """What becomes of one value.

        Raises:
            DataError: the value is not of the kind that the step takes.
        """
        return self.step(value, Draws())

    def step(self, value: Any, draws: Draws) -> Any:
        """What becomes of one value.

        Args:
            value: of the kind that the step takes.
            draws: the row's random numbers.
        """
        if type(self).apply is Preprocessing.apply:
            raise UsageError(f"{type(self).__name__} defines neither step(value, draws) nor apply(value).")
        return self.apply(value)

    def seeded(self, seed: int, epoch: int = 0) -> Preprocessing:
        """The same step with the random draws of a seed and an epoch; otherwise both are 0."""
        return Seeded(self, checked(seed, "seed"), checked(epoch, "epoch"))

    def of_epoch(self, seed: int, epoch: int) -> Preprocessing:
        """`seeded`, by the name that the engine asks a column's transform for at the begin of each epoch."""
        return self.seeded(seed, epoch)

    def __call__(self, values: Any) -> Any:
        """Each of several values, or one.

        Args:
            values: an ImageSet or TextSet, an RDD, a list or an iterator (each of its values); anything else is one.

        Returns:
            the same kind; of sets, RDDs and iterators nothing is computed before it is asked for, but for local sets.
        """
        if hasattr(values, "_preprocessed"):  # a set of ours
            return values._preprocessed(self)
        if hasattr(values, "mapPartitionsWithIndex"):  # an RDD
            return values.map(self.apply)
        if isinstance(values, list):
            return [self.apply(value) for value in values]
        return map(self.apply, values) if isinstance(values, Iterator) else self.apply(values)

    def __rshift__(self, then: Any) -> ChainedPreprocessing:
        return ChainedPreprocessing([self, then])


class ChainedPreprocessing(Preprocessing):
    """Steps one after the other.

    Attributes:
        transformers: the steps; chains among them are taken apart.
    """

    def __init__(self, transformers: Sequence[Any]) -> None:
        """Chains them.

        Args:
            transformers: steps, or functions of one value.

        Raises:
            UsageError: there are none, or something else is among them.
        """
        if not isinstance(transformers, list | tuple) or not transformers:
            raise UsageError(f"ChainedPreprocessing takes a list of steps, at least one. Received: {transformers!r}")
        steps: list[Preprocessing] = []
        for one in map(as_step, transformers):
            steps.extend(one.transformers if isinstance(one, ChainedPreprocessing) else [one])
        self.transformers: tuple[Preprocessing, ...] = tuple(steps)

    def step(self, value: Any, draws: Draws) -> Any:
        """The last step's answer."""
        for one in self.transformers:
            value = one.step(value, draws)
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChainedPreprocessing) and self.transformers == other.transformers

    def __hash__(self) -> int:
        return hash(self.transformers)

    def __repr__(self) -> str:
        return f"ChainedPreprocessing({list(self.transformers)!r})"


@dataclass(frozen=True)
class Seeded(Preprocessing):
    """A step with the random draws of one seed and epoch.

    Attributes:
        preprocessing: the step.
        seed: at least 0.
        epoch: at least 0.
    """

    preprocessing: Preprocessing
    seed: int
    epoch: int = 0

    def step(self, value: Any, draws: Draws) -> Any:
        """The step's answer; `draws` are not those that count."""
        return self.preprocessing.step(value, Draws(self.seed, self.epoch))

    def apply(self, value: Any) -> Any:
        """The step's answer."""
        return self.preprocessing.step(value, Draws(self.seed, self.epoch))

    def seeded(self, seed: int, epoch: int = 0) -> Preprocessing:
        """The step with other draws."""
        return self.preprocessing.seeded(seed, epoch)


@dataclass(frozen=True)
class FunctionStep(Preprocessing):
    """A function of one value as a step."""

    function: Callable[[Any], Any]

    def step(self, value: Any, draws: Draws) -> Any:
        """The function's answer."""
        return self.function(value)


def as_step(one: Any) -> Preprocessing:
    """A step, or a function of one value as a step.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(one, Preprocessing):
        return one
    if not callable(one) or isinstance(one, type):
        raise UsageError(
            f"a step of a chain must be a Preprocessing, such as ImageResize(256, 256), or a function of one value. "
            f"Received: {one!r}"
        )
    return FunctionStep(one)
