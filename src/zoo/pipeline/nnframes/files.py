"""Saved stages: Spark ML's own metadata, beside it the model.

    <path>/metadata/part-00000      one line of JSON: class, uid, parameters, and under "zoo" format and values
    <path>/model.keras              a Keras model; or
    <path>/model.bigdl              layers of zoo.bigdl.nn; or
    <path>/model.pt                 a program of TorchScript; or
    <path>/model.graph/             a graph of TensorFlow and its inputs and outputs; or
    <path>/code.pkl                 a torch module, and objects of the user's own classes: code, read on trust only

Owns: the format, writing whole stages or none, trust.
Leaves: which attributes a stage has (nn_classifier), values as JSON (described), bytes (zoo.engine.storage).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import pickle
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Self

import cloudpickle
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReader, MLWriter

from zoo.engine import storage
from zoo.engine.checkpoint import replacing
from zoo.engine.errors import NotPicklable, UsageError
from zoo.orca.learn.kinds import is_of
from zoo.pipeline.nnframes.criteria import BIGDL
from zoo.pipeline.nnframes.described import describe, restore

FORMAT = 1
"""Grows when an older zoo could no longer read what this one writes."""

_METADATA, _KERAS, _BIGDL, _CODE = "metadata/part-00000", "model.keras", "model.bigdl", "code.pkl"
_SCRIPT, _GRAPH = "model.pt", "model.graph"
_OBJECTS = ("optimMethod",)  # parameters that are no JSON
_trusting: ContextVar[bool] = ContextVar("trusting", default=False)
_log = logging.getLogger("zoo")


@contextmanager
def trusting() -> Iterator[None]:
    """Lets code in saved stages run while the block reads them, with ``PipelineModel.load(path)`` for instance."""
    token = _trusting.set(True)
    try:
        yield
    finally:
        _trusting.reset(token)


class StageWriter(MLWriter):
    """Writes a stage: whole, or not at all."""

    def __init__(self, instance: Any) -> None:
        super().__init__()
        self.instance = instance

    def save(self, path: str) -> None:
        """Writes it.

        Raises:
            UsageError: something is there already, and `overwrite` was not called.
            NotPicklable: an object of the user's own cannot travel.
            StorageFailed: the place cannot be written; what was there stays.
        """
        place = _place(path, self.sparkSession)
        there = storage.exists(place)
        if there and not self.shouldOverwrite:
            raise UsageError(f"{storage.masked(place)} is there already. Use stage.write().overwrite().save(path).")
        files = _files_of(self.instance, self.sparkSession)
        if storage.is_local(place):
            target = str(storage.local_path(place)).rstrip("/")
            temporary = f"{target}.unfinished-{secrets.token_hex(8)}"
            with replacing(target, temporary):
                _write_all(temporary, files)
            return
        if there:
            storage.remove_tree(storage.join(place, "metadata"))  # from here on the old stage does not exist
            storage.remove_tree(place)
        _write_all(place, files)

    def saveImpl(self, path: str) -> None:
        """As `save`, which does it all."""
        self.save(path)


class StageReader(MLReader[Any]):
    """Reads a stage; `trust` lets code in it run."""

    def __init__(self, cls: type) -> None:
        super().__init__()
        self._cls = cls
        self._trusts = _trusting.get()

    def trust(self) -> Self:
        """Lets code in the files run; for places that you trust only."""
        self._trusts = True
        return self

    def load(self, path: str) -> Any:
        """Reads it; see `NNModel.load`."""
        place = _place(path, self.sparkSession)
        metadata = _metadata(place)
        name = metadata["class"].rpartition(".")[2]
        if name != self._cls.__name__:
            raise UsageError(f"{storage.masked(place)} holds a {name}, not a {self._cls.__name__}: {name}.load(path).")
        about = metadata["zoo"]
        code = self._code(place, about)
        values = {key: restore(told, code) for key, told in about["values"].items()}
        model = code["model"] if about["model"] == _CODE else self._model(place, about, code)
        return _made(self._cls, model, values, metadata)

    def _model(self, place: str, about: Mapping[str, Any], code: Mapping[str, Any]) -> Any:
        if about["model"] == _BIGDL:
            from zoo.bigdl.nn.layer import Model

            return Model.loadModel(storage.join(place, _BIGDL))
        if about["model"] == _SCRIPT:
            from zoo.pipeline.api.net.torch_net import TorchNet

            return TorchNet(storage.join(place, _SCRIPT)).to_pytorch()
        if about["model"] == _GRAPH:
            from zoo.orca.learn.tf.net import TFNet

            return TFNet(storage.join(place, _GRAPH))
        for module in about["modules"]:
            if module.startswith("zoo."):  # where Keras learns of our functions; a file names classes' modules itself
                importlib.import_module(module)
        return _read_keras(storage.join(place, _KERAS), code.get("custom_objects"), self._trusts)

    def _code(self, place: str, about: Mapping[str, Any]) -> Mapping[str, Any]:
        if not about["code"]:
            return {}
        if not self._trusts:
            raise UsageError(
                f"{storage.masked(place)} holds code ({', '.join(about['code'])}), which would run when it is read. If "
                f"you trust its source: {self._cls.__name__}.load(path, trust=True), or, for a pipeline, "
                "with zoo.pipeline.nnframes.trusting(): PipelineModel.load(path)."
            )
        found: Mapping[str, Any] = pickle.loads(storage.read_bytes(storage.join(place, _CODE)))  # noqa: S301  trusted
        return found


def _made(cls: type, model: Any, values: dict[str, Any], metadata: Mapping[str, Any]) -> Any:
    """The stage of what was read."""
    objects = {name: values.pop(name) for name in _OBJECTS if name in values}
    course = values.pop("_course", None)
    stage: Any = cls(model, **values)
    stage._resetUid(metadata["uid"])
    DefaultParamsReader.getAndSetParams(stage, dict(metadata))
    if objects:
        stage._set(**objects)
    if course is not None:
        stage._course = course
    return stage


def _metadata(place: str) -> dict[str, Any]:
    """What a stage says of itself.

    Raises:
        UsageError: no stage, or one that this zoo cannot read.
    """
    if not storage.exists(storage.join(place, _METADATA)):
        raise UsageError(f"{storage.masked(place)} holds no saved stage: {_METADATA} is missing.")
    try:
        found: dict[str, Any] = json.loads(storage.read_bytes(storage.join(place, _METADATA)))
        version, writer = found["zoo"]["format"], found["zoo"]["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{storage.masked(place)} is no stage of zoo.pipeline.nnframes ({error!r}).") from error
    if not isinstance(version, int) or version > FORMAT:
        raise UsageError(
            f"{storage.masked(place)} was written by a newer openzoo ({writer}): it has format {version}, and this one "
            f"reads up to {FORMAT}. Install that version, or a newer one."
        )
    return found


def _files_of(stage: Any, spark: Any) -> dict[str, bytes]:
    """All files of a stage, the metadata last; nothing is written yet."""
    from zoo import __version__

    aside: dict[str, Any] = {}
    values = {name: describe(getattr(stage, name), aside) for name in stage._parts}
    values |= {name: describe(stage.getOrDefault(name), aside) for name in _OBJECTS if _is_set(stage, name)}
    if hasattr(stage, "_course"):
        values["_course"] = describe(_lasting(stage._course), aside)
    modules: set[str] = set()
    kind, files = _model_files(stage.model, aside, modules)
    if aside:
        files[_CODE] = _packed(aside)
    own = {
        "format": FORMAT, "version": __version__, "values": values, "code": sorted(aside),
        "modules": sorted(modules),
        "model": kind,
    }  # fmt: skip
    params = {param.name: value for param, value in stage._paramMap.items() if param.name not in _OBJECTS}
    told = DefaultParamsWriter._get_metadata_to_save(stage, spark, {"zoo": own}, params)
    return files | {"metadata/_SUCCESS": b"", _METADATA: told.encode() + b"\n"}


def _is_set(stage: Any, name: str) -> bool:
    return bool(stage.hasParam(name) and stage.isDefined(name))


def _lasting(course: Any) -> Any:
    if course.validation is not None:
        _log.warning("a saved stage keeps no DataFrame: call setValidation again after load.")
    return dataclasses.replace(course, validation=None)


def _model_files(model: Any, aside: dict[str, Any], modules: set[str]) -> tuple[str, dict[str, bytes]]:
    """(where a model is, its files); a torch module is set aside, for its class is code.

    Args:
        model: it.
        aside: gets what is code.
        modules: gets those of zoo's that a Keras model needs.
    """
    from zoo.pipeline.nnframes import frameworks

    framework, own = frameworks.of(model)
    if isinstance(framework, frameworks.Graph):
        return _GRAPH, _written(_GRAPH, own.save)
    if isinstance(framework, frameworks.Torch):
        if is_of(own, BIGDL) and hasattr(own, "saveModel"):
            with suppress(UsageError):  # a module of torch's among the layers
                return _BIGDL, _written(_BIGDL, own.saveModel)
        if hasattr(own, "saveScript"):
            return _SCRIPT, _written(_SCRIPT, own.saveScript)
        aside["model"] = own
        return _CODE, {}
    from zoo.engine.frameworks.keras import travel

    custom = travel.custom_objects([own])
    modules.update(one.__module__ for one in custom.values() if one.__module__.startswith("zoo."))
    if users := {name: one for name, one in custom.items() if not one.__module__.startswith("zoo.")}:
        aside["custom_objects"] = users
    return _KERAS, _written(_KERAS, own.save)


def _written(name: str, save: Callable[[str], Any]) -> dict[str, bytes]:
    """The file of that name which `save` writes, or those of a folder."""
    with tempfile.TemporaryDirectory(prefix="zoo-stage-") as folder:
        save(str(Path(folder, name)))
        found = (path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _read_keras(url: str, custom: Mapping[str, Any] | None, trusts: bool) -> Any:
    from zoo.engine.frameworks.keras import files
    from zoo.pipeline.api.library import library

    library()
    try:
        return files.load_model(url, custom, safe_mode=not trusts)
    except UsageError as error:
        hint = "" if trusts else "\nIf it holds code (a Lambda) and you trust its source: load(path, trust=True)."
        raise UsageError(f"{error}{hint}") from error


def _packed(aside: Mapping[str, Any]) -> bytes:
    for name, thing in aside.items():
        try:
            cloudpickle.dumps(thing)
        except Exception as error:  # any class may refuse in its own way
            raise NotPicklable(f"{name} ({type(thing)}) of the stage cannot be saved: {error}") from error
    packed: bytes = cloudpickle.dumps(dict(aside))
    return packed


def _write_all(place: str, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():  # the metadata last: without it there is no stage
        storage.write_atomically(storage.join(place, *name.split("/")), data)


def _place(path: str, spark: Any) -> str:
    """Where Spark would look for a path: without a scheme, on its default file system."""
    if "://" in path or path.startswith("file:") or not hasattr(spark, "_jsparkSession"):
        return path
    default = str(spark.sparkContext._jsc.hadoopConfiguration().get("fs.defaultFS") or "file:///")
    return path if default.startswith("file:") or not path.startswith("/") else default.rstrip("/") + path
