"""A tf.data pipeline as TensorFlow's graph of it: how it travels, what it holds, how it is divided.

In a program that makes graphs (``tf.compat.v1``) a pipeline is part of one; elsewhere it is there at once. Both travel.

Owns: that; seeds of shuffles; files or batches for each rank.
Leaves: rows and steps (datasets).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.tensorflow.process import eagerly, library

_BATCHED = ("BatchDataset", "PaddedBatchDataset", "RebatchDataset")
_UNBATCHED = ("UnbatchDataset", "FlatMapDataset", "InterleaveDataset")
_SHUFFLES = {  # operation: the one that keeps its seeds itself
    "ShuffleDataset": "ShuffleDataset",
    "ShuffleDatasetV3": "ShuffleDataset",
    "ShuffleAndRepeatDatasetV2": "ShuffleAndRepeatDataset",
}
_CODE = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_HELD = ("HashTable", "HashTableV2", "VarHandleOp", "VariableV2")
_IGNORE, _FAIL = 1, 2  # what to do with a pipeline that has a state, e.g. how many random numbers it has drawn
_READERS = ("TextLineDataset", "TFRecordDataset", "FixedLengthRecordDataset")
_INFINITE = (
    "the {} data set never ends. Leave repeat() out (epochs repeat it), or say how many steps an epoch has: "
    "steps_per_epoch=..., validation_steps=..."
)
_END = object()
_WHY = "the data is a tf.data.Dataset"


def graph_of(dataset: Any) -> bytes:
    """TensorFlow's graph of a pipeline, serialised.

    Raises:
        UsageError: it cannot travel: it holds Python code, or a resource of this process.
    """
    tf = library(_WHY)
    variant = tf.data.experimental.to_variant(dataset)
    try:
        found = bytes(_value(lambda: _definition(dataset, _IGNORE), variant))
        if any(node.op in _CODE or node.op.endswith(_HELD) for node in _nodes(tf.compat.v1.GraphDef.FromString(found))):
            found = bytes(_value(lambda: _definition(dataset, _FAIL), variant))  # says what it is
        return found
    except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError) as error:
        raise UsageError(
            f"this tf.data.Dataset cannot travel to the ranks: {_first_line(error)}\n  It holds Python code "
            "(py_function, numpy_function, from_generator) or a resource of this process. Give a function that makes "
            "it there: fit(data=lambda config, batch_size: make_dataset()...)."
        ) from error


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


def with_seeds(dataset: Any, seed: int) -> Any:
    """The data set with new seeds for its shuffles; itself where it holds Python code, which no graph can tell.

    Those that it has may come from TensorFlow's global seed, and so from how much each rank has drawn before.
    """
    try:
        return dataset_of(seeded(graph_of(dataset), seed, anew=True), dataset.element_spec)
    except UsageError:
        return dataset


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


def seeded(graph: bytes, seed: int, *, anew: bool = False) -> bytes:
    """The graph with shuffles that draw from seeds of its own, and not from a resource of the process that made it.

    A shuffle without a seed gets one (`anew`: each of them does), so that every rank shuffles alike; so do operations
    that draw random numbers.
    """
    tf = library(_WHY)
    definition = tf.compat.v1.GraphDef.FromString(graph)
    for node in _nodes(definition):
        if "seed" in node.attr and "seed2" in node.attr and (anew or not (node.attr["seed"].i or node.attr["seed2"].i)):
            node.attr["seed"].i, node.attr["seed2"].i = map(int, _drawn(f"{seed}/{node.name}"))
    nodes = {node.name: node for node in definition.node}
    for number, node in enumerate(list(definition.node)):
        if node.op not in _SHUFFLES:
            continue
        node.op = _SHUFFLES[node.op]
        del node.input[4:]
        seeds = [nodes[name.split(":")[0]].attr["value"].tensor for name in node.input[2:4]]
        if not anew and any(tf.make_ndarray(one) for one in seeds):
            continue
        for place, value in enumerate(_drawn(f"{seed}/{number}")):
            made = definition.node.add(op="Const", name=f"{node.name}/zoo_seed_{place}")
            made.attr["dtype"].type = tf.int64.as_datatype_enum
            made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int64, ()))
            node.input[2 + place] = made.name
    return bytes(definition.SerializeToString())


def _drawn(text: str) -> np.ndarray:
    """Two seeds."""
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], np.int64) >> 1


def _nodes(definition: Any) -> list[Any]:
    return [*definition.node, *(node for function in definition.library.function for node in function.node_def)]


def part_of_rank(dataset: Any, index: int, world: int) -> Any:
    """Rank `index`'s part of a data set that all ranks have made alike: files where there are enough, else batches."""
    if world == 1:
        return dataset
    if not _reads_files(dataset):
        return dataset.shard(world, index)
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
        return dataset.shard(world, index)
    return tf.data.experimental.from_variant(variant, dataset.element_spec)


def _reads_files(dataset: Any) -> bool:
    """Whether an operation reads files; False where Python code hides what is done."""
    try:
        definition = library(_WHY).compat.v1.GraphDef.FromString(graph_of(dataset))
    except UsageError:
        return False
    return any(node.op.startswith(_READERS) for node in _nodes(definition))


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


def _batching(dataset: Any) -> Any:
    """The last operation that makes or undoes batches, if it makes them."""
    for one in _stages(dataset):
        kind = type(one).__name__
        if kind.endswith(_BATCHED):
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
