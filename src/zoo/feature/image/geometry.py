"""Steps that change where pixels are: sizes, crops, flips, borders.

Axes are OpenCV's: x to the right, y down, a pixel's place is its upper left corner.

Owns: these steps.
Leaves: colours (colour).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.engine.data import images
from zoo.engine.errors import DataError, UsageError
from zoo.feature.draws import Draws
from zoo.feature.image.image_feature import ImageFeature
from zoo.feature.image.steps import (
    ImagePreprocessing,
    MatStep,
    RandomMatStep,
    checked,
    counts,
    failed,
    is_count,
    numbers,
    ordered,
    share,
)

RANDOM_MODE = -1
MODES = (0, 1, 2, 3, 4)
"""OpenCV's: nearest, linear, cubic, area, Lanczos."""


@dataclass(frozen=True)
class ImageResize(ImagePreprocessing):
    """``cv2.resize`` to a size.

    Attributes:
        resize_h: height in pixels.
        resize_w: width in pixels.
        resize_mode: OpenCV's interpolation: 0 nearest, 1 linear, 2 cubic, 3 area, 4 Lanczos; -1 draws one of them.
        use_scale_factor: has no effect: OpenCV computes the factors from the size.
    """

    resize_h: int
    resize_w: int
    resize_mode: int = 1
    use_scale_factor: bool = True

    def __post_init__(self) -> None:
        counts(self, "resize_h", "resize_w")
        _check_mode(self)

    def step(self, value: object, draws: Draws) -> ImageFeature:
        """The image in its new size."""
        feature = ImageFeature.of(value)
        mat, mode = feature.mat, self.resize_mode
        if mode == RANDOM_MODE:
            mode = int(draws.over(mat).choice(MODES))
        try:
            return feature.having(mat=resized(mat, self.resize_h, self.resize_w, mode))
        except images.decoder().error as error:
            raise failed(self, feature, error) from error


@dataclass(frozen=True)
class ImageAspectScale(MatStep):
    """Resizes so that the shorter side is `min_size`, and the longer one at most `max_size`; the ratio stays.

    Attributes:
        min_size: of the shorter side, in pixels.
        scale_multiple_of: both sides become multiples of it, rounded down.
        max_size: of the longer side, in pixels.
        resize_mode: as in `ImageResize`, without -1.
        use_scale_factor: has no effect, as in `ImageResize`.
        min_scale: the factor is no smaller, whatever `max_size` says; -1 for none.

    Source: Girshick, "Fast R-CNN", ICCV 2015 (the rule of its image pyramid).
    """

    min_size: int
    scale_multiple_of: int = 1
    max_size: int = 1000
    resize_mode: int = 1
    use_scale_factor: bool = True
    min_scale: float = -1.0

    def __post_init__(self) -> None:
        counts(self, "min_size", "scale_multiple_of", "max_size")
        numbers(self, "min_scale")
        checked(self, ("resize_mode",), lambda mode: mode in MODES, f"one of {MODES}")

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """Resized."""
        height, width = aspect_size(mat.shape[:2], self)
        return resized(mat, height, width, self.resize_mode)


@dataclass(frozen=True)
class ImageRandomAspectScale(RandomMatStep):
    """`ImageAspectScale` with a `min_size` drawn from `scales`."""

    scales: Sequence[int]
    scale_multiple_of: int = 1
    max_size: int = 1000

    def __post_init__(self) -> None:
        if not isinstance(self.scales, list | tuple) or not self.scales or not all(map(is_count, self.scales)):
            raise UsageError(f"scales must be a list of sizes in pixels, at least one. Received: {self.scales!r}")
        object.__setattr__(self, "scales", tuple(self.scales))
        counts(self, "scale_multiple_of", "max_size")

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Resized."""
        size = self.scales[int(random.integers(len(self.scales)))]
        return ImageAspectScale(size, self.scale_multiple_of, self.max_size).mat(mat)


@dataclass(frozen=True)
class ImageRandomCrop(RandomMatStep):
    """A part of a size, anywhere.

    Attributes:
        crop_width: in pixels.
        crop_height: in pixels.
        is_clip: whether a part that sticks out of a smaller image is cut off at its borders; else it is an error.
    """

    crop_width: int
    crop_height: int
    is_clip: bool = True

    def __post_init__(self) -> None:
        counts(self, "crop_width", "crop_height")

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The part."""
        left = int(random.integers(max(mat.shape[1] - self.crop_width, 0) + 1))
        top = int(random.integers(max(mat.shape[0] - self.crop_height, 0) + 1))
        return cropped(mat, (left, top, left + self.crop_width, top + self.crop_height), self.is_clip)


@dataclass(frozen=True)
class ImageCenterCrop(MatStep):
    """The middle of an image; attributes as of `ImageRandomCrop`. An odd pixel is left on the right and below."""

    crop_width: int
    crop_height: int
    is_clip: bool = True

    def __post_init__(self) -> None:
        counts(self, "crop_width", "crop_height")

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """The part."""
        left, top = (mat.shape[1] - self.crop_width) // 2, (mat.shape[0] - self.crop_height) // 2
        return cropped(mat, (left, top, left + self.crop_width, top + self.crop_height), self.is_clip)


@dataclass(frozen=True)
class ImageFixedCrop(MatStep):
    """The part between two corners.

    Attributes:
        x1, y1: the upper left corner.
        x2, y2: the lower right one, which is not part of it.
        normalized: whether these are shares of width and height, in [0, 1]; else pixels. Rounded down.
        is_clip: as of `ImageRandomCrop`.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    normalized: bool = True
    is_clip: bool = True

    def __post_init__(self) -> None:
        ordered(self, "x1", "x2")
        ordered(self, "y1", "y2")

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """The part."""
        height, width = mat.shape[:2] if self.normalized else (1, 1)
        corners = (self.x1 * width, self.y1 * height, self.x2 * width, self.y2 * height)
        left, top, right, bottom = (math.floor(corner) for corner in corners)
        return cropped(mat, (left, top, right, bottom), self.is_clip)


@dataclass(frozen=True)
class ImageExpand(RandomMatStep):
    """Puts the image somewhere on a larger canvas of one colour.

    Attributes:
        means_r, means_g, means_b: the colour.
        min_expand_ratio: of the canvas' sides to the image's, at least; 1 or more.
        max_expand_ratio: at most.

    Source: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, sec. 3.6.
    """

    means_r: float = 123
    means_g: float = 117
    means_b: float = 104
    min_expand_ratio: float = 1.0
    max_expand_ratio: float = 4.0

    def __post_init__(self) -> None:
        numbers(self, "means_r", "means_g", "means_b")
        ordered(self, "min_expand_ratio", "max_expand_ratio")
        checked(self, ("min_expand_ratio",), lambda ratio: ratio >= 1, "at least 1")

    def mat(self, mat: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The canvas with the image on it."""
        ratio = random.uniform(self.min_expand_ratio, self.max_expand_ratio)
        height, width = (int(side * ratio) for side in mat.shape[:2])
        top = int(random.integers(height - mat.shape[0] + 1))
        left = int(random.integers(width - mat.shape[1] + 1))
        sides = (top, height - mat.shape[0] - top, left, width - mat.shape[1] - left)
        library = images.decoder()
        colour = (self.means_b, self.means_g, self.means_r)
        expanded: np.ndarray = library.copyMakeBorder(mat, *sides, library.BORDER_CONSTANT, value=colour)
        return expanded


@dataclass(frozen=True)
class ImageFiller(MatStep):
    """Fills a part with one value.

    Attributes:
        start_x, start_y, end_x, end_y: the part, as shares of width and height in [0, 1]; pixels are rounded down.
        value: of all its channels.
    """

    start_x: float
    start_y: float
    end_x: float
    end_y: float
    value: int = 255

    def __post_init__(self) -> None:
        share(self, "start_x", "start_y", "end_x", "end_y")
        ordered(self, "start_x", "end_x")
        ordered(self, "start_y", "end_y")
        numbers(self, "value")

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """A copy with the part filled."""
        height, width = mat.shape[:2]
        filled = mat.copy()
        rows = slice(int(self.start_y * height), int(self.end_y * height))
        filled[rows, int(self.start_x * width) : int(self.end_x * width)] = self.value
        return filled


@dataclass(frozen=True)
class ImageHFlip(MatStep):
    """Left becomes right."""

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """Flipped."""
        flipped: np.ndarray = images.decoder().flip(mat, 1)
        return flipped


@dataclass(frozen=True)
class ImageMirror(MatStep):
    """Left becomes right, and top becomes bottom."""

    def mat(self, mat: np.ndarray) -> np.ndarray:
        """Flipped."""
        flipped: np.ndarray = images.decoder().flip(mat, -1)
        return flipped


def resized(mat: np.ndarray, height: int, width: int, mode: int = 1) -> np.ndarray:
    """``cv2.resize``; itself where it has that size."""
    if mat.shape[:2] == (height, width):
        return mat
    made: np.ndarray = images.decoder().resize(mat, (width, height), interpolation=mode)
    return made


def cropped(mat: np.ndarray, box: tuple[int, int, int, int], clip: bool) -> np.ndarray:
    """The part (left, top, right, bottom), cut off at the image's borders with `clip`; no copy.

    Raises:
        DataError: it sticks out without `clip`, or nothing is left of it.
    """
    height, width = mat.shape[:2]
    left, top, right, bottom = box
    inside = (max(left, 0), max(top, 0), min(right, width), min(bottom, height))
    if inside != box and not clip:
        raise DataError(f"the part {box} (left, top, right, bottom) sticks out. Resize first, or set is_clip=True.")
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise DataError(f"nothing is left of the part {box} (left, top, right, bottom).")
    return mat[inside[1] : inside[3], inside[0] : inside[2]]


def aspect_size(size: tuple[int, ...], asked: ImageAspectScale) -> tuple[int, int]:
    """(height, width) of what becomes of an image of a size."""
    short, long = sorted(size)
    scale = asked.min_size / short
    if round(scale * long) > asked.max_size:
        scale = asked.max_size / long
    if asked.min_scale > 0:
        scale = max(scale, asked.min_scale)
    unit = asked.scale_multiple_of
    if unit > 1:
        height, width = (max(math.floor(side * scale / unit), 1) * unit for side in size)
    else:
        height, width = (max(round(side * scale), 1) for side in size)
    return height, width


def _check_mode(step: ImageResize) -> None:
    modes = (RANDOM_MODE, *MODES)
    checked(step, ("resize_mode",), lambda mode: mode in modes, f"one of {modes}")
