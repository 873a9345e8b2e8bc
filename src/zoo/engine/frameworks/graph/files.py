"""Files of graphs: checkpoints of TensorFlow's Saver, frozen graphs, SavedModels.

Owns: writing and reading them, and what is in them.
Leaves: our own checkpoints (zoo.engine.checkpoint), computing (replica).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import copies

v1 = tf.compat.v1
_CHECKPOINT = "a TensorFlow checkpoint is read from, and written to,"
_GRAPH, _META = "frozen_inference_graph.pb", "graph_meta.json"


def save_checkpoint(session: Any, prefix: str, saver: Any = None) -> str:
    """Writes the variables of a session to files that begin with `prefix`; returns it.

    Args:
        session: whose.
        prefix: a path of this machine.
        saver: which variables; None for all.

    Raises:
        UsageError: a URL, a graph without variables, or variables without values.
    """
    path = _local(prefix, _CHECKPOINT)
    chosen = saver or _saver(session)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        written: str = chosen.save(session, path, write_meta_graph=False)
    except tf.errors.FailedPreconditionError as error:
        raise _without_value(error) from error
    return written


def load_checkpoint(session: Any, prefix: str, saver: Any = None) -> None:
    """Reads what `save_checkpoint` has written.

    Args:
        session: gets the values.
        prefix: the same; or the directory that holds it, for the newest one there.
        saver: which variables; None for those that the checkpoint holds.

    Raises:
        UsageError: a URL; no checkpoint there; one of other variables.
    """
    path = _local(prefix, _CHECKPOINT)
    if Path(path).is_dir():
        path = v1.train.latest_checkpoint(path) or path
    if not Path(f"{path}.index").exists():
        raise UsageError(f"no TensorFlow checkpoint at {prefix}: there is no file {path}.index.")
    held = dict(v1.train.list_variables(path))
    _check_shapes(session, held, prefix)
    chosen = saver or _saver(session, held)
    try:
        chosen.restore(session, path)
    except (tf.errors.OpError, ValueError) as error:
        lines = str(error).splitlines()
        told = next((line for line in lines if line.startswith("Key ")), lines[0])
        raise UsageError(f"the checkpoint {prefix} does not fit the graph: {told}. It holds {_few(held)}.") from error


def _check_shapes(session: Any, held: Mapping[str, Sequence[int]], prefix: str) -> None:
    """A Saver would give a variable another shape without a word."""
    for variable in copies.variables_of(session.graph):
        name = variable.op.name
        if name in held and not variable.shape.is_compatible_with(held[name]):
            raise UsageError(
                f"the checkpoint {prefix} does not fit the graph: its {name} has the shape {list(held[name])}, the "
                f"graph's {variable.shape.as_list()}."
            )


def checkpoint_state(directory: str) -> Any:
    """TensorFlow's record of the checkpoints of a directory of this machine; None where there is none."""
    return v1.train.get_checkpoint_state(_local(directory, _CHECKPOINT))


def _saver(session: Any, held: Any = None) -> Any:
    with session.graph.as_default():
        variables = v1.global_variables()
        own = variables if held is None else [variable for variable in variables if variable.op.name in held]
        if not variables:
            raise UsageError("the graph has no variables: there is nothing to save, or to read. Build the model first.")
        if not own:
            raise UsageError(
                f"the checkpoint does not fit the graph: of {_few(variable.op.name for variable in variables)} it "
                f"holds none. It holds {_few(held)}. Give a Saver that knows both: Saver({{name there: variable}})."
            )
        return v1.train.Saver(own, save_relative_paths=True)


def _local(path: Any, what: str) -> str:
    if not storage.is_local(str(path)):
        raise UsageError(f"{what} a path of this machine. Received: {storage.masked(str(path))}. Copy it there.")
    return str(storage.local_path(str(path)))


def _without_value(error: Exception) -> UsageError:
    told = str(error).partition("\n")[0]
    return UsageError(
        "a variable of the session has no value yet: run tf.compat.v1.global_variables_initializer(), or load a "
        f"checkpoint. TensorFlow says: {told}"
    )


def _few(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:10]) + (f", ... ({len(found)} in all)" if len(found) > 10 else "")


# --- graphs that only compute ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """A session, and what is computed in it.

    Attributes:
        session: with its graph.
        inputs: tensors that are fed.
        outputs: tensors that are computed.
    """

    session: Any
    inputs: Sequence[Any]
    outputs: Sequence[Any]


def export_frozen(session: Any, folder: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> str:
    """Writes a graph with its variables as constants, and the names of its inputs and outputs beside it.

    Args:
        session: with the values.
        folder: a path or any fsspec URL.
        inputs: tensors that are fed.
        outputs: tensors that are computed.

    Raises:
        UsageError: variables without values.
    """
    meta = {"input_names": [one.name for one in inputs], "output_names": [one.name for one in outputs]}
    graph = frozen(Loaded(session, inputs, outputs))
    storage.make_dirs(folder)
    storage.write_atomically(storage.join(folder, _GRAPH), graph)
    storage.write_atomically(storage.join(folder, _META), json.dumps(meta).encode())
    return folder


def frozen(loaded: Loaded) -> bytes:
    """A serialised ``GraphDef`` of what is computed, with the variables as constants.

    Raises:
        UsageError: variables without values.
    """
    names = [one.op.name for one in (*loaded.outputs, *loaded.inputs)]  # inputs that no output needs as well
    return bytes(_frozen(loaded.session, names).SerializeToString())


def is_frozen(path: str) -> bool:
    """Whether `path` is for `load_frozen`: a ``.pb`` file, or a folder of `export_frozen`."""
    return path.endswith(".pb") or storage.exists(storage.join(path, _GRAPH))


def load_frozen(path: str, inputs: Sequence[str] | None, outputs: Sequence[str] | None) -> Loaded:
    """A graph of constants.

    Args:
        path: a folder of `export_frozen`, or a ``.pb`` file.
        inputs: names of tensors; None for those that the folder tells.
        outputs: likewise.

    Raises:
        UsageError: nothing is there, or it is no graph; names are missing, or no tensors of it.
    """
    folder = not path.endswith(".pb")
    file = storage.join(path, _GRAPH) if folder else path
    if not storage.exists(file):
        raise UsageError(f"no frozen graph at {storage.masked(file)}. A SavedModel is read by from_saved_model.")
    if folder and (inputs is None or outputs is None):
        told = _told(storage.join(path, _META))
        inputs, outputs = inputs or told[0], outputs or told[1]
    if inputs is None or outputs is None:
        raise UsageError(
            f"{storage.masked(file)} does not tell its inputs and outputs: give input_names, output_names."
        )
    try:
        definition = v1.GraphDef.FromString(storage.read_bytes(file))
    except DecodeError as error:
        raise UsageError(f"{storage.masked(file)} is no graph of TensorFlow (GraphDef): {error}") from error
    return _constant(definition, inputs, outputs)


def _told(file: str) -> tuple[Any, Any]:
    """(inputs, outputs) as the file beside a graph has them; Nones without such a file."""
    if not storage.exists(file):
        return None, None
    try:
        meta = json.loads(storage.read_bytes(file))
        return meta["input_names"], meta["output_names"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{storage.masked(file)} does not tell 'input_names' and 'output_names': {error!r}") from error


def load_saved_model(
    path: str, tag: str, signature: str, names: tuple[Sequence[str] | None, Sequence[str] | None]
) -> Loaded:
    """A SavedModel.

    Args:
        path: its directory on this machine.
        tag: of the graph in it.
        signature: which of its functions.
        names: (of the tensors that are fed, of those that are computed); None for the signature's own.

    Raises:
        UsageError: no SavedModel; no such tag, signature or tensor.
    """
    local, tags = _local(path, "a SavedModel is read from"), tag.split(",")
    _check_tags(local, tags)
    graph = tf.Graph()
    session = v1.Session(graph=graph)
    with graph.as_default():
        try:
            meta = v1.saved_model.load(session, tags, local)
        except (RuntimeError, ValueError, OSError, tf.errors.OpError) as error:
            raise UsageError(
                f"the SavedModel {path} cannot be read, a file of it is missing or damaged: {error}"
            ) from error
        session.run(v1.tables_initializer())
    signed = _signed(meta, signature, path) if None in names else ([], [])
    inputs, outputs = names[0] or signed[0], names[1] or signed[1]
    if not _all_known(graph):  # as in those of TensorFlow 2, whose variables are in no collection
        return _constant(_frozen(session, [name.partition(":")[0] for name in outputs]), inputs, outputs)
    return Loaded(session, _tensors(graph, inputs), _tensors(graph, outputs))


def _check_tags(path: str, tags: Sequence[str]) -> None:
    file = Path(path) / "saved_model.pb"
    if not file.exists():
        raise UsageError(
            f"no SavedModel at {path}: there is no file saved_model.pb. A .keras or .h5 file is read by "
            "Estimator.load_keras_model or KerasModel.load_model, a frozen graph by TFNet(path, ...)."
        )
    try:
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except DecodeError as error:
        raise UsageError(f"{file} is no SavedModel: {error}") from error
    there = [set(graph.meta_info_def.tags) for graph in model.meta_graphs]
    if set(tags) not in there:
        raise UsageError(
            f"the SavedModel {path} has no graph with the tag {','.join(tags)!r}. It has: "
            f"{'; '.join(','.join(sorted(one)) for one in there) or 'none'}"
        )


def _all_known(graph: Any) -> bool:
    """Whether each variable of a graph is in its collection, so that its value can travel."""
    known = {variable.op.name for variable in graph.get_collection(v1.GraphKeys.GLOBAL_VARIABLES)}
    return all(op.name in known for op in graph.get_operations() if op.type in ("VarHandleOp", "VariableV2"))


def _frozen(session: Any, outputs: Sequence[str]) -> Any:
    definition = session.graph.as_graph_def()
    try:
        return v1.graph_util.convert_variables_to_constants(session, definition, list(outputs))
    except tf.errors.FailedPreconditionError as error:
        raise _without_value(error) from error


def _constant(definition: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Loaded:
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    return Loaded(v1.Session(graph=graph), _tensors(graph, inputs), _tensors(graph, outputs))


def _signed(meta: Any, signature: str, path: str) -> tuple[list[str], list[str]]:
    known = meta.signature_def
    if signature not in known:
        raise UsageError(f"the SavedModel {path} has no signature {signature!r}. It has: {', '.join(sorted(known))}")
    signed = known[signature]
    return [signed.inputs[key].name for key in sorted(signed.inputs)], [
        signed.outputs[key].name for key in sorted(signed.outputs)
    ]


def _tensors(graph: Any, names: Sequence[str]) -> list[Any]:
    found = []
    for name in names:
        try:
            found.append(graph.get_tensor_by_name(name if ":" in name else f"{name}:0"))
        except (KeyError, ValueError) as error:
            fed = _few(op.outputs[0].name for op in graph.get_operations() if op.type == "Placeholder")
            raise UsageError(f"the graph has no tensor {name!r}. Its placeholders are: {fed or 'none'}") from error
    return found
