"""Keras models and weights in files, at any URL.

Keras writes to paths of this machine and tells formats by the name's ending. So a file is made in a temporary folder
and moved from there, and what it is, is read from its first bytes.

Owns: formats, and saying which loader a file is for.
Leaves: checkpoints (checkpoint), TensorFlow's own checkpoints of a session.
"""

from __future__ import annotations

import importlib
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import backends, travel

_OURS = re.compile(r'"module":\s*"(zoo(?:\.\w+)+)"')
_ENDINGS = {b"PK\x03\x04": ".keras", b"\x89HDF": ".h5"}


def save_model(model: Any, url: str, *, overwrite: bool = True) -> str:
    """Writes the whole model, as ``.keras`` (or ``.h5``, where the URL ends so); returns the URL.

    Raises:
        UsageError: there is a file already and `overwrite` is False.
    """
    return _write(url, ".h5" if url.endswith((".h5", ".hdf5")) else ".keras", model.save, overwrite)


def save_weights(model: Any, url: str, *, overwrite: bool = True) -> str:
    """Writes the weights as HDF5, whatever the URL's ending; returns the URL.

    Raises:
        UsageError: as `save_model`.
    """
    return _write(url, ".weights.h5", model.save_weights, overwrite)


def load_model(url: str, custom_objects: Mapping[str, Any] | None = None, *, safe_mode: bool = True) -> Any:
    """Reads a whole model.

    Args:
        url: of a ``.keras`` or ``.h5`` file.
        custom_objects: the user's own classes and functions, by name.
        safe_mode: whether code in the file (Lambda layers) is refused.

    Raises:
        UsageError: it is a SavedModel, a file of weights, or no file of Keras.
    """
    import keras

    with _read(url, ".keras") as path:
        names = _short_names() | dict(custom_objects or {}) if path.endswith(".h5") else custom_objects
        _import_ours(path)
        try:
            with warnings.catch_warnings():
                # an optimizer that had no memory when it was saved: Keras says that it finds none
                warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
                return _of_its_own(keras.saving.load_model(path, custom_objects=names, safe_mode=safe_mode))
        except ValueError as error:
            if "No model config found" in str(error):
                raise UsageError(
                    f"{storage.masked(url)} holds weights only. Build the model in Python, and read them with "
                    "est.load_keras_weights(path)."
                ) from error
            raise UsageError(f"{storage.masked(url)} cannot be read as a Keras model: {error}") from error
        except KeyError as error:
            raise UsageError(f"{storage.masked(url)} is a zip archive, but not a .keras file: {error}") from error
        except TypeError as error:
            unknown = re.search(r"Could not locate (?:class|function) '([^']+)'", str(error))
            if unknown is None:
                raise
            raise UsageError(
                f"{storage.masked(url)} needs '{unknown[1]}', of somebody's own, which is not known here. Put "
                "@keras.saving.register_keras_serializable() before it, and import it before the file is read."
            ) from error


def _import_ours(path: str) -> None:
    """Imports the modules of this package whose classes a ``.keras`` file names: Keras knows them from then on."""
    try:
        with zipfile.ZipFile(path) as archive:
            described = archive.read("config.json").decode()
    except (KeyError, ValueError, zipfile.BadZipFile):
        return  # Keras says what is wrong with it, or it is an HDF5 file
    for module in sorted(set(_OURS.findall(described))):
        with suppress(ModuleNotFoundError):  # written by another version; Keras names the class
            importlib.import_module(module)


def _short_names() -> dict[str, Any]:
    """Words that ``compile`` takes and that Keras does not find again in an HDF5 file."""
    from keras import losses

    found = {"mse": losses.mean_squared_error, "mae": losses.mean_absolute_error}
    more = {"mape": losses.mean_absolute_percentage_error, "msle": losses.mean_squared_logarithmic_error}
    return found | more


def _of_its_own(model: Any) -> Any:
    """The model with an optimizer for its own variables: for one of an HDF5 file Keras builds it for others.

    What that has in its memory stays.
    """
    given = getattr(model, "optimizer", None)
    known = {id(variable) for variable in getattr(given, "_trainable_variables", ())}
    if given is not None and given.built and known != {id(variable) for variable in model.trainable_variables}:
        fresh = type(given).from_config(given.get_config())
        fresh.build(model.trainable_variables)
        if [v.shape for v in fresh.variables] == [v.shape for v in given.variables]:
            for own, other in zip(fresh.variables, given.variables, strict=True):
                own.assign(other)
        model.optimizer = fresh
    return model


def load_weights(model: Any, url: str, *, by_name: bool = False) -> None:
    """Reads weights, or those of a whole model, into a model.

    Args:
        model: gets them.
        url: of a file of weights, a ``.keras`` file, or an ``.h5`` file of either.
        by_name: whether layers are matched by their names; those that the file lacks keep their weights.

    Raises:
        UsageError: the file is something else, or another model's.
    """
    import keras

    with _read(url, ".weights.h5") as path, _without_optimizer(model):
        try:
            if by_name and path.endswith(".weights.h5"):
                _assign_by_name(model, path)
            elif path.endswith(".keras") and not by_name:
                custom = travel.custom_objects([model])
                model.set_weights(keras.saving.load_model(path, custom, compile=False).get_weights())
            else:
                model.load_weights(path, **({"by_name": True} if by_name else {}))
        except (ValueError, KeyError, OSError) as error:
            raise UsageError(f"the weights in {storage.masked(url)} do not fit the model: {error}") from error


def _assign_by_name(model: Any, path: str) -> None:
    """Gives layers what a file of weights holds under their names; Keras itself does so for older files only."""
    import h5py

    held: dict[str, dict[str, Any]] = {}

    def look(place: str, item: Any) -> None:
        if place.endswith("vars") and "name" in item.attrs:
            held[str(item.attrs["name"])] = {number: array[()] for number, array in item.items()}

    with h5py.File(path) as file:
        file.visititems(look)
    layers = [layer for layer in model._flatten_layers(include_self=False) if held.get(layer.name)]
    if not layers:
        raise ValueError(f"no layer of the model has a name that is in the file ({', '.join(sorted(held))})")
    for layer in layers:
        layer.load_own_variables(held[layer.name])


def save_tf_checkpoint(model: Any, backend: str, prefix: str) -> str:
    """Writes ``tf.train.Checkpoint(model=model)`` to files that begin with `prefix`, a path of this machine.

    Raises:
        UsageError: another backend than TensorFlow, whose variables such a file cannot hold, or a URL.
    """
    written: str = _checkpoint_of(model, backend, prefix).write(str(storage.local_path(prefix)))
    return written


def load_tf_checkpoint(model: Any, backend: str, prefix: str) -> None:
    """Reads what `save_tf_checkpoint` has written.

    Raises:
        UsageError: as there; nothing is there; it is another model's.
    """
    checkpoint = _checkpoint_of(model, backend, prefix)
    if not storage.exists(f"{prefix}.index"):
        raise UsageError(f"no TensorFlow checkpoint at {prefix}: there is no file {prefix}.index.")
    try:
        status = checkpoint.read(str(storage.local_path(prefix)))
        status.assert_nontrivial_match().expect_partial()  # an optimizer's memory need not be in both
    except (AssertionError, ValueError) as error:
        raise UsageError(f"the checkpoint {prefix} does not fit the model: {error}") from error


def _checkpoint_of(model: Any, backend: str, prefix: str) -> Any:
    if backend != "tensorflow":
        raise UsageError(
            f"checkpoints of TensorFlow need its backend, and the model computes with {backend!r}. "
            "Use save_keras_weights and load_keras_weights."
        )
    if not storage.is_local(prefix):
        raise UsageError(f"a TensorFlow checkpoint is written to a path of this machine. Received: {prefix}")
    import tensorflow as tf

    return tf.train.Checkpoint(model=model)


@contextmanager
def _without_optimizer(model: Any) -> Iterator[None]:
    """Keras keeps an optimizer's memory in files of weights, and refuses them where the model's has another one."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        model.optimizer = None
    try:
        yield
    finally:
        if optimizer is not None:
            model.optimizer = optimizer


def _write(url: str, ending: str, write: Any, overwrite: bool) -> str:
    if not overwrite and storage.exists(url):
        raise UsageError(f"{storage.masked(url)} is there already, and overwrite=False.")
    with tempfile.TemporaryDirectory(prefix="zoo-keras-") as folder:
        path = Path(folder, f"file{ending}")
        with backends.without_tensorflow():
            write(str(path))
        storage.write_atomically(url, path.read_bytes())
    return url


@contextmanager
def _read(url: str, h5: str) -> Iterator[str]:
    """A copy on this machine, named as Keras wants it.

    Args:
        url: of the file.
        h5: the ending of a file in HDF5.
    """
    if storage.is_local(url) and storage.local_path(url).is_dir():
        saved = (storage.local_path(url) / "saved_model.pb").exists()
        raise UsageError(
            f"{url} is a TensorFlow SavedModel, which Keras 3 can apply but not train: wrap it in "
            "keras.layers.TFSMLayer, or save the model as a .keras file."
            if saved
            else f"{url} is a directory, not a file of Keras."
        )
    data = storage.read_bytes(url)
    ending = _ENDINGS.get(data[:4])
    if ending is None:
        raise UsageError(
            f"{storage.masked(url)} is neither a .keras nor an HDF5 file (it begins with {data[:8]!r}). A TensorFlow "
            "checkpoint (.index, .data) is read by est.load_tf_checkpoint(prefix)."
        )
    with tempfile.TemporaryDirectory(prefix="zoo-keras-") as folder:
        weights = h5 == ".weights.h5" and ending == ".h5" and b"layer_names" not in data[: 1 << 20]
        path = Path(folder, "file" + (".weights.h5" if weights else ending))
        path.write_bytes(data)
        yield str(path)
