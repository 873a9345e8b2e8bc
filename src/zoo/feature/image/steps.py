"""What steps over images have in common.

Owns: from a value to an image and back, the random numbers of random steps, words for arguments that are wrong.
Leaves: what is done with pixels (geometry, colour), files and tensors (conversion).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from zoo.engine.data import images
from zoo.engine.errors import DataError, UsageError
from zoo.feature.draws import Draws
from zoo.feature.image.image_feature import ImageFeature
from zoo.feature.preprocessing import Preprocessing, as_step


class ImagePreprocessing(Preprocessing):
    """A step over images; derived classes define `image`, or `step`."""

    def step(self, value: Any, draws: Draws) -> ImageFeature:
        """The image that becomes of one (`ImageFeature.of`)."""
        return self.image(ImageFeature.of(value))

    def image(self, feature: ImageFeature) -> ImageFeature:
        """What becomes of an image."""
        raise UsageError(f"{type(self).__name__} defines neither image(feature) nor step(value, draws).")


class MatStep(ImagePreprocessing):
    """A step over pixels; derived classes define `mat`, which leaves its argument as it is."""

    def image(self, feature: ImageFeature) -> ImageFeature:
        """The image with other pixels."""
        found = feature.mat
        try:
            return feature.having(mat=self.mat(found))
        except (images.decoder().error, DataError) as error:
            raise failed(self, feature, error) from error

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """Other pixels."""
        raise UsageError(f"{type(self).__name__} defines no mat(mat).")


class RandomMatStep(ImagePreprocessing):
    """A step over pixels with random draws; derived classes define `mat`."""

    def step(self, value: Any, draws: Draws) -> ImageFeature:
        """The image with other pixels."""
        feature = ImageFeature.of(value)
        found = feature.mat
        try:
            return feature.having(mat=self.mat(found, draws.over(found)))
        except (images.decoder().error, DataError) as error:
            raise failed(self, feature, error) from error

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Other pixels."""
        raise UsageError(f"{type(self).__name__} defines no mat(mat, random).")


@dataclass(frozen=True)
class ImageRandomPreprocessing(ImagePreprocessing):
    """Does a step with probability `prob`, and else nothing."""

    preprocessing: Preprocessing
    prob: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "preprocessing", as_step(self.preprocessing))
        share(self, "prob")

    def step(self, value: Any, draws: Draws) -> ImageFeature:
        """The step's answer, or the image."""
        feature = ImageFeature.of(value)
        does = draws.over(feature.content).random() < self.prob
        answer: ImageFeature = self.preprocessing.step(feature, draws) if does else feature
        return answer


def failed(step: Preprocessing, feature: ImageFeature, error: Exception) -> DataError:
    """The error of a step, with the image and its shape."""
    told = str(error).strip().rpartition("error: ")[2]
    return DataError(f"{step} of {feature.name}, {feature.mat.dtype} of shape {feature.mat.shape}: {told}")


def coloured(mat: np.ndarray) -> np.ndarray:
    """The pixels, once they are found to be of three colours.

    Raises:
        DataError: they are not.
    """
    if mat.ndim != 3 or mat.shape[2] != 3:
        raise DataError("this is for 3 channels, BGR. Read the image with image_codec=1.")
    return mat


# --- arguments -------------------------------------------------------------------------------------------------------


def checked(step: Any, names: Sequence[str], fits: Callable[[Any], bool], wanted: str) -> None:
    """Raises UsageError where a named attribute does not fit."""
    for name in names:
        value = getattr(step, name)
        if not fits(value):
            raise UsageError(f"{name} of {type(step).__name__} must be {wanted}. Received: {value!r}")


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(float(value)))


def is_count(value: Any) -> bool:
    """Whether it is a whole number, at least 1."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


def counts(step: Any, *names: str) -> None:
    """Raises UsageError where an attribute is no size in pixels."""
    checked(step, names, is_count, "a whole number, at least 1")


def numbers(step: Any, *names: str) -> None:
    """Raises UsageError where an attribute is no finite number."""
    checked(step, names, is_number, "a finite number")


def share(step: Any, *names: str) -> None:
    """Raises UsageError where an attribute does not lie between 0 and 1."""
    checked(step, names, lambda value: is_number(value) and 0 <= value <= 1, "a number between 0 and 1")


def ordered(step: Any, low: str, high: str) -> None:
    """Raises UsageError where the first attribute is above the second, or one is no number."""
    numbers(step, low, high)
    if getattr(step, low) > getattr(step, high):
        raise UsageError(
            f"{low} of {type(step).__name__} must not be above {high}. "
            f"Received: {getattr(step, low)} and {getattr(step, high)}"
        )
