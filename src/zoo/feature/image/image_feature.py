"""One image and what is known of it: a mapping that is never changed, only made anew.

    key              value
    uri              where the image was read; str
    bytes            the file's content, or pixels
    mat              pixels in OpenCV's layout: (height, width) or (height, width, channels), BGR
    original_size    (height, width, channels) as read
    label            number or array
    imageTensor      array for a model, float32
    sample           `zoo.feature.samples.Sample`
    predict          what a model says of it

Owns: these keys, an image struct of Spark's as such a mapping, and back as a row for training.
Leaves: what is done with images (the steps), files (reading).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from zoo.engine.data import images
from zoo.engine.errors import DataError
from zoo.feature.samples import as_pair

_STRUCT = ("origin", "height", "width", "nChannels", "mode", "data")
DEPTHS = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64)
"""numpy's types by OpenCV's number of a depth: the lowest three bits of a mode, in Spark and in OpenCV before 5."""
_DEPTH_BITS = 3
_MOST_CHANNELS = 512


class ImageFeature(Mapping[str, Any]):
    """One image."""

    __slots__ = ("_values",)

    def __init__(self, image: Any = None, label: Any = None, path: str | None = None, **values: Any) -> None:
        """Puts together what is known.

        Args:
            image: pixels, BGR.
            label: a number or array.
            path: where it was read.
            values: more keys.
        """
        told = {"mat": image, "label": label, "uri": path} | values
        self._values = {key: value for key, value in told.items() if value is not None}

    @classmethod
    def of(cls, value: Any) -> ImageFeature:
        """An image, whatever it comes as.

        Args:
            value: an `ImageFeature`; pixels, BGR; an image struct of Spark's, or a row with such a column ``image``.

        Raises:
            DataError: anything else, or a struct whose bytes do not fit its size.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, np.ndarray):
            return cls(value)
        return _of_row(value, cls)

    def having(self, **values: Any) -> Self:
        """The same image with other or more values; those that are None are taken away."""
        return type(self)(**(self._values | values))

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._values,)

    def __repr__(self) -> str:
        return f"ImageFeature({self.name}: {', '.join(self)})"

    __eq__, __hash__ = object.__eq__, object.__hash__  # arrays have no one answer

    @property
    def name(self) -> str:
        """For errors."""
        return str(self.get("uri") or "an image")

    @property
    def mat(self) -> np.ndarray:
        """The pixels.

        Raises:
            DataError: there are none.
        """
        found = self.get("mat")
        if found is not None and not found.size:
            raise DataError(f"{self.name} has no pixels: its shape is {found.shape}. Leave it out.")
        if found is None:
            raise DataError(f"{self.name} has no pixels yet; decode it first: ImageBytesToMat(). Known: {list(self)}")
        mat: np.ndarray = found
        return mat

    @property
    def content(self) -> Any:
        """What random draws go by: the pixels, else the bytes, else the tensor."""
        return next((self[key] for key in ("mat", "bytes", "imageTensor") if key in self), self.name.encode())

    def pixels(self, key: str, to_chw: bool) -> np.ndarray:
        """An array of the image, float32.

        Args:
            key: ``"floats"`` or ``"mat"``: the pixels; else an array as it was put there, ``"imageTensor"`` say.
            to_chw: whether the pixels' axes become (channels, height, width).

        Raises:
            DataError: there is no such array.
        """
        if key not in ("floats", "mat"):
            if not isinstance(self.get(key), np.ndarray):
                raise DataError(f"{self.name} has no array {key!r}. Known: {', '.join(self)}")
            return np.asarray(self[key], np.float32)
        mat = channels_last(self.mat)
        return np.ascontiguousarray(mat.transpose(2, 0, 1) if to_chw else mat, np.float32)

    def row(self) -> Any:
        """As training takes it: (x, y), or x where there is no label.

        x is the sample's features, else the tensor, else the pixels as float32 (height, width, channels).
        """
        if "sample" in self:
            return as_pair(self["sample"])
        x = self["imageTensor"] if "imageTensor" in self else self.pixels("mat", to_chw=False)
        return (x, self["label"]) if "label" in self else x


def channels_last(mat: np.ndarray) -> np.ndarray:
    """Pixels with three axes, grey ones too; no copy."""
    return mat if mat.ndim == 3 else mat[:, :, np.newaxis]


def mode_of(mat: np.ndarray) -> int:
    """OpenCV's number of the pixels' type: 16 for three bytes, 0 for one, 24 for four.

    Raises:
        DataError: a dtype that OpenCV has not.
    """
    depth = next((number for number, kind in enumerate(DEPTHS) if mat.dtype == kind), None)
    if depth is None:
        raise DataError(f"OpenCV has no pixels of {mat.dtype}. Convert them to uint8 or float32.")
    return int(depth) + ((channels_last(mat).shape[2] - 1) << _DEPTH_BITS)


def mat_of(struct: Mapping[str, Any]) -> np.ndarray:
    """The pixels of an image struct of Spark's; read-only where its bytes are, and not copied.

    Raises:
        DataError: nulls, or bytes that do not fit the size that the struct tells.
    """
    name = str(struct.get("origin") or "an image")
    if any(struct.get(key) is None for key in _STRUCT[1:]):
        nulls = [key for key in _STRUCT[1:] if struct.get(key) is None]
        raise DataError(f"{name} has no {', '.join(nulls)}. Filter such rows out.")
    height, width, channels, mode = (int(struct[key]) for key in _STRUCT[1:5])
    depth, said = mode & ((1 << _DEPTH_BITS) - 1), (mode >> _DEPTH_BITS) + 1
    if mode < 0 or depth >= len(DEPTHS) or said != channels or channels > _MOST_CHANNELS:
        raise DataError(f"{name} has mode {mode}, which is none of OpenCV's types of {channels} channels.")
    kind = np.dtype(DEPTHS[depth])
    data = memoryview(struct["data"])
    if height < 1 or width < 1 or height * width * channels * kind.itemsize != data.nbytes:
        raise DataError(
            f"{name} should have {height} x {width} pixels of {channels} channels, {kind}. "
            f"Received: {data.nbytes:,} bytes."
        )
    pixels = np.frombuffer(data, kind)
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def _of_row(value: Any, cls: type[ImageFeature]) -> ImageFeature:
    struct = _fields(value)
    if struct is not None and "image" in struct:
        struct = _fields(struct["image"])
        if struct is None:
            raise DataError("the image of a row is null. Filter such rows out: df.where('image is not null').")
    if struct is not None and set(_STRUCT) <= set(struct):
        mat = mat_of(struct)
        return cls(mat, path=struct["origin"] or None, original_size=channels_last(mat).shape)
    if struct is not None and isinstance(struct.get("bytes"), bytes | bytearray | memoryview):  # as image sets have it
        path, content = struct.get("path"), bytes(struct["bytes"])
        mat = images.decode_by(content, 1, path or "")
        return cls(mat, path=path, original_size=channels_last(mat).shape)
    raise DataError(
        "an image must be a row with a column 'image' as NNImageReader makes it, that column's struct, pixels as an "
        f"array, or an ImageFeature. Received: {type(value).__name__}"
        + (f" with {', '.join(map(str, struct))}" if struct else "")
    )


def _fields(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "asDict"):  # a Row of Spark's
        fields: Mapping[str, Any] = value.asDict()
        return fields
    return None


def _restored(values: dict[str, Any]) -> ImageFeature:
    return ImageFeature(**values)
