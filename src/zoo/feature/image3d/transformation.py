"""Steps over volumes: arrays of (depth, height, width), or with channels behind, under the key ``imageTensor``.

A volume is turned and warped by asking for each place of the result where in the volume its value comes from
(dst <- src); values between places are interpolated along the three axes.

Owns: these steps.
Leaves: what an image is (zoo.feature.image.image_feature), random draws (zoo.feature.draws).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from zoo.engine.errors import DataError, UsageError
from zoo.feature.draws import Draws
from zoo.feature.image.conversion import TENSOR
from zoo.feature.image.image_feature import ImageFeature
from zoo.feature.image.steps import ImagePreprocessing, checked, counts, is_count, is_number

__all__ = [
    "AffineTransform3D", "CenterCrop3D", "Crop3D", "ImagePreprocessing3D", "RandomCrop3D", "Rotate3D", "Warp3D",
]  # fmt: skip

_AXES = 3
_MODES = ("clamp", "padding")


class ImagePreprocessing3D(ImagePreprocessing):
    """A step over volumes; derived classes define `volume`."""

    def step(self, value: Any, draws: Draws) -> ImageFeature:
        """The image with another volume; `value` is an image, or the volume alone."""
        array = isinstance(value, np.ndarray)
        feature = ImageFeature(**{TENSOR: value}) if array else ImageFeature.of(value)
        found = feature.get(TENSOR)
        if not isinstance(found, np.ndarray) or found.ndim not in (_AXES, _AXES + 1):
            told = f"shape {found.shape}" if isinstance(found, np.ndarray) else "none"
            raise DataError(
                f"{feature.name} must have a volume (depth, height, width) under {TENSOR!r}. Received: {told}"
            )
        return feature.having(**{TENSOR: self.volume(found, draws)})

    def volume(self, volume: np.ndarray, draws: Draws) -> np.ndarray:
        """Another volume; the argument is left as it is."""
        raise UsageError(f"{type(self).__name__} defines no volume(volume, draws).")


@dataclass(frozen=True)
class Crop3D(ImagePreprocessing3D):
    """A part of a volume.

    Attributes:
        start: its first place along each axis, counted from 0.
        patch_size: its size along each axis.
    """

    start: Sequence[int]
    patch_size: Sequence[int]

    def __post_init__(self) -> None:
        _three(self, "start", lambda one: one == 0 or is_count(one), "whole numbers, at least 0")
        _three(self, "patch_size", is_count, "whole numbers, at least 1")

    def volume(self, volume: np.ndarray, draws: Draws) -> np.ndarray:
        """The part."""
        return _part(volume, self.start, self.patch_size, self)


@dataclass(frozen=True)
class RandomCrop3D(ImagePreprocessing3D):
    """A part of a size, anywhere in a volume."""

    crop_depth: int
    crop_height: int
    crop_width: int

    def __post_init__(self) -> None:
        counts(self, "crop_depth", "crop_height", "crop_width")

    def volume(self, volume: np.ndarray, draws: Draws) -> np.ndarray:
        """The part."""
        size = (self.crop_depth, self.crop_height, self.crop_width)
        random = draws.over(volume)
        room = [max(whole - part, 0) + 1 for whole, part in zip(volume.shape, size, strict=False)]
        return _part(volume, [int(random.integers(one)) for one in room], size, self)


@dataclass(frozen=True)
class CenterCrop3D(ImagePreprocessing3D):
    """The middle of a volume; an odd place is left behind the part."""

    crop_depth: int
    crop_height: int
    crop_width: int

    def __post_init__(self) -> None:
        counts(self, "crop_depth", "crop_height", "crop_width")

    def volume(self, volume: np.ndarray, draws: Draws) -> np.ndarray:
        """The part."""
        size = (self.crop_depth, self.crop_height, self.crop_width)
        start = [max(whole - part, 0) // 2 for whole, part in zip(volume.shape, size, strict=False)]
        return _part(volume, start, size, self)


class AffineTransform3D(ImagePreprocessing3D):
    """value(dst) = volume(affine_mat (dst - centre) + centre + translation)."""

    def __init__(
        self, affine_mat: Any, translation: Any = (0.0, 0.0, 0.0), clamp_mode: str = "clamp", pad_val: float = 0.0
    ) -> None:
        """Takes the mapping.

        Args:
            affine_mat: 3 x 3; axes are (depth, height, width).
            translation: in places along each axis.
            clamp_mode: of places outside the volume: ``"clamp"``: the nearest one's value; ``"padding"``: `pad_val`.
            pad_val: see there; otherwise 0.

        Raises:
            UsageError: other shapes, or another mode.
        """
        self.affine_mat = _numbers(affine_mat, (_AXES, _AXES), "affine_mat")
        self.translation = _numbers(translation, (_AXES,), "translation")
        self.clamp_mode, self.pad_val = _checked_mode(clamp_mode, pad_val)

    def volume(self, volume: np.ndarray, draws: Draws) -> np.ndarray:
        """The volume of the same shape, float32."""
        centre = (np.array(volume.shape[:_AXES], np.float64) - 1) / 2
        away = _places(volume.shape[:_AXES]) - _column(centre)
        at = np.tensordot(self.affine_mat, away, 1) + _column(centre + self.translation)
        return _sampled(volume, at, self.clamp_mode, self.pad_val)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.affine_mat.tolist()}, {self.translation.tolist()}, {self.clamp_mode!r})"


class Rotate3D(AffineTransform3D):
    """Turns a volume about its centre.

    Attributes:
        rotation_angles: (yaw, pitch, roll).
    """

    def __init__(self, rotation_angles: Sequence[float]) -> None:
        """Takes the angles.

        Args:
            rotation_angles: yaw, pitch and roll in radians: about the third, the second and the first axis. Roll comes
                first. They turn the place that is asked for (dst -> src), so what is seen turns the other way. Places
                outside the volume have the nearest one's value.

        Raises:
            UsageError: not three numbers.
        """
        self.rotation_angles = tuple(_numbers(rotation_angles, (_AXES,), "rotation_angles").tolist())
        yaw, pitch, roll = (_turn(angle, axis) for angle, axis in zip(self.rotation_angles, (2, 1, 0), strict=True))
        super().__init__(yaw @ pitch @ roll)


class Warp3D(ImagePreprocessing3D):
    """value(dst) = volume(dst + field(dst)), or volume(field(dst))."""

    def __init__(self, flow_field: Any, offset: bool = True, clamp_mode: str = "clamp", pad_val: float = 0.0) -> None:
        """Takes the field.

        Args:
            flow_field: (3, depth, height, width): along each axis, in places.
            offset: whether the field is added to the place; else it is the place.
            clamp_mode: as of `AffineTransform3D`.
            pad_val: likewise.

        Raises:
            UsageError: another shape, or another mode.
        """
        self.flow_field = np.asarray(flow_field, np.float64)
        if self.flow_field.ndim != _AXES + 1 or len(self.flow_field) != _AXES:
            raise UsageError(
                f"flow_field must have the shape (3, depth, height, width). Received: {self.flow_field.shape}"
            )
        self.offset = bool(offset)
        self.clamp_mode, self.pad_val = _checked_mode(clamp_mode, pad_val)

    def volume(self, volume: np.ndarray, draws: Draws) -> np.ndarray:
        """The volume of the field's shape, float32."""
        at = self.flow_field
        if self.offset:
            at = at + _places(self.flow_field.shape[1:])
        return _sampled(volume, at, self.clamp_mode, self.pad_val)

    def __repr__(self) -> str:
        return f"Warp3D(field of shape {self.flow_field.shape}, offset={self.offset}, {self.clamp_mode!r})"


def _part(volume: np.ndarray, start: Sequence[int], size: Sequence[int], step: Any) -> np.ndarray:
    ends = [first + count for first, count in zip(start, size, strict=True)]
    if any(end > whole for end, whole in zip(ends, volume.shape, strict=False)):
        raise DataError(
            f"{step} takes a part from {tuple(start)} to {tuple(ends)} of a volume of shape {volume.shape}. "
            "Make the part smaller."
        )
    return volume[tuple(slice(first, end) for first, end in zip(start, ends, strict=True))]


def _places(shape: Sequence[int]) -> np.ndarray:
    """Each place's coordinates: float64 (3, *shape)."""
    return np.indices(tuple(shape)).astype(np.float64)


def _column(vector: np.ndarray) -> np.ndarray:
    return vector.reshape(_AXES, 1, 1, 1)


def _turn(angle: float, axis: int) -> np.ndarray:
    """The rotation by an angle about an axis, right-handed."""
    first, second = (other for other in range(_AXES) if other != axis)
    turned = np.eye(_AXES)
    turned[first, first] = turned[second, second] = np.cos(angle)
    sign = 1 if axis == 1 else -1
    turned[first, second], turned[second, first] = sign * np.sin(angle), -sign * np.sin(angle)
    return turned


def _sampled(volume: np.ndarray, at: np.ndarray, mode: str, pad: float) -> np.ndarray:
    """The volume's values at places, interpolated: float32.

    Args:
        volume: (depth, height, width), or with channels behind.
        at: coordinates, (3, ...).
        mode: see `AffineTransform3D`.
        pad: likewise.
    """
    last = np.array(volume.shape[:_AXES]) - 1
    clamped = np.clip(at, 0, _column(last))
    low = np.minimum(np.floor(clamped).astype(np.intp), _column(np.maximum(last - 1, 0)))
    share = clamped - low
    extra = (1,) * (volume.ndim - _AXES)
    total = np.zeros(at.shape[1:] + volume.shape[_AXES:], np.float64)
    for corner in product((0, 1), repeat=_AXES):
        index = tuple(np.minimum(low[axis] + corner[axis], last[axis]) for axis in range(_AXES))
        weights = [share[axis] if corner[axis] else 1 - share[axis] for axis in range(_AXES)]
        weight = weights[0] * weights[1] * weights[2]
        total += weight.reshape(weight.shape + extra) * volume[index]
    if mode == "padding":
        total[np.any((at < 0) | (at > _column(last)), axis=0)] = pad
    return total.astype(np.float32)


def _three(step: Any, name: str, fits: Any, wanted: str) -> None:
    value = getattr(step, name)
    checked(step, (name,), lambda given: isinstance(given, list | tuple | np.ndarray) and len(given) == _AXES
            and all(map(fits, given)), f"three {wanted}")  # fmt: skip
    object.__setattr__(step, name, tuple(int(one) for one in value))


def _numbers(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        raise UsageError(f"{name} must be finite numbers of shape {shape}. Received: {value!r}")
    return array


def _checked_mode(mode: Any, pad: Any) -> tuple[str, float]:
    if mode not in _MODES:
        raise UsageError(f"clamp_mode must be 'clamp' or 'padding'. Received: {mode!r}")
    if not is_number(pad) or (mode == "clamp" and pad != 0):
        raise UsageError(f"pad_val must be a number, and is for clamp_mode='padding' only. Received: {pad!r}")
    return str(mode), float(pad)
