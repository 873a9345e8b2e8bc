"""Steps that change what pixels are: brightness, contrast, hue, saturation, channels, normalising.

Draws and arithmetic are those of SSD's augmentation. Bytes stay bytes, rounded to the nearest even and cut off at 0 and
255, as OpenCV does; floats stay floats, with colours from 0 to 255.

Owns: these steps.
Leaves: where pixels are (geometry).

Source: Howard, "Some improvements on deep convolutional neural network based image classification", 2013; Liu et al.,
"SSD: Single Shot MultiBox Detector", ECCV 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.data import images
from zoo.engine.errors import DataError, UsageError
from zoo.feature.image.steps import MatStep, RandomMatStep, checked, coloured, is_number, numbers, ordered, share

_BYTES = np.arange(256)
_DEGREES = 2.0  # of a step of OpenCV's hue in bytes; floats have degrees
_TURN = 360.0
_FLIP = 0.5


@dataclass(frozen=True)
class ImageBrightness(RandomMatStep):
    """Adds a number drawn from [delta_low, delta_high)."""

    delta_low: float
    delta_high: float

    def __post_init__(self) -> None:
        ordered(self, "delta_low", "delta_high")

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Brighter, or darker."""
        return scaled(mat, 1.0, random.uniform(self.delta_low, self.delta_high))


@dataclass(frozen=True)
class ImageContrast(RandomMatStep):
    """Multiplies by a number drawn from [delta_low, delta_high)."""

    delta_low: float
    delta_high: float

    def __post_init__(self) -> None:
        ordered(self, "delta_low", "delta_high")

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """With more contrast, or less."""
        return scaled(mat, random.uniform(self.delta_low, self.delta_high), 0.0)


@dataclass(frozen=True)
class ImageSaturation(RandomMatStep):
    """Multiplies the saturation, of HSV, by a number drawn from [delta_low, delta_high)."""

    delta_low: float
    delta_high: float

    def __post_init__(self) -> None:
        ordered(self, "delta_low", "delta_high")

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """More colourful, or less."""
        factor = random.uniform(self.delta_low, self.delta_high)
        hsv = _hsv(mat)
        hsv[:, :, 1] = scaled(np.ascontiguousarray(hsv[:, :, 1]), factor, 0.0)
        return _bgr(hsv)


@dataclass(frozen=True)
class ImageHue(RandomMatStep):
    """Turns the hue by a number drawn from [delta_low, delta_high), in OpenCV's steps of two degrees."""

    delta_low: float
    delta_high: float

    def __post_init__(self) -> None:
        ordered(self, "delta_low", "delta_high")

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Of other colours."""
        delta = random.uniform(self.delta_low, self.delta_high)
        hsv = _hsv(mat)
        if hsv.dtype == np.uint8:
            hsv[:, :, 0] = scaled(np.ascontiguousarray(hsv[:, :, 0]), 1.0, delta)
        else:
            hsv[:, :, 0] = np.mod(hsv[:, :, 0] + _DEGREES * delta, _TURN)
        return _bgr(hsv)


@dataclass(frozen=True)
class ImageChannelOrder(RandomMatStep):
    """Puts the channels in a random order."""

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """With other channels first."""
        return np.ascontiguousarray(coloured(mat)[:, :, random.permutation(3)])


@dataclass(frozen=True)
class ImageColorJitter(RandomMatStep):
    """Brightness, contrast, hue, saturation and the channels' order, each with a probability of its own.

    Contrast comes second or second last, with equal chances; with `shuffle` all come in a random order.

    Attributes:
        brightness_prob: of brightness.
        brightness_delta: it is drawn from [-delta, delta).
        contrast_prob: of contrast.
        contrast_lower, contrast_upper: it is drawn from between them.
        hue_prob: of hue.
        hue_delta: it is drawn from [-delta, delta).
        saturation_prob: of saturation.
        saturation_lower, saturation_upper: it is drawn from between them.
        random_order_prob: of another order of the channels.
        shuffle: see above.
    """

    brightness_prob: float = 0.5
    brightness_delta: float = 32.0
    contrast_prob: float = 0.5
    contrast_lower: float = 0.5
    contrast_upper: float = 1.5
    hue_prob: float = 0.5
    hue_delta: float = 18.0
    saturation_prob: float = 0.5
    saturation_lower: float = 0.5
    saturation_upper: float = 1.5
    random_order_prob: float = 0.0
    shuffle: bool = False

    def __post_init__(self) -> None:
        share(self, "brightness_prob", "contrast_prob", "hue_prob", "saturation_prob", "random_order_prob")
        ordered(self, "contrast_lower", "contrast_upper")
        ordered(self, "saturation_lower", "saturation_upper")
        checked(self, ("brightness_delta", "hue_delta"), lambda one: is_number(one) and one >= 0, "at least 0")

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Of other colours."""
        for probability, step in self._in_order(random):
            if random.random() < probability:
                mat = step.mat(mat, random)
        return mat

    def _in_order(self, random: np.random.Generator) -> list[tuple[float, Any]]:
        brightness = (self.brightness_prob, ImageBrightness(-self.brightness_delta, self.brightness_delta))
        contrast = (self.contrast_prob, ImageContrast(self.contrast_lower, self.contrast_upper))
        saturation = (self.saturation_prob, ImageSaturation(self.saturation_lower, self.saturation_upper))
        hue = (self.hue_prob, ImageHue(-self.hue_delta, self.hue_delta))
        channels = (self.random_order_prob, ImageChannelOrder())
        if self.shuffle:
            steps: list[tuple[float, Any]] = [brightness, contrast, saturation, hue, channels]
            return [steps[at] for at in random.permutation(len(steps))]
        if random.random() < _FLIP:
            return [brightness, contrast, saturation, hue, channels]
        return [brightness, saturation, hue, contrast, channels]


@dataclass(frozen=True)
class ImageChannelNormalize(MatStep):
    """(pixel - mean) / std of each channel, float32; means and deviations are named by colour, pixels are BGR."""

    mean_r: float
    mean_g: float
    mean_b: float
    std_r: float = 1.0
    std_g: float = 1.0
    std_b: float = 1.0

    def __post_init__(self) -> None:
        numbers(self, "mean_r", "mean_g", "mean_b")
        deviations = ("std_r", "std_g", "std_b")
        checked(self, deviations, lambda std: is_number(std) and std > 0, "a number above 0")

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """Normalised."""
        library = images.decoder()
        means, deviations = (self.mean_b, self.mean_g, self.mean_r), (self.std_b, self.std_g, self.std_r)
        made: np.ndarray = library.subtract(coloured(mat), (*means, 0.0), dtype=library.CV_32F)
        return made if deviations == (1.0, 1.0, 1.0) else made / np.array(deviations, np.float32)


class ImagePixelNormalize(MatStep):
    """Subtracts a mean from each number of the image, float32."""

    def __init__(self, means: Any) -> None:
        """Takes the means.

        Args:
            means: height x width x channels numbers, flat in this order, or as an array of the image's shape.

        Raises:
            UsageError: they are no numbers.
        """
        try:
            self.means = np.asarray(means, np.float32)
        except (TypeError, ValueError) as error:
            raise UsageError(f"means must be an array of numbers. Received: {type(means).__name__}") from error

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """Normalised."""
        if self.means.size != mat.size:
            raise DataError(f"there are {self.means.size:,} means. Resize the image, or give as many means as numbers.")
        return mat.astype(np.float32) - self.means.reshape(mat.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImagePixelNormalize) and np.array_equal(self.means, other.means)

    def __hash__(self) -> int:
        return hash(self.means.tobytes())

    def __repr__(self) -> str:
        return f"ImagePixelNormalize({self.means.size} means)"


@dataclass(frozen=True)
class PerImageNormalize(MatStep):
    """``cv2.normalize`` of each image by itself, float32.

    Attributes:
        min: the lowest number afterwards (for other norms: the norm).
        max: the highest.
        norm_type: OpenCV's: 32 between min and max, 1 the largest, 2 the sum, 4 Euclid's.
    """

    min: float
    max: float
    norm_type: int = 32

    def __post_init__(self) -> None:
        numbers(self, "min", "max")
        checked(self, ("norm_type",), lambda norm: norm in (1, 2, 4, 32), "32, 1, 2 or 4")

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """Normalised."""
        library = images.decoder()
        made: np.ndarray = library.normalize(mat, None, self.min, self.max, self.norm_type, library.CV_32F)
        return made


def scaled(mat: np.ndarray, factor: float, delta: float) -> np.ndarray:
    """``mat * factor + delta`` in the same dtype."""
    if mat.dtype == np.uint8:
        table = np.clip(np.rint(_BYTES * factor + delta), 0, 255).astype(np.uint8)
        made: np.ndarray = images.decoder().LUT(mat, table)
        return made
    if mat.dtype.kind == "f":
        return (mat * mat.dtype.type(factor) + mat.dtype.type(delta)).astype(mat.dtype, copy=False)
    info = np.iinfo(mat.dtype)
    return np.clip(np.rint(mat * float(factor) + delta), info.min, info.max).astype(mat.dtype)


def _hsv(mat: np.ndarray) -> np.ndarray:
    """A copy in hue, saturation and value."""
    library = images.decoder()
    found = coloured(mat)
    if found.dtype not in (np.uint8, np.float32):
        raise DataError("colours are changed in uint8 or float32.")
    hsv: np.ndarray = library.cvtColor(found, library.COLOR_BGR2HSV)
    return hsv


def _bgr(hsv: np.ndarray) -> np.ndarray:
    library = images.decoder()
    bgr: np.ndarray = library.cvtColor(hsv, library.COLOR_HSV2BGR)
    return bgr
