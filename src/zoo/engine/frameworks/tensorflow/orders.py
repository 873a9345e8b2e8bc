"""The order of each epoch of a tf.data pipeline, as a function of (seed, epoch).

tf.data draws the next order whenever a pipeline is iterated anew: which one comes depends on how often that has
happened, and with ``repeat().prefetch()`` on how far it has read ahead. Here the operations that draw are made anew
for each epoch, with seeds of that epoch, on top of those that do not: these stay, with all that they hold and have
cached. So any epoch can be begun at any time, also on a rank that has just come.

Owns: seeds of operations; which operations are made anew.
Leaves: how a pipeline travels (pipelines), rows and steps (datasets).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.engine.frameworks.tensorflow.process import eagerly, library

_CACHES = ("CacheDataset", "CacheDatasetV2")


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A kind of operation that draws an order.

    Attributes:
        plain: the operation that has seeds only, and no resource of the process that made it.
        seeds: where its two seeds are among its inputs.
        inputs: how many it has.
        anew: the attribute that says whether it draws anew in each iteration.
    """

    plain: str
    seeds: int
    inputs: int
    anew: str


_SHUFFLE = _Drawing("ShuffleDataset", 2, 4, "reshuffle_each_iteration")
_REPEATED = _Drawing("ShuffleAndRepeatDataset", 2, 5, "reshuffle_each_iteration")
_RANDOM = _Drawing("RandomDataset", 0, 2, "rerandomize_each_iteration")
_DRAWING = {
    "ShuffleDataset": _SHUFFLE,
    "ShuffleDatasetV3": _SHUFFLE,
    "ShuffleAndRepeatDataset": _REPEATED,
    "ShuffleAndRepeatDatasetV2": _REPEATED,
    "RandomDataset": _RANDOM,
    "RandomDatasetV2": _RANDOM,
}


class Orders:
    """A pipeline, epoch for epoch.

    Args:
        graph: TensorFlow's graph of it.
        spec: of its elements.
        seed: of what has no seed.
        anew: whether seeds that operations have are replaced too: they may come from TensorFlow's global seed, and so
            from how much each rank has drawn before.
        alike: whether several ranks read it, so that operations must not change the order as threads come and go.
        keep: held as long as this: what the pipeline's Python functions belong to.
    """

    def __init__(
        self, graph: bytes, spec: Any, seed: int, *, anew: bool = False, alike: bool = False, keep: Any = None
    ) -> None:
        self._spec, self._seed, self._anew, self._alike, self._keep = spec, seed, anew, alike, keep
        with eagerly():
            plan = _Plan(library().compat.v1.GraphDef.FromString(graph))
            self._lasting = {name: self._made(plan.down_to(name)) for name in plan.lasting}
        self._output, self._rest = plan.output, plan.on_top()

    def epoch(self, epoch: int) -> Any:
        """The ``tf.data.Dataset`` of an epoch, to be iterated once."""
        with eagerly():
            variant = self._lasting[self._output] if self._output in self._lasting else self._on_top(epoch)
            return library().data.experimental.from_variant(variant, self._spec)

    def _seeded(self, definition: Any, epoch: int) -> Any:
        return seeded(definition, self._seed, epoch, anew=self._anew, alike=self._alike)

    def _made(self, definition: Any) -> Any:
        graph = self._seeded(definition, 0).SerializeToString()
        return library().raw_ops.DatasetFromGraph(graph_def=graph)

    def _on_top(self, epoch: int) -> Any:
        """What is made anew for this epoch."""
        tf, names = library(), list(self._lasting)
        definition = self._seeded(self._rest, epoch)

        def build(*lasting: Any) -> Any:
            given = {f"{name}:0": variant for name, variant in zip(names, lasting, strict=True)}
            output = [f"{self._output}:0"]
            (found,) = tf.graph_util.import_graph_def(definition, input_map=given, return_elements=output, name="")
            return found

        function = tf.compat.v1.wrap_function(build, [tf.TensorSpec((), tf.variant)] * len(names))
        return function(*self._lasting.values())


class _Plan:
    """Which operations of a graph last, and which are made anew for each epoch."""

    def __init__(self, definition: Any) -> None:
        self._definition = definition
        self._nodes = {node.name: node for node in definition.node}
        (self._end,) = (node for node in definition.node if node.op == "_Retval")
        self.output = _source(self._end.input[0])
        self._drawing = _names_of_drawing(definition)
        kept: set[str] = set()  # a cache has the order of its first reading
        for node in definition.node:
            if node.op in _CACHES:
                kept |= self._above(node.name, set())
        self._live: dict[str, bool] = dict.fromkeys(kept, False)
        self.lasting = sorted(self._edges(self.output, set()))

    def down_to(self, name: str) -> Any:
        """The graph that gives the operation `name`."""
        return self._part(self._above(name, set()), name)

    def on_top(self) -> Any:
        """The graph of what is made anew; what lasts is missing in it."""
        return self._part(self._above(self.output, set(self.lasting)), None)

    def _part(self, names: set[str], output: str | None) -> Any:
        made = library().compat.v1.GraphDef()
        made.versions.CopyFrom(self._definition.versions)
        made.node.extend(node for node in self._definition.node if node.name in names)
        made.library.function.extend(_functions(made.node, self._definition.library))
        if output is not None:
            made.node.add().CopyFrom(self._end)
            made.node[-1].input[0] = output
        return made

    def _above(self, name: str, without: set[str]) -> set[str]:
        """`name` and what it is made of, without what is `without` and above."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            one = waiting.pop()
            if one not in found and one not in without:
                found.add(one)
                waiting.extend(map(_source, self._nodes[one].input))
        return found

    def _is_live(self, name: str) -> bool:
        if name not in self._live:
            node = self._nodes[name]
            self._live[name] = name in self._drawing or any(self._is_live(_source(one)) for one in node.input)
        return self._live[name]

    def _edges(self, name: str, seen: set[str]) -> Iterator[str]:
        """The lasting data sets right below those that are made anew."""
        if name in seen:
            return
        seen.add(name)
        node = self._nodes[name]
        if not self._is_live(name) and "Dataset" in node.op:
            yield name
            return
        for one in node.input:
            yield from self._edges(_source(one), seen)


def _names_of_drawing(definition: Any) -> set[str]:
    """Names of the data sets that draw, themselves or by a function of theirs."""
    functions = {one.signature.name: one for one in definition.library.function}
    draws: dict[str, bool] = {}

    def function_draws(name: str) -> bool:
        if name not in draws:
            draws[name] = False  # while one looks: functions may call themselves
            draws[name] = any(node_draws(node) for node in functions[name].node_def)
        return draws[name]

    def node_draws(node: Any) -> bool:
        own = node.op in _DRAWING or _has_seeds(node)
        return own or any(function_draws(name) for name in _called(node) if name in functions)

    return {node.name for node in definition.node if "Dataset" in node.op and node_draws(node)}


def _called(node: Any) -> Iterator[str]:
    """Names of functions that an operation calls."""
    yield node.op
    for _, value in sorted(node.attr.items()):
        yield value.func.name
        yield from (one.name for one in value.list.func)


def _has_seeds(node: Any) -> bool:
    return "seed" in node.attr and "seed2" in node.attr


# --- seeds -----------------------------------------------------------------------------------------------------------


def seeded(definition: Any, seed: int, epoch: int = 0, *, anew: bool = False, alike: bool = False) -> Any:
    """A ``GraphDef`` with operations that draw from seeds of their own.

    What has no seed gets one of (seed, epoch); a shuffle that has one keeps it in epoch 0, and in the others has one of
    (its seed, epoch), unless it is to give the same order again. Arguments as of `Orders`.
    """
    made = library().compat.v1.GraphDef()
    made.CopyFrom(definition)
    functions = _functions(made.node, made.library)
    _seed_nodes(made.node, _Seeds(seed, epoch, anew, "top"), alike)
    for number, one in enumerate(functions):
        _seed_nodes(one.node_def, _Seeds(seed, epoch, anew, f"f{number}"), alike)
    _rename(made, functions)
    return made


def _seed_nodes(nodes: Any, seeds: _Seeds, alike: bool) -> None:
    by_name = {node.name: node for node in nodes}
    for number, node in enumerate(list(nodes)):
        if alike and "deterministic" in node.attr:
            node.attr["deterministic"].s = b"true"
        if node.op in _DRAWING:
            _seed_drawing(node, nodes, by_name, seeds.of(number))
        elif _has_seeds(node):
            _seed_numbers(node, seeds.of(number))


def _rename(definition: Any, functions: list[Any]) -> None:
    """Names by content: in a process a name is one function's, and other graphs may have the same names."""
    content = hashlib.sha256()
    for one in functions:
        content.update(one.SerializeToString(deterministic=True))
    names = {one.signature.name: f"{one.signature.name}_{content.hexdigest()[:16]}" for one in functions}
    for node in (*definition.node, *(node for one in functions for node in one.node_def)):
        if node.op in names:
            node.op = names[node.op]
        called = [one for value in node.attr.values() for one in (value.func, *value.list.func)]
        for one in (one for one in called if one.name in names):
            one.name = names[one.name]
    for one in functions:
        one.signature.name = names[one.signature.name]


@dataclass(frozen=True, slots=True)
class _Seeds:
    """Gives an operation its seeds."""

    seed: int
    epoch: int
    anew: bool
    where: str
    number: int = 0

    def of(self, number: int) -> _Seeds:
        """Those of one operation."""
        return _Seeds(self.seed, self.epoch, self.anew, self.where, number)

    def drawn(self, *, changing: bool) -> np.ndarray:
        """Two seeds, others in each epoch if they are `changing`."""
        return _drawn(self.seed, self.where, self.number, self.epoch if changing else 0)

    def instead_of(self, own: tuple[int, ...] | None, *, changing: bool) -> np.ndarray | None:
        """In place of an operation's own seeds, None where they are computed; None where they stay."""
        if self.anew or own == (0, 0):
            return self.drawn(changing=changing)
        if own is None:
            return None
        if changing and self.epoch and self.where == "top":
            return _drawn(*own, self.epoch)
        return None


def _seed_numbers(node: Any, seeds: _Seeds) -> None:
    """An operation that draws random numbers."""
    if seeds.anew or not (node.attr["seed"].i or node.attr["seed2"].i):
        node.attr["seed"].i, node.attr["seed2"].i = map(int, seeds.drawn(changing=True))


def _seed_drawing(node: Any, nodes: Any, by_name: dict[str, Any], seeds: _Seeds) -> None:
    tf, kind = library(), _DRAWING[node.op]
    top = seeds.where == "top"
    own = _constants([by_name.get(_source(name)) for name in node.input[kind.seeds : kind.seeds + 2]])
    node.op = kind.plain
    del node.input[kind.inputs :]
    changing = node.attr[kind.anew].b if kind.anew in node.attr else kind is not _RANDOM or own == (0, 0)
    if kind is _RANDOM and kind.anew in node.attr:
        del node.attr[kind.anew]  # which the plain operation does not have
    values = seeds.instead_of(own, changing=changing)
    for place, value in enumerate(values if values is not None else ()):
        made = nodes.add(op="Const", name=f"{node.name}/zoo_seed_{place}")
        made.attr["dtype"].type = tf.int64.as_datatype_enum
        made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int64, ()))
        node.input[kind.seeds + place] = made.name if top else f"{made.name}:output:0"


def _constants(nodes: list[Any]) -> tuple[int, ...] | None:
    """The values of constants; None where other operations are among them."""
    if any(node is None or node.op != "Const" for node in nodes):
        return None
    return tuple(int(library().make_ndarray(node.attr["value"].tensor)) for node in nodes)


def _functions(nodes: Any, library: Any) -> list[Any]:
    """The functions that operations call, in the order of these: names and places in a library differ by process."""
    functions = {one.signature.name: one for one in library.function}
    found: dict[str, Any] = {}

    def look(nodes: Any) -> None:
        for node in nodes:
            for name in _called(node):
                if name in functions and name not in found:
                    found[name] = functions[name]
                    look(functions[name].node_def)

    look(nodes)
    return list(found.values())


def _source(name: str) -> str:
    """The operation that an input comes from."""
    return name.lstrip("^").partition(":")[0]


def _drawn(*key: Any) -> np.ndarray:
    """Two seeds."""
    text = "/".join(map(str, key))
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], np.int64) >> 1
