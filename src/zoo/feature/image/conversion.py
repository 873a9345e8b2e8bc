"""Steps between files, pixels, arrays and samples.

Owns: these steps.
Leaves: decoding (zoo.engine.data.images), what an image is (image_feature), pixels (geometry, colour).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.data import images
from zoo.engine.errors import DataError, UsageError
from zoo.feature.draws import Draws
from zoo.feature.image.image_feature import ImageFeature, channels_last
from zoo.feature.image.steps import ImagePreprocessing, checked
from zoo.feature.preprocessing import Preprocessing
from zoo.feature.samples import Sample

TENSOR = "imageTensor"
FORMATS = ("NCHW", "NHWC")


@dataclass(frozen=True)
class RowToImageFeature(ImagePreprocessing):
    """A row of `NNImageReader`'s, or its column ``image`` -> the image. The first step of a chain over such rows."""

    def image(self, feature: ImageFeature) -> ImageFeature:
        """The image."""
        return feature


@dataclass(frozen=True)
class ImageBytesToMat(ImagePreprocessing):
    """Decodes an image's bytes.

    Attributes:
        byte_key: where the bytes are.
        image_codec: a flag of ``cv2.imread``: -1 as it is in the file, 0 grey, 1 colour.
    """

    byte_key: str = "bytes"
    image_codec: int = -1

    def __post_init__(self) -> None:
        check_codec(self.image_codec)

    def step(self, value: Any, draws: Draws) -> ImageFeature:
        """The image with its pixels; `value` may be the bytes alone."""
        feature = ImageFeature().having(**{self.byte_key: bytes(value)}) if is_bytes(value) else ImageFeature.of(value)
        mat = images.decode_by(_bytes(feature, self.byte_key), self.image_codec, feature.name)
        return feature.having(mat=mat, original_size=channels_last(mat).shape)


@dataclass(frozen=True)
class ImagePixelBytesToMat(ImagePreprocessing):
    """Takes an image's bytes for its pixels: uint8, BGR, rows first, of the image's ``original_size``."""

    byte_key: str = "bytes"

    def image(self, feature: ImageFeature) -> ImageFeature:
        """The image with its pixels."""
        pixels = np.frombuffer(_bytes(feature, self.byte_key), np.uint8)
        size = feature.get("original_size")
        if size is None or int(np.prod(size)) != pixels.size:
            raise DataError(
                f"{feature.name} has {pixels.size:,} bytes of pixels, and original_size {size}. Give the image "
                "original_size=(height, width, channels)."
            )
        return feature.having(mat=pixels.reshape(size))


@dataclass(frozen=True)
class ImageMatToTensor(ImagePreprocessing):
    """Pixels -> float32 array.

    Attributes:
        to_RGB: whether the channels become RGB; else they stay BGR.
        tensor_key: where the array goes.
        share_buffer: has no effect: nothing changes an array afterwards.
        format: ``"NCHW"``: (channels, height, width); ``"NHWC"``: (height, width, channels).
    """

    to_RGB: bool = False
    tensor_key: str = TENSOR
    share_buffer: bool = True
    format: str = "NCHW"

    def __post_init__(self) -> None:
        checked(self, ("format",), lambda name: name in FORMATS, " or ".join(map(repr, FORMATS)))

    def image(self, feature: ImageFeature) -> ImageFeature:
        """The image with its array."""
        mat = channels_last(feature.mat)
        channels = list(range(mat.shape[2]))
        if self.to_RGB:
            channels[:3] = channels[:3][::-1]
        return feature.having(**{self.tensor_key: arranged(mat, channels, self.format)})


@dataclass(frozen=True)
class ImageSetToSample(ImagePreprocessing):
    """Puts arrays of an image together as a sample.

    Attributes:
        input_keys: of the features.
        target_keys: of the labels; an image that has none of them gets a sample without labels.
        sample_key: where the sample goes.
    """

    input_keys: Sequence[str] = (TENSOR,)
    target_keys: Sequence[str] | None = ("label",)
    sample_key: str = "sample"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_keys", _keys(self.input_keys, "input_keys"))
        object.__setattr__(self, "target_keys", _keys(self.target_keys or (), "target_keys"))
        if not self.input_keys:
            raise UsageError("input_keys of ImageSetToSample is empty. Name at least one, 'imageTensor' say.")

    def image(self, feature: ImageFeature) -> ImageFeature:
        """The image with its sample."""
        targets = [key for key in self.target_keys or () if key in feature]
        missing = [key for key in self.input_keys if key not in feature]
        if targets:
            missing += [key for key in self.target_keys or () if key not in feature]
        if missing:
            raise DataError(f"{feature.name} has no {', '.join(missing)}. Known: {', '.join(feature)}")
        x, y = (tuple(feature[key] for key in keys) for keys in (self.input_keys, targets))
        return feature.having(**{self.sample_key: Sample.of(x, y or None)})


@dataclass(frozen=True)
class ImageFeatureToTensor(Preprocessing):
    """An image -> its array ``imageTensor``, as `ImageMatToTensor` has made it."""

    def step(self, value: Any, draws: Draws) -> np.ndarray:
        """The array."""
        feature = ImageFeature.of(value)
        if TENSOR not in feature:
            raise DataError(f"{feature.name} has no {TENSOR!r}. Put ImageMatToTensor() before ImageFeatureToTensor().")
        tensor: np.ndarray = feature[TENSOR]
        return tensor


@dataclass(frozen=True)
class ImageFeatureToSample(Preprocessing):
    """An image -> its sample, as `ImageSetToSample` has made it."""

    def step(self, value: Any, draws: Draws) -> Any:
        """The sample."""
        feature = ImageFeature.of(value)
        if "sample" not in feature:
            raise DataError(f"{feature.name} has no sample. Put ImageSetToSample() before ImageFeatureToSample().")
        return feature["sample"]


def arranged(mat: np.ndarray, channels: Sequence[int], layout: str) -> np.ndarray:
    """Pixels (height, width, channels) as float32, with the channels in an order of their own."""
    if layout == "NHWC":
        same = list(channels) == list(range(mat.shape[2]))
        return np.ascontiguousarray(mat if same else mat[:, :, list(channels)], np.float32)
    library = images.decoder()
    made = np.empty((len(channels), *mat.shape[:2]), np.float32)
    for at, channel in enumerate(channels):
        if mat.dtype == np.float32:
            library.extractChannel(mat, channel, made[at])  # copies into it, a third faster than numpy
        else:
            made[at] = mat[:, :, channel]
    return made


def check_codec(codec: Any) -> None:
    """Raises UsageError where this is no flag of ``cv2.imread``."""
    if not isinstance(codec, int) or isinstance(codec, bool) or codec < -1:
        raise UsageError(
            f"image_codec must be a flag of cv2.imread: -1 as the file is, 0 grey, 1 colour (BGR). Received: {codec!r}"
        )


def is_bytes(value: Any) -> bool:
    """Whether a value is the content of a file."""
    return isinstance(value, bytes | bytearray | memoryview)


def _bytes(feature: ImageFeature, key: str) -> Any:
    found = feature.get(key)
    if not is_bytes(found):
        raise DataError(f"{feature.name} has no bytes under {key!r}. Known: {', '.join(feature)}")
    return found


def _keys(keys: Any, name: str) -> tuple[str, ...]:
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise UsageError(f"{name} must be a list of names. Received: {keys!r}")
    return tuple(keys)
