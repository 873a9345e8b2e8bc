"""A tf.data pipeline as TensorFlow's graph of it: how it travels, what it holds, how it is divided.

In a program that makes graphs (``tf.compat.v1``) a pipeline is part of one; elsewhere it is there at once. Both travel.

Owns: that; files for each rank.
Leaves: seeds and orders (orders), rows and steps (datasets).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.tensorflow.process import eagerly, library

_BATCHED = ("BatchDataset", "PaddedBatchDataset", "RebatchDataset")
_UNBATCHED = ("UnbatchDataset", "FlatMapDataset", "InterleaveDataset")
_CODE = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_TABLES = ("HashTable", "HashTableV2")
_VARIABLES = ("VarHandleOp", "VariableV2")
_IGNORE, _FAIL = 1, 2  # what to do with a pipeline that has a state, e.g. how many random numbers it has drawn
_READERS = ("TextLineDataset", "TFRecordDataset", "FixedLengthRecordDataset")
_INFINITE = (
    "the {} data set never ends. Leave repeat() out (epochs repeat it), or say how many steps an epoch has: "
    "steps_per_epoch=..., validation_steps=..."
)
_NO_TRAVELLER = (
    "this tf.data.Dataset cannot travel to the ranks: {}\n  It holds Python code (py_function, numpy_function, "
    "from_generator) or a resource of this process. Give a function that makes it there: "
    "fit(data=lambda config, batch_size: make_dataset()...)."
)
_MARK = "_zoo_batches"
_END = object()
_WHY = "the data is a tf.data.Dataset"


def graph_of(dataset: Any) -> bytes:
    """TensorFlow's graph of a pipeline, serialised, as it can travel.

    Raises:
        UsageError: it cannot travel: it holds Python code, or a resource of this process.
    """
    tf = library(_WHY)
    found = graph_here(dataset)
    nodes = _nodes(tf.compat.v1.GraphDef.FromString(found))
    held = next((node.op for node in nodes if node.op in _CODE or node.op.endswith(_VARIABLES)), None)
    if held is not None:
        raise UsageError(_NO_TRAVELLER.format(f"{held} works in this process only."))
    if not any(node.op.endswith(_TABLES) for node in nodes):
        return found
    try:
        return bytes(_value(lambda: _definition(dataset, _FAIL), tf.data.experimental.to_variant(dataset)))
    except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError) as error:
        raise UsageError(_NO_TRAVELLER.format(_first_line(error))) from error


def graph_here(dataset: Any) -> bytes:
    """TensorFlow's graph of a pipeline, as this process can use it while the data set is there.

    Python code stays the program's own; tables and variables are copied.

    Raises:
        UsageError: an operation that has no graph.
    """
    tf = library(_WHY)
    try:
        return bytes(_value(lambda: _definition(dataset, _IGNORE), tf.data.experimental.to_variant(dataset)))
    except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError) as error:
        raise UsageError(f"this tf.data.Dataset has no graph: {_first_line(error)}") from error


def holds_code(graph: bytes) -> bool:
    """Whether Python code takes part."""
    return any(node.op in _CODE for node in _nodes(library(_WHY).compat.v1.GraphDef.FromString(graph)))


def _definition(dataset: Any, policy: int) -> Any:
    tf = library(_WHY)
    variant = tf.data.experimental.to_variant(dataset)
    return tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=policy)


def _value(compute: Callable[[], Any], part: Any) -> Any:
    """What `compute` gives, on the host; in a session where `part`, which it uses, belongs to a graph."""
    tf = library(_WHY)
    if not tf.is_symbolic_tensor(part):
        with eagerly():
            return compute().numpy()
    with part.graph.as_default(), tf.compat.v1.Session(graph=part.graph) as session:
        return session.run(compute())


def dataset_of(graph: bytes, spec: Any) -> Any:
    """The pipeline of a graph, to be used where TensorFlow computes at once (`eagerly`).

    Args:
        graph: what `graph_of` gave.
        spec: of its elements.
    """
    tf = library(_WHY)
    return tf.data.experimental.from_variant(tf.raw_ops.DatasetFromGraph(graph_def=graph), spec)


def elements(dataset: Any) -> Iterator[Any]:
    """Its elements as numpy arrays. Between them the caller's own mode is on."""
    with eagerly():
        iterator = iter(dataset.as_numpy_iterator())
    while True:
        with eagerly():
            element = next(iterator, _END)
        if element is _END:
            return
        yield element


def _nodes(definition: Any) -> list[Any]:
    return [*definition.node, *(node for function in definition.library.function for node in function.node_def)]


def files_of_rank(dataset: Any, index: int, world: int) -> Any:
    """What rank `index` reads of a pipeline that all ranks have made alike, where each can have files of its own.

    Returns:
        a ``tf.data.Dataset``; None where no files are read, or fewer than there are ranks.
    """
    definition = library(_WHY).compat.v1.GraphDef.FromString(graph_here(dataset))
    nodes = _nodes(definition)
    if any(node.op in _CODE for node in nodes) or not any(node.op.startswith(_READERS) for node in nodes):
        return None  # Python code hides what is read
    tf = library(_WHY)
    v1 = tf.compat.v1.data
    by_files = 1
    try:
        variant = tf.raw_ops.AutoShardDataset(
            input_dataset=tf.data.experimental.to_variant(dataset),
            num_workers=world,
            index=index,
            output_types=tf.nest.flatten(v1.get_output_types(dataset)),
            output_shapes=tf.nest.flatten(v1.get_output_shapes(dataset)),
            auto_shard_policy=by_files,
        )
    except tf.errors.OpError:  # fewer files than ranks
        return None
    return tf.data.experimental.from_variant(variant, dataset.element_spec)


def is_batched(dataset: Any) -> bool:
    """Whether its elements are batches: whether the last operation that makes or undoes batches makes them."""
    return _batching(dataset) is not None


def size_of_batches(dataset: Any) -> int | None:
    """Rows of its batches; None where its elements are rows, or only reading tells."""
    size = getattr(_batching(dataset), "_batch_size", None)
    found = None if size is None else library(_WHY).get_static_value(size)
    return None if found is None or int(found) < 1 else int(found)


def operations(dataset: Any) -> Iterator[str]:
    """Names of the operations that make it, the last one first: ``"Shuffle"``, ``"Batch"``, ``"Repeat"``, ..."""
    for one in _stages(dataset):
        yield type(one).__name__.strip("_").removesuffix("Dataset").removeprefix("Parallel")


def made_of_batches(dataset: Any) -> Any:
    """The data set, of which `is_batched` is to know that its elements are batches, however they were made."""
    setattr(dataset, _MARK, True)
    return dataset


def _batching(dataset: Any) -> Any:
    """The last operation that makes or undoes batches, if it makes them."""
    for one in _stages(dataset):
        kind = type(one).__name__
        if kind.endswith(_BATCHED) or hasattr(one, _MARK):
            return one
        if kind.endswith(_UNBATCHED):
            return None
    return None


def _stages(dataset: Any) -> Iterator[Any]:
    waiting = [dataset]
    while waiting:
        one = waiting.pop(0)
        if type(one).__name__ == "DatasetV1Adapter":  # tf.compat.v1 wraps each stage in one
            one = one._dataset
        yield one
        waiting.extend(one._inputs())


def is_infinite(dataset: Any) -> bool:
    """Whether it never ends, as far as TensorFlow can tell."""
    return int(dataset.cardinality()) == int(library(_WHY).data.INFINITE_CARDINALITY)


def refuse_infinite(dataset: Any, steps: int | None, purpose: str) -> None:
    """Raises UsageError where a pipeline never ends and nobody has said how many steps an epoch has."""
    if steps is None and is_infinite(dataset):
        raise UsageError(_INFINITE.format(purpose))


def _first_line(error: Exception) -> str:
    return str(error).partition("[Op:")[0].rpartition("}}")[2].strip()
