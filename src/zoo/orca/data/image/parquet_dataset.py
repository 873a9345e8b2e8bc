"""The words for sets of images: `write_parquet` and its kin, `ParquetDataset`.

Owns: arguments of the calls. Leaves: the formats (folders, voc_dataset, coco, mnist), writing (writing), reading
(reading, distributed).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from zoo.engine.errors import UsageError
from zoo.orca.data.image import coco, folders, mnist, voc_dataset, writing
from zoo.orca.data.image.distributed import read_as_xshards
from zoo.orca.data.image.reading import read_as_dataloader, read_as_tfdataset, read_parquet
from zoo.orca.data.image.schema import DType, FeatureType, Schema, SchemaField
from zoo.orca.data.image.target import Options
from zoo.orca.data.shard import XShards
from zoo.orca.data.tf.data import Dataset

__all__ = [
    "DType", "FeatureType", "ParquetDataset", "SchemaField", "read_as_dataloader", "read_as_tfdataset", "read_parquet",
    "write_coco", "write_from_directory", "write_imagenet", "write_mnist", "write_parquet", "write_voc",
]  # fmt: skip


class ParquetDataset:
    """Records with images in Parquet files."""

    @staticmethod
    def write(
        path: str,
        generator: Iterable[Any],
        schema: Schema,
        block_size: int = 1000,
        write_mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        """Writes the records of a generator, in this process, `block_size` at a time.

        Args:
            path: a directory, local or a URL.
            generator: gives a dict for each record: an image as the path of its file (or its bytes), an array, a value.
            schema: a `SchemaField` for each column.
            block_size: records of a chunk, which is one file.
            write_mode: ``"overwrite"``, ``"append"`` to a set with the same columns, or ``"error"`` if there is one.
            **kwargs: ``errors="raise" | "skip" | "keep"``: a broken image is raised, left out and counted, or not
                looked for.

        Raises:
            UsageError: a schema, an option or a place that cannot be.
            DataError: no record, one that does not fit the schema, a broken image.
            StorageFailed: a file that cannot be read or written.
        """
        options = _options("ParquetDataset.write", {"block_size": block_size, "write_mode": write_mode} | kwargs)
        writing.write_generated(str(path), generator, schema, options)

    @staticmethod
    def read_as_tf(path: str, columns: Sequence[str] | None = None) -> Dataset:
        """A `zoo.orca.data.tf.data.Dataset` of dicts, which estimators take; read where the cluster is.

        Args:
            path: of the set.
            columns: that are read; None for all. Arrays of different shapes make no tensors: leave them out.

        Raises:
            UsageError: no set, or one that is not whole.
        """
        return Dataset.from_tensor_slices(read_as_xshards(path, columns))

    @staticmethod
    def read_as_torch(path: str, **arguments: Any) -> Any:
        """A torch `IterableDataset` of dicts, one a record; the workers of a loader over it divide it.

        Args:
            path: of the set.
            **arguments: of `read_as_dataloader`, but those of batches.

        Raises:
            UsageError: no set, or one that is not whole.
        """
        return read_as_dataloader(path, **arguments).dataset

    @staticmethod
    def _read_as_xshards(path: str) -> XShards:
        """One shard a chunk, a dict of arrays."""
        return read_as_xshards(path)


def write_mnist(image_file: str, label_file: str, output_path: str, **kwargs: Any) -> None:
    """Writes MNIST: columns ``image`` (uint8, as 28 x 28) and ``label`` (uint8).

    Args:
        image_file: as ``train-images-idx3-ubyte``, also compressed (``.gz``).
        label_file: as ``train-labels-idx1-ubyte``, likewise.
        output_path: a directory.
        **kwargs: as in `write_parquet`.

    Raises:
        UsageError: no such file.
        DataError: a file of another kind, or that was cut off; other numbers of images and labels.
    """
    options = _options("write_mnist", kwargs)
    source = mnist.MNISTSource.look(str(image_file), str(label_file))
    writing.write_listed(str(output_path), source, source.listing, options)


def write_from_directory(
    directory: str, label_map: Mapping[str, int], output_path: str, shuffle: bool = True, **kwargs: Any
) -> None:
    """Writes folders of images: columns ``image``, ``label`` (int32), ``image_id`` (path), ``label_str`` (folder).

    Args:
        directory: holds a folder for each class; files may lie deeper.
        label_map: from folder to label; other folders are left out.
        output_path: a directory.
        shuffle: whether the images are written in random order; else by name.
        **kwargs: as in `write_parquet`, and ``seed`` (0) of that order.

    Raises:
        UsageError: a label that is no whole number, a folder that is not there.
        DataError: a broken image.
    """
    order = _shuffle(shuffle, kwargs.pop("seed", 0))
    options = _options("write_from_directory", kwargs, "seed", "shuffle")
    folders.write_folders(str(directory), label_map, str(output_path), order, options, "image_folder")


def write_imagenet(
    imagenet_path: str, output_path: str, split: str = "train", shuffle: bool = True, **kwargs: Any
) -> None:
    """Writes ImageNet: columns as of `write_from_directory`; labels number the synsets in the order of their names.

    Args:
        imagenet_path: holds a folder for each synset, or a folder for each split with these.
        output_path: a directory.
        split: ``"train"`` or ``"validation"``.
        shuffle: whether the images are written in random order; else by name.
        **kwargs: as in `write_from_directory`.

    Raises:
        UsageError: no synsets there.
        DataError: a broken image.
    """
    order = _shuffle(shuffle, kwargs.pop("seed", 0))
    options = _options("write_imagenet", kwargs, "seed", "shuffle", "split")
    root = folders.split_of(str(imagenet_path), split)
    folders.write_folders(root, folders.synset_labels(root), str(output_path), order, options, "imagenet")


def write_voc(
    voc_root_path: str,
    splits_names: Sequence[tuple[int | str, str]],
    output_path: str,
    classes: Sequence[str] | None = None,
    **kwargs: Any,
) -> None:
    """Writes PASCAL VOC: columns ``image``, ``label`` and ``image_id`` (path).

    A label is a float32 array (boxes, 6) of xmin, ymin, xmax, ymax, class, difficult.

    Args:
        voc_root_path: the directory that holds ``VOC2007``, ...
        splits_names: (year, split), as ``[(2007, "trainval")]``.
        output_path: a directory.
        classes: names in the order of their numbers, objects of others are left out; None for the twenty of VOC.
        **kwargs: as in `write_parquet`.

    Raises:
        UsageError: a split, an annotation or an image that is not there.
        DataError: a broken annotation or image.
    """
    options = _options("write_voc", kwargs, "classes")
    source = voc_dataset.VOCSource.of(str(voc_root_path), classes)
    listing = voc_dataset.list_images(source.root, splits_names, lenient=options.errors == "skip")
    writing.write_listed(str(output_path), source, listing, options)


def write_coco(image_directory: str, annotation_file: str, output_path: str, **kwargs: Any) -> None:
    """Writes COCO's instances: columns ``image``, ``label``, ``category_id`` (int64, boxes) and ``image_id`` (int64).

    A label is a float32 array (boxes, 6) of xmin, ymin, xmax, ymax, class, crowd; classes number the categories in the
    order of their ids.

    Args:
        image_directory: where the images lie.
        annotation_file: as ``instances_train2017.json``.
        output_path: a directory.
        **kwargs: as in `write_parquet`.

    Raises:
        UsageError: an image or the file is not there.
        DataError: another kind of JSON; a broken image.
    """
    options = _options("write_coco", kwargs)
    source, listing = coco.list_instances(str(image_directory), str(annotation_file), options.errors == "skip")
    writing.write_listed(str(output_path), source, listing, options)


class _Format(NamedTuple):
    """One format of `write_parquet`: its function, and the arguments that it must have."""

    write: Any
    needs: tuple[str, ...]


_FORMATS = {
    "mnist": _Format(write_mnist, ("image_file", "label_file")),
    "image_folder": _Format(write_from_directory, ("directory", "label_map")),
    "imagenet": _Format(write_imagenet, ("imagenet_path",)),
    "voc": _Format(write_voc, ("voc_root_path", "splits_names")),
    "coco": _Format(write_coco, ("image_directory", "annotation_file")),
}


def write_parquet(format: str, output_path: str, *args: Any, **kwargs: Any) -> None:
    """Writes a set of images as Parquet files, on the cluster: the driver lists the files, the tasks read them.

    A call that was interrupted leaves a set that is not taken for whole; the same call again completes it.

    Args:
        format: ``"mnist"`` (image_file, label_file), ``"image_folder"`` (directory, label_map), ``"imagenet"``
            (imagenet_path), ``"voc"`` (voc_root_path, splits_names) or ``"coco"`` (image_directory, annotation_file).
        output_path: a directory, local or a URL.
        *args: the format's arguments, in that order.
        **kwargs: the same by name; further those of the format's own function, and ``block_size`` (1000 records of a
            file), ``write_mode`` (``"overwrite"``, ``"append"``, ``"error"``) and ``errors`` (``"raise"``, ``"skip"``,
            ``"keep"``: what is done about broken images).

    Raises:
        ValueError: no such format.
        AssertionError: an argument that the format needs is missing.
        UsageError: an argument that cannot be (a ValueError).
        DataError: broken files.
    """
    if format not in _FORMATS:
        *most, last = (repr(name) for name in _FORMATS)
        raise UsageError(f"{format} is not supported, should be one of {', '.join(most)} and {last}.")
    chosen = _FORMATS[format]
    if len(args) > len(chosen.needs):
        raise UsageError(f"format {format} takes {', '.join(chosen.needs)} by position. Received: {args!r}")
    given = dict(zip(chosen.needs, args, strict=False)) | kwargs
    for name in chosen.needs:
        if name not in given:
            raise AssertionError(f"{name} is not specified for format {format}.")
    chosen.write(output_path=output_path, **given)


def _options(call: str, given: Mapping[str, Any], *others: str) -> Options:
    known = [field.name for field in fields(Options)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError.unknown_argument(call, unknown, [*known, *others])
    return Options(**given)


def _shuffle(shuffle: bool, seed: Any) -> folders.Shuffle:
    return folders.Shuffle(seed if shuffle else None)
