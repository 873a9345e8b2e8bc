"""A graph as it travels, and a session with such a copy on a rank.

Owns: packing a graph, unpacking it, values of variables, random numbers of a rank.
Leaves: the program's own session (home), steps (replica).
"""

from __future__ import annotations

import atexit
import hashlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from zoo.engine.frameworks.graph import marks
from zoo.engine.frameworks.graph.program import Copy
from zoo.engine.values import Rank

v1 = tf.compat.v1
_KEYS = v1.GraphKeys
_COLLECTIONS = (_KEYS.GLOBAL_VARIABLES, _KEYS.LOCAL_VARIABLES, _KEYS.TABLE_INITIALIZERS)
"""What a rank needs of them; others may hold objects that cannot travel."""


_open: weakref.WeakSet[Any] = weakref.WeakSet()


@atexit.register
def _close() -> None:
    """Sessions that live when the interpreter ends would miss TensorFlow when they give back what they hold."""
    for session in list(_open):
        session.close()


def exported(graph: Any) -> bytes:
    """A graph as it travels: without devices of this machine; train operations wait for their gradients alone."""
    with graph.as_default():
        meta = v1.train.export_meta_graph(graph=graph, clear_devices=True, collection_list=list(_COLLECTIONS))
    marks.untied(meta.graph_def, graph.get_collection(marks.TRAINERS))
    return bytes(meta.SerializeToString(deterministic=True))


def opened(copy: Copy, config: Any, rank: Rank, seed: int) -> Any:
    """A session with a copy, all its variables at the values that it brought.

    Args:
        copy: of the program's graph.
        config: a ``ConfigProto``.
        rank: who opens it: each rank has random numbers of its own.
        seed: of those.
    """
    meta = v1.MetaGraphDef.FromString(copy.meta)
    _reseed(meta.graph_def, rank.index, seed)
    graph = tf.Graph()
    with graph.as_default():
        v1.train.import_meta_graph(meta)
        session = v1.Session(graph=graph, config=config)
        _open.add(session)
        session.run([v1.local_variables_initializer(), v1.tables_initializer()])
        assign(session, copy.values)
    return session


def assign(session: Any, values: Mapping[str, np.ndarray]) -> None:
    """Gives variables of a session's graph their values."""
    for variable in variables_of(session.graph):
        if variable.name in values:  # one by one: several may have one initial value
            session.run(variable.initializer, {variable.initializer.inputs[1]: values[variable.name]})


def prepared(session: Any, fetches: Sequence[Any], feeds: Sequence[Any]) -> Callable[..., list[Any]]:
    """A function from arrays for `feeds`, of their tensors' types, to the values of the tensors among `fetches`.

    `Session.run` looks up fetches and feeds, and converts arrays, in each call: for a small graph that takes longer
    than the graph. TensorFlow's own layers use callables with options instead, which do so once.
    """
    if not hasattr(session, "_make_callable_from_options"):
        run = session.make_callable(list(fetches), list(feeds))
        return lambda *arrays: [found for found in run(*arrays) if found is not None]
    given = {tensor.name for tensor in feeds}
    with session.graph.as_default():  # what is fed cannot be fetched too
        fetches = [tf.identity(one) if one.name in given else one for one in fetches]
    options = config_pb2.CallableOptions()
    options.feed.extend(tensor.name for tensor in feeds)
    options.fetch.extend(one.name for one in fetches if isinstance(one, tf.Tensor))
    options.target.extend(one.name for one in fetches if isinstance(one, tf.Operation))
    run = session._make_callable_from_options(options)
    return lambda *arrays: list(run(*arrays))


def variables_of(graph: Any) -> list[Any]:
    """The global variables of a graph, each once."""
    found = graph.get_collection(v1.GraphKeys.GLOBAL_VARIABLES)
    return list({variable.name: variable for variable in found}.values())


def operation(graph: Any, name: str) -> Any:
    """By its name."""
    return graph.get_operation_by_name(name)


def tensor(graph: Any, name: str) -> Any:
    """By its name."""
    return graph.get_tensor_by_name(name)


def _reseed(definition: Any, index: int, seed: int) -> None:
    """Seeds for operations that draw random numbers: without seeds on rank 0, all of them on others."""
    nodes = [*definition.node, *(node for one in definition.library.function for node in one.node_def)]
    for node in nodes:
        if "seed" not in node.attr or "seed2" not in node.attr:
            continue
        if index or not (node.attr["seed"].i or node.attr["seed2"].i):
            own = f"{node.attr['seed'].i}/{node.attr['seed2'].i}/{seed}/{index}/{node.name}"
            first, second = np.frombuffer(hashlib.sha256(own.encode()).digest()[:16], np.int64) >> 1
            node.attr["seed"].i, node.attr["seed2"].i = int(first), int(second)
