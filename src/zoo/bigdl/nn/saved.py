"""Layers in files: one safetensors file, whose head holds the layers as JSON. No pickle.

Owns: the format and its version.
Leaves: atomic writing (zoo.engine.storage), BigDL's own protobuf files (zoo.pipeline.api.net).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from zoo.bigdl.nn.containers import Container
from zoo.bigdl.nn.definition import LAYERS
from zoo.bigdl.nn.graph import Model, Node
from zoo.bigdl.nn.module import Layer
from zoo.bigdl.optim.regularizers import L1L2Regularizer
from zoo.engine import storage
from zoo.engine.errors import UsageError

VERSION = 1
_KEY = "zoo.bigdl"


def write(model: Layer, url: str, weights_url: str | None = None, over_write: bool = False) -> str:
    """Writes a layer and all in it; returns `url`.

    Raises:
        UsageError: a file is there already; a module that is no layer of `zoo.bigdl.nn`; arguments that are no values.
    """
    for one in (url, weights_url):
        if one is not None and not over_write and storage.exists(one):
            raise UsageError(f"{storage.masked(one)} is there already. Say over_write=True to replace it.")
    from safetensors.numpy import save

    told = {_KEY: json.dumps({"version": VERSION, **_Writing().described(model)})}
    arrays = {name: np.ascontiguousarray(one.detach().cpu().numpy()) for name, one in model.state_dict().items()}
    if weights_url is not None:
        storage.write_atomically(weights_url, save(arrays))
    storage.write_atomically(url, save({} if weights_url is not None else arrays, told))
    return url


def read(url: str, weights_url: str | None = None) -> Layer:
    """The layer of a file that `write` has written.

    Raises:
        UsageError: it is another file, damaged, of a newer version, or has its weights elsewhere.
    """
    told, arrays = _parsed(url)
    if told is None:
        raise UsageError(
            f"{storage.masked(url)} was not written by saveModel of zoo.bigdl. Files of BigDL itself are read by "
            "zoo.pipeline.api.net.Net.load_bigdl."
        )
    if told["version"] > VERSION:
        raise UsageError(
            f"{storage.masked(url)} has version {told['version']} of the format; this zoo reads up to {VERSION}: "
            "a newer zoo is needed."
        )
    reading = _Reading(told["layers"])
    model = reading.layer(told["root"])
    if weights_url is not None:
        arrays = _parsed(weights_url)[1]
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        place = storage.masked(weights_url or url)
        raise UsageError(f"the weights in {place} are not those of its layers (weightPath=...?): {error}") from error
    for number, layer in reading.made.items():
        if told["layers"][number].get("frozen"):
            layer.freeze()
    return model


def _parsed(url: str) -> tuple[Any, dict[str, np.ndarray]]:
    """(what the head tells, or None; arrays)."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = storage.read_bytes(url)
    try:
        arrays = load(data)
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError):
        return None, {}
    told = head.get("__metadata__", {}).get(_KEY)
    return (None if told is None else json.loads(told)), arrays


class _Writing:
    """Layers as a list of plain values; a layer that is used twice is written once."""

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.numbers: dict[int, int] = {}

    def described(self, model: Layer) -> dict[str, Any]:
        root = self.number(model)
        return {"root": root, "layers": self.layers}

    def number(self, one: Any) -> int:
        if id(one) in self.numbers:
            return self.numbers[id(one)]
        kind = type(one).__name__
        if not isinstance(one, Layer) or (type(one) is not Model and LAYERS.get(kind) is not type(one)):
            raise UsageError(
                f"{type(one).__module__}.{kind} is no layer of zoo.bigdl.nn.layer, and its code does not go into a "
                "file. Keep its weights: torch.save(model.state_dict(), path)."
            )
        told: dict[str, Any] = {"class": kind, "name": one.name()}
        told["arguments"] = {name: self.value(kind, name, value) for name, value in one.arguments.items()}
        own = one.own_weights()
        if own and not any(weight.requires_grad for _, weight in own):
            told["frozen"] = True
        if isinstance(one, Model):
            told["graph"] = self.graph(one)
        elif isinstance(one, Container):
            told["children"] = [self.number(child) for child in one.layers]
        self.numbers[id(one)] = len(self.layers)
        self.layers.append(told)
        return self.numbers[id(one)]

    def graph(self, model: Model) -> dict[str, Any]:
        places = {id(node): place for place, node in enumerate(model.order)}
        nodes = [[self.number(node.layer), [places[id(one)] for one in node.parents]] for node in model.order]
        ends = {end: [places[id(node)] for node in getattr(model, end)] for end in ("inputs", "outputs")}
        return {"nodes": nodes, **ends}

    def value(self, kind: str, name: str, value: Any) -> Any:
        if name.startswith("init_") and hasattr(value, "__array__"):
            return None  # the weights themselves are in the file
        if isinstance(value, Layer):
            return {"$layer": self.number(value)}
        if hasattr(value, "l1") and hasattr(value, "l2"):
            return {"$penalty": [float(value.l1), float(value.l2)]}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, list | tuple):
            return [self.value(kind, name, one) for one in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise UsageError(f"{kind}: the argument {name} is no plain value, which a file could hold: {value!r}")


class _Reading:
    """The way back."""

    def __init__(self, told: list[Mapping[str, Any]]) -> None:
        self.told = told
        self.made: dict[int, Layer] = {}

    def layer(self, number: int) -> Layer:
        if number not in self.made:
            told = self.told[number]
            self.made[number] = self.model(told["graph"]) if "graph" in told else self.plain(told)
            self.made[number].set_name(told["name"])
        return self.made[number]

    def plain(self, told: Mapping[str, Any]) -> Layer:
        if told["class"] not in LAYERS:
            raise UsageError(f"the file holds a layer {told['class']}, which this zoo does not know.")
        made = LAYERS[told["class"]](**{name: self.value(value) for name, value in told["arguments"].items()})
        for place, number in enumerate(told.get("children", ())):
            made.add_module(str(place), self.layer(number))
        return made

    def model(self, told: Mapping[str, Any]) -> Layer:
        nodes: list[Node] = []
        for number, parents in told["nodes"]:
            nodes.append(Node(self.layer(number), [nodes[place] for place in parents]))
        return Model([nodes[place] for place in told["inputs"]], [nodes[place] for place in told["outputs"]])

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, dict):
            if "$layer" in value:
                return self.layer(value["$layer"])
            return L1L2Regularizer(*value["$penalty"])
        return value
