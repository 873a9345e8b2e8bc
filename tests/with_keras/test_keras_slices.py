"""Keras on ranks that each update a slice of the weights: on the backend of the environment, in one gang of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from zoo.engine.clusters.local import LocalCluster
from zoo.engine.collectives import join
from zoo.engine.contracts import Batch, Rank
from zoo.engine.errors import UsageError
from zoo.engine.events.sinks import MemorySink
from zoo.engine.frameworks.keras.passes import Layout
from zoo.engine.frameworks.keras.slices import check_elementwise
from zoo.engine.frameworks.keras.spec import KerasSpec
from zoo.engine.jobs import Columns
from zoo.engine.optim import SGD, ConstantClip, NormClip
from zoo.engine.progress import Progress

HERE = keras.backend.backend()
SPLITS = [(5, 3), (8, 0), (1, 7), (4, 4)]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("adam", {}),
    "adamw, a schedule of Keras": ("adamw", {}),
    "plain": ("plain", {"clip": ConstantClip(-0.05, 0.05)}),
    "ours, norm, decay": ("adam", {"optimizer": SGD(0.1, momentum=0.9, weightdecay=0.01), "clip": NormClip(0.3)}),
}


def optimizer(name: str) -> Any:
    if name == "adamw":
        return keras.optimizers.AdamW(keras.optimizers.schedules.PolynomialDecay(0.02, 40))
    return keras.optimizers.Adam(0.02) if name == "adam" else keras.optimizers.SGD(0.1)


def model_of(name: str, config: Any) -> Any:
    """Of sizes that two does not divide, with statistics."""
    wide = [layers.Dense(11, activation="tanh"), layers.BatchNormalization(), layers.Dense(1, use_bias=False)]
    model = keras.Sequential([keras.Input((3,)), *wide])
    model.compile(optimizer=optimizer(name), loss="mse", metrics=["mae"])
    return model


def spec_of(case: str) -> KerasSpec:
    name, words = CASES[case]
    return KerasSpec(model=partial(model_of, name), backend=HERE, columns=Columns(("x",), ("y",)), **words)


def rows(step: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)
    return x, x.sum(1, keepdims=True)


def train(group: Any, replica: Any, rank: Rank, steps: range) -> None:
    for step in steps:
        split = SPLITS[step]
        start = sum(split[: rank.index])
        mine = slice(start, start + split[rank.index])
        x, y = rows(step)
        with group.average([split[rank.index] / 8]) as (ready,):
            replica.backward(Batch((x[mine],), (y[mine],), split[rank.index], 8), ready)
        replica.update(Progress(step=step))


def memory_of(replica: Any) -> int:
    """Elements that its optimizer remembers, but for those that there are once."""
    return sum(int(np.prod(v.shape)) for v in replica._passes.optimizer.variables if len(v.shape))


def scene(rank: Rank, shards: Mapping[str, Any], sink: Any) -> dict[str, Any]:
    answers = {}
    with closing(join(rank, 60.0)) as group:
        for case in CASES:
            found, held = [], []
            for shared in (None, group):
                replica = spec_of(case).build(rank, shared)
                replica.load(group.broadcast(replica.state()))
                train(group, replica, rank, range(2))
                if case == "adam":
                    middle = group.broadcast(replica.state() if shared or rank.index == 0 else None)
                    replica = spec_of(case).build(rank, shared)  # another run goes on from there
                    replica.load(middle)
                train(group, replica, rank, range(2, 4))
                held.append(memory_of(replica))
                state = replica.state() if shared or rank.index == 0 else None
                found.append({} if state is None else {k.partition(".")[0]: v for k, v in state.arrays.items()})
            answers[case] = held, found, float(replica.readings["LearningRate"])
    return answers


def test_slices_end_with_the_weights_and_the_memory_of_an_allreduce() -> None:
    answers = LocalCluster(2).gang(scene, {}, 2, MemorySink())
    for case in CASES:
        (whole, cut), rate = answers[0][case][1:]
        assert whole.keys() == cut.keys() and len(whole) >= 8
        assert max(float(np.abs(whole[k].astype(float) - cut[k].astype(float)).max()) for k in whole) < 1e-5, case
        held = [answer[case][0] for answer in answers]
        padding = 2 if held[0][0] else 0
        assert sum(cut for _, cut in held) <= held[0][0] + padding, case
        assert max(cut for _, cut in held) <= held[0][0] / 2 + padding / 2, case
        assert answers[1][case][2] == rate > 0
    assert answers[0]["adam"][0][0] == 2 * (3 * 11 + 11 + 2 * 11 + 11)


@given(shapes=st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=5), slices=st.integers(1, 5))
def test_gradients_are_padded_to_whole_slices(shapes: list[tuple[int, ...]], slices: int) -> None:
    layout = Layout(tuple(shapes), ((3,),), "float32", slices)
    assert layout.cut % slices == 0 and 0 <= layout.padding < slices
    flat = np.arange(layout.size, dtype=np.float32)
    gradients, (statistics,) = layout.arrays(flat)
    assert [g.shape for g in gradients] == shapes
    assert np.array_equal(np.concatenate([np.empty(0), *map(np.ravel, gradients)]), flat[: sum(layout.sizes)])
    assert flat[layout.loss] == layout.cut and flat[layout.stop] == layout.cut + 1
    assert statistics.tolist() == flat[-3:].tolist()
    assert layout.arrays(flat[: layout.cut])[1] == []


def excluding() -> Any:
    made = keras.optimizers.AdamW()
    made.exclude_from_weight_decay(var_names=["bias"])
    return made


class Own(keras.optimizers.Adam):
    """May do anything."""


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "Lamb": (lambda: keras.optimizers.Lamb(), "only SGD, Adam"),
    "Own": (Own, "only SGD, Adam"),
    "LossScaleOptimizer": (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "only SGD, Adam"),
    "clipnorm": (lambda: keras.optimizers.Adam(clipnorm=1.0), "clipnorm looks at whole"),
    "ema": (lambda: keras.optimizers.Adam(use_ema=True), "use_ema"),
    "excluding": (excluding, "excluded"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_optimizer_that_looks_at_whole_weights_is_refused(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(UsageError, match=f"cannot do: .*{reason}.*leave sync out"):
        check_elementwise(make(), model_of("adam", None))


def test_a_constraint_is_refused_before_anything_starts() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, kernel_constraint="non_neg")])
    model.compile("adam", "mse")
    with pytest.raises(UsageError, match="a weight of the model has a constraint"):
        KerasSpec(model=model, backend=HERE).check_sharded(())
    KerasSpec(model=model_of("adam", None), backend=HERE).check_sharded(())
