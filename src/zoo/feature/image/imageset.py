"""Sets of images, in this process or on Spark.

Owns: the words of their methods, reading them, their rows for training.
Leaves: single images (image_feature), files (reading), what is done with images (the steps), RDDs (the engine).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from zoo.engine.data.adapters import Adapted, adapt
from zoo.engine.errors import DataError, UsageError
from zoo.engine.jobs import Columns
from zoo.feature.image.image_feature import ImageFeature
from zoo.feature.image.reading import File, Reading, classified, listed
from zoo.feature.preprocessing import Preprocessing, as_step

FLOATS = "floats"


class ImageSet:
    """Images, in order: a `LocalImageSet` or a `DistributedImageSet`.

    Attributes:
        label_map: the labels by class, of a set that was read with labels; else None.
    """

    label_map: Mapping[str, int] | None = None

    @classmethod
    def read(
        cls,
        path: Any,
        sc: Any = None,
        min_partitions: int = 1,
        resize_height: int = -1,
        resize_width: int = -1,
        image_codec: int = -1,
        with_label: bool = False,
        one_based_label: bool = True,
        errors: str = "raise",
    ) -> ImageSet:
        """Reads image files.

        Args:
            path: a directory (with all below it), a file, a glob, or a comma-separated list of them; paths or URLs.
            sc: a SparkContext: the images are read and decoded on Spark, when they are needed. None: here, now.
            min_partitions: on Spark, at least so many.
            resize_height: of all images, in pixels; -1, with `resize_width`, for each image's own size.
            resize_width: likewise.
            image_codec: a flag of ``cv2.imread``: -1 as the file is, 0 grey, 1 colour.
            with_label: whether the directory that a file lies in is its class.
            one_based_label: whether labels begin with 1; else with 0.
            errors: ``"raise"``: a broken image is an error that names it; ``"skip"``: it is left out, and logged.

        Raises:
            UsageError: no files, or arguments that do not fit.
            DataError: a broken image (on Spark, when it is read).
            MissingDependency: OpenCV is not installed.
        """
        reading = Reading(resize_height, resize_width, image_codec, errors)
        if not isinstance(min_partitions, int) or isinstance(min_partitions, bool) or min_partitions < 1:
            raise UsageError(f"min_partitions must be a whole number, at least 1. Received: {min_partitions!r}")
        if with_label:
            files, labels = classified(path, int(one_based_label))
        else:
            files, labels = [File(url) for url in listed(path)], None
        made = _read_here(files, reading) if sc is None else _read_there(files, reading, sc, min_partitions)
        made.label_map = labels
        return made

    @classmethod
    def from_rdds(cls, image_rdd: Any, label_rdd: Any = None) -> DistributedImageSet:
        """A set of an RDD of pixels, and one of labels; see `DistributedImageSet`."""
        return DistributedImageSet(image_rdd, label_rdd)

    @classmethod
    def from_image_frame(cls, image_frame: Any) -> ImageSet:
        """The same set: an ImageFrame of BigDL's is an `ImageSet` here.

        Raises:
            UsageError: something else.
        """
        if not isinstance(image_frame, ImageSet):
            raise UsageError(
                f"from_image_frame takes an ImageSet, which is also what was called ImageFrame. "
                f"Received: {type(image_frame).__name__}. Read images with ImageSet.read(path)."
            )
        return image_frame

    def to_image_frame(self) -> ImageSet:
        """Itself: an ImageFrame of BigDL's is an `ImageSet` here."""
        return self

    def is_local(self) -> bool:
        """Whether the images are in this process."""
        return isinstance(self, LocalImageSet)

    def is_distributed(self) -> bool:
        """Whether the images are on Spark."""
        return not self.is_local()

    def transform(self, transformer: Any) -> ImageSet:
        """The set of what a step makes of each image; on Spark when it is needed.

        Args:
            transformer: a step over images, a chain, or a function of an `ImageFeature`. Random draws are those of
                seed 0; of others with ``step.seeded(seed, epoch)``.

        Raises:
            DataError: an image that the step cannot take, with its name.
        """
        made = self._each(Transformed(as_step(transformer)))
        made.label_map = self.label_map
        return made

    def get_image(self, key: str = FLOATS, to_chw: bool = True) -> Any:
        """The images' arrays: a list, or an RDD.

        Args:
            key: ``"floats"`` for the pixels; else what a step has put there, such as ``"imageTensor"``, as it is.
            to_chw: whether the pixels' axes become (channels, height, width). Channels are BGR.

        Returns:
            float32.
        """
        return self._values(_Pixels(key, to_chw))

    def get_label(self) -> Any:
        """The images' labels: a list, or an RDD; None for an image without one."""
        return self._values(_Value("label"))

    def get_predict(self, key: str = "predict") -> Any:
        """(uri, what a model says) of each image: a list, or an RDD; None for an image without a prediction."""
        return self._values(_Named(key))

    def predicted(self, found: Any) -> ImageSet:
        """The same images with what a model says of each, for `get_predict`.

        Args:
            found: of each image, in their order: arrays, or for images on Spark an RDD. A list has several outputs.
        """
        raise UsageError("an ImageSet is a LocalImageSet or a DistributedImageSet; read one with ImageSet.read.")

    def _preprocessed(self, step: Preprocessing) -> ImageSet:
        return self.transform(step)

    def _each(self, step: Callable[[ImageFeature], ImageFeature]) -> ImageSet:
        raise UsageError("an ImageSet is a LocalImageSet or a DistributedImageSet; read one with ImageSet.read.")

    def _values(self, value: Callable[[ImageFeature], Any]) -> Any:
        raise UsageError("an ImageSet is a LocalImageSet or a DistributedImageSet; read one with ImageSet.read.")


class LocalImageSet(ImageSet):
    """Images in this process.

    Attributes:
        features: the images.
    """

    def __init__(self, image_list: Sequence[Any] | None = None, label_list: Sequence[Any] | None = None) -> None:
        """Takes images.

        Args:
            image_list: pixels, BGR, each (height, width, channels); or `ImageFeature`s.
            label_list: a number or array for each; None for none.

        Raises:
            UsageError: fewer labels than images, or more.
        """
        images = [ImageFeature.of(one) for one in image_list or ()]
        if label_list is not None:
            if len(label_list) != len(images):
                raise UsageError(f"there are {len(images)} images and {len(label_list)} labels. Give one for each.")
            images = [one.having(label=_label(label)) for one, label in zip(images, label_list, strict=True)]
        self.features: tuple[ImageFeature, ...] = tuple(images)

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        return f"LocalImageSet({len(self)} images)"

    def __zoo_shards__(self, columns: Columns) -> Adapted:
        """Rows of (x, y), or x without labels, as `ImageFeature.row` has them.

        Raises:
            UsageError: there are no images.
            DataError: arrays of different shapes, or labels of some images only.
        """
        if not self.features:
            raise UsageError("the ImageSet has no images.")
        rows = [one.row() for one in self.features]
        pairs = [row for row in rows if _is_pair(row)]
        if pairs and len(pairs) < len(rows):
            raise DataError(f"{len(rows) - len(pairs)} of {len(rows)} images have no label.")
        names = [one.name for one in self.features]
        if not pairs:
            return adapt(_stacked(rows, names), columns.features or None, columns.labels or None)
        x, y = zip(*rows, strict=True)
        both = (_stacked(x, names), _stacked(y, names))
        return adapt(both, columns.features or None, columns.labels or None)

    def predicted(self, found: Any) -> LocalImageSet:
        """As `ImageSet.predicted`."""
        rows = map(list, zip(*found, strict=True)) if isinstance(found, list) else found
        made = LocalImageSet([_told(pair) for pair in zip(self.features, rows, strict=True)])
        made.label_map = self.label_map
        return made

    def _each(self, step: Callable[[ImageFeature], ImageFeature]) -> LocalImageSet:
        return LocalImageSet(_in_threads(step, self.features))

    def _values(self, value: Callable[[ImageFeature], Any]) -> list[Any]:
        return [value(one) for one in self.features]


class DistributedImageSet(ImageSet):
    """Images on Spark: an RDD of `ImageFeature`s, computed when it is needed.

    Attributes:
        rdd: the images.
    """

    def __init__(self, image_rdd: Any = None, label_rdd: Any = None) -> None:
        """Takes images.

        Args:
            image_rdd: of pixels, BGR, each (height, width, channels); or of `ImageFeature`s.
            label_rdd: a number or array for each, in partitions as of `image_rdd`; None for none.

        Raises:
            UsageError: they are no RDDs.
        """
        for name, rdd in (("image_rdd", image_rdd), ("label_rdd", label_rdd)):
            needed = name == "image_rdd" or rdd is not None
            if needed and not hasattr(rdd, "mapPartitionsWithIndex"):
                raise UsageError(f"{name} must be an RDD of Spark's. Received: {type(rdd).__name__}")
        _send_code()
        self.rdd = image_rdd.map(ImageFeature.of) if label_rdd is None else image_rdd.zip(label_rdd).map(_labelled)

    def __repr__(self) -> str:
        return f"DistributedImageSet({self.rdd.getNumPartitions()} partitions)"

    def __zoo_shards__(self, columns: Columns) -> Adapted:
        """As of `LocalImageSet`; the rows stay on Spark."""
        return adapt(self.rdd.map(ImageFeature.row), columns.features or None, columns.labels or None)

    def predicted(self, found: Any) -> DistributedImageSet:
        """As `ImageSet.predicted`; lazy."""
        made = DistributedImageSet(self.rdd.zip(found).map(_told))
        made.label_map = self.label_map
        return made

    def _each(self, step: Callable[[ImageFeature], ImageFeature]) -> DistributedImageSet:
        return DistributedImageSet(self.rdd.map(step))

    def _values(self, value: Callable[[ImageFeature], Any]) -> Any:
        return self.rdd.map(value)


class Transformed:
    """A step that gives images; what travels to Spark."""

    def __init__(self, step: Preprocessing) -> None:
        self._step = step

    def __call__(self, feature: ImageFeature) -> ImageFeature:
        """The image.

        Raises:
            DataError: the step gave something else.
        """
        made = self._step.apply(feature)
        if not isinstance(made, ImageFeature):
            raise DataError(
                f"a step over an ImageSet must give an image. {self._step} gave: {type(made).__name__}. "
                "Leave ImageFeatureToTensor() and its kin out; get_image(key='imageTensor') gives arrays."
            )
        return made


class _Pixels:
    def __init__(self, key: str, to_chw: bool) -> None:
        self._key, self._to_chw = key, to_chw

    def __call__(self, feature: ImageFeature) -> np.ndarray:
        return feature.pixels(self._key, self._to_chw)


class _Value:
    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, feature: ImageFeature) -> Any:
        return feature.get(self._key)


class _Named(_Value):
    def __call__(self, feature: ImageFeature) -> Any:
        return feature.get("uri"), feature.get(self._key)


def _read_here(files: Sequence[File], reading: Reading) -> LocalImageSet:
    with ThreadPoolExecutor(_threads(), "zoo-images") as pool:
        return LocalImageSet(list(reading.images(files, pool.map)))


def _read_there(files: Sequence[File], reading: Reading, sc: Any, min_partitions: int) -> DistributedImageSet:
    if not hasattr(sc, "parallelize"):
        raise UsageError(
            f"sc must be a SparkContext, as init_nncontext() gives it, or None for this process. "
            f"Received: {type(sc).__name__}"
        )
    _send_code()
    parts = min(max(min_partitions, sc.defaultParallelism), len(files))
    return DistributedImageSet(sc.parallelize(files, parts).mapPartitions(reading.images))


def _in_threads(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    with ThreadPoolExecutor(_threads(), "zoo-images") as pool:
        return list(pool.map(work, items))


def _threads() -> int:
    return len(os.sched_getaffinity(0))


def _send_code() -> None:
    """The executors must have zoo before a function that needs it is made."""
    from zoo.engine.clusters.spark import rdds, sessions

    session = sessions.active()
    if session is not None:
        rdds.send_code(session)


def _labelled(pair: tuple[Any, Any]) -> ImageFeature:
    return ImageFeature.of(pair[0]).having(label=_label(pair[1]))


def _told(pair: tuple[ImageFeature, Any]) -> ImageFeature:
    return pair[0].having(predict=pair[1])


def _label(label: Any) -> Any:
    return np.float32(label) if np.ndim(label) == 0 else np.asarray(label)


def _is_pair(row: Any) -> bool:
    return isinstance(row, tuple) and len(row) == 2


def _stacked(values: Sequence[Any], names: Sequence[str]) -> Any:
    if isinstance(values[0], list):
        return tuple(_stacked(column, names) for column in zip(*values, strict=True))
    arrays = [np.asarray(value) for value in values]
    odd = next((at for at, one in enumerate(arrays) if one.shape != arrays[0].shape), None)
    if odd is not None:
        raise DataError(
            f"the images have the shapes {arrays[0].shape} ({names[0]}) and {arrays[odd].shape} ({names[odd]}). "
            "Bring them to one size: transform(ImageResize(height, width))."
        )
    return np.stack(arrays)
