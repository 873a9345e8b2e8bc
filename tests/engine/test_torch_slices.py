"""Ranks that each update a slice of the weights end where ranks end that update all of them: real processes, gloo."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import warm
from zoo.engine import optim
from zoo.engine.collectives import join
from zoo.engine.contracts import Batch, Rank, State
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch import buckets as bucketing
from zoo.engine.frameworks.torch.buckets import Buckets
from zoo.engine.frameworks.torch.elementwise import check_elementwise
from zoo.engine.frameworks.torch.optim import RateControl, build_optimizer
from zoo.engine.frameworks.torch.replica import TorchReplica
from zoo.engine.frameworks.torch.runner import Parts, Settings
from zoo.engine.frameworks.torch.slices import Slices
from zoo.engine.optim import Clip, ConstantClip, NormClip
from zoo.engine.progress import Progress

TIMEOUT = 20.0
SPLITS = {2: [(3, 5), (8, 0), (1, 7), (0, 8), (4, 4)], 3: [(3, 4, 1), (0, 8, 0), (2, 0, 6), (1, 1, 6)]}
"""Rows of each step, by rank."""


class Ragged(nn.Module):
    """Sizes that no number of ranks divides: a matrix of many rows, tied weights, a frozen layer, one used now and
    then and one never, a convolution in channels_last, a normalisation, a number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(53, 5)
        self.tied, self.other = nn.Linear(5, 5), nn.Linear(5, 5)
        self.other.weight = self.tied.weight
        self.sometimes, self.never, self.frozen = nn.Linear(5, 1), nn.Linear(5, 5), nn.Linear(5, 5)
        self.frozen.requires_grad_(False)
        self.picture = nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
        self.norm, self.scale, self.head = nn.BatchNorm1d(5), nn.Parameter(torch.tensor(0.7)), nn.Linear(8, 3)

    def forward(self, x: Tensor, rows: Tensor, flag: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.frozen(torch.tanh(self.other(torch.tanh(self.tied(x + self.table(rows))))))
        seen = self.picture(x[:, :4].reshape(-1, 1, 2, 2).expand(-1, 2, 2, 2)).flatten(1)
        extra = self.sometimes(hidden) if flag.sum() > 0 else hidden[:, :1]
        return self.head(torch.cat([self.scale * hidden, seen], 1)), extra


def two_losses(outputs: Any, targets: Any) -> Tensor:
    return F.cross_entropy(outputs[0], targets[0]) + F.mse_loss(outputs[1], targets[1])


def in_groups(model: nn.Module) -> torch.optim.Optimizer:
    """Weights decay, biases do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    flat, deep = ([p for p in trained if (p.ndim > 1) is kind] for kind in (False, True))
    return torch.optim.AdamW([{"params": deep}, {"params": flat, "weight_decay": 0.0, "lr": 0.003}], lr=0.01)


class Nesterov(torch.optim.Optimizer):
    """A user's own, elementwise."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    state["mean"] = state.get("mean", torch.zeros_like(p)).mul(0.9).add(p.grad)
                    state["seen"] = state.get("seen", 0) + 1
                    p.add_(p.grad.add(state["mean"], alpha=0.9), alpha=-group["lr"])


def described(given: optim.Optimizer) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: build_optimizer(given, model, {})


O = torch.optim  # noqa: E741
OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda m: O.SGD(m.parameters(), 0.1),
    "momentum": lambda m: O.SGD(m.parameters(), 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda m: O.Adam(m.parameters(), 0.01, amsgrad=True),
    "adam-fused": described(optim.Adam(0.01)),
    "adamw-groups": in_groups,
    "adagrad": lambda m: O.Adagrad(m.parameters(), 0.05),
    "adadelta": lambda m: O.Adadelta(m.parameters()),
    "adamax": described(optim.Adamax()),
    "rmsprop": lambda m: O.RMSprop(m.parameters(), 0.01, momentum=0.5, centered=True),
    "nadam": lambda m: O.NAdam(m.parameters()),
    "radam": lambda m: O.RAdam(m.parameters()),
    "asgd": lambda m: O.ASGD(m.parameters()),
    "rprop": lambda m: O.Rprop(m.parameters()),
    "ftrl": described(optim.Ftrl(0.05)),
    "own": lambda m: Nesterov(m.parameters(), 0.05),
}
CLIPS: dict[str, Clip] = {"norm": NormClip(0.3), "constant": ConstantClip(-0.02, 0.02)}
CLIPPED = [(name, clip) for name in ("adam", "momentum") for clip in CLIPS]
CASES = {
    2: [*((name, None) for name in OPTIMIZERS), *CLIPPED],
    3: [*((name, None) for name in ("momentum", "adam-fused", "adamw-groups", "adagrad", "own")), *CLIPPED],
}


def rows(step: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(step)
    x, y = rng.normal(size=(8, 5)).astype(np.float32), rng.integers(0, 3, 8)
    features = [x, rng.integers(0, 53, 8), np.full(8, step % 2, np.float32)]
    return features, [y, rng.normal(size=(8, 1)).astype(np.float32)]


def replica_of(name: str, clip: str | None, rank: Rank, group: Any = None, **words: Any) -> TorchReplica:
    torch.manual_seed(1)
    model = Ragged()
    optimizer = OPTIMIZERS[name](model)
    schedule = optim.Poly(0.5, 100)
    parts = Parts(model, two_losses, RateControl(optimizer, schedule if name != "adamw-groups" else None))
    return TorchReplica(parts, Settings(rank=rank, clip=CLIPS.get(clip or ""), **words), group)


def train(
    group: Any, replica: TorchReplica, rank: Rank, splits: Sequence[Sequence[int]], first: int = 0
) -> list[float]:
    losses, progress = [], Progress(step=first)
    for step, split in enumerate(splits, first):
        start = sum(split[: rank.index])
        mine = slice(start, start + split[rank.index])
        features, labels = (tuple(array[mine] for array in arrays) for arrays in rows(step))
        batch = Batch(features, labels, split[rank.index], sum(split))
        with group.average([batch.weight / sum(split)]) as (ready,):
            replica.backward(batch, ready)
        losses.append(replica.update(progress))
        progress = progress.after_step(losses[-1], sum(split))
    return losses


def memory_of(replica: TorchReplica) -> int:
    """Elements of the optimizer's memory of what it trains, but for what there is once for a whole weight."""
    states = [state for p, state in replica._control().optimizer.state.items() if p.requires_grad]
    return sum(v.numel() for s in states for k, v in s.items() if isinstance(v, Tensor) and v.ndim and k != "step")


def weights_of(replica: TorchReplica) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in replica._model.state_dict().items()}


def apart(one: Any, other: Any) -> float:
    assert one.keys() == other.keys()
    return max((float(np.abs(one[k].astype(float) - other[k].astype(float)).max(initial=0.0)) for k in one), default=0)


def skeleton(state: State) -> Any:
    """Everything but the arrays; weights in order, whichever had its first gradient first."""
    memory = state.values["optimizer"]
    states = sorted((index, sorted(entries["dict"])) for index, entries in memory["state"]["dict"])
    return {**state.values, "optimizer": [states, memory["param_groups"]]}


# --- many ranks ---


def run_rank(scene: Callable[..., Any], rank: Rank, pipe: Any) -> None:
    torch.set_num_threads(1)
    bucketing.FIRST_BYTES, bucketing.BYTES = 256, 700  # several buckets even here
    try:
        group = join(rank, TIMEOUT)
        try:
            pipe.send((True, scene(group, rank)))
        finally:
            group.close()
    except Exception as error:
        pipe.send((False, (type(error).__name__, str(error), traceback.format_exc())))


def gang(scene: Callable[..., Any], world: int, folder: Any) -> list[Any]:
    pipes, processes = [], []
    for index in range(world):
        ours, theirs = warm.processes.Pipe()
        rank = Rank(index=index, world=world, rendezvous=f"file://{folder}/store")
        processes.append(warm.processes.Process(target=run_rank, args=(scene, rank, theirs), daemon=True))
        processes[-1].start()
        pipes.append(ours)
    answers = [pipe.recv() if pipe.poll(3 * TIMEOUT) else (False, ("Hang", "", "")) for pipe in pipes]
    for process in processes:
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
    assert all(good for good, _ in answers), answers
    return [answer for _, answer in answers]


def every_optimizer(group: Any, rank: Rank) -> dict[Any, Any]:
    answers = {}
    for name, clip in CASES[rank.world]:
        whole, cut = replica_of(name, clip, rank), replica_of(name, clip, rank, group)
        losses = [train(group, replica, rank, SPLITS[rank.world]) for replica in (whole, cut)]
        held = memory_of(cut), memory_of(whole)
        state = cut.state()  # of all ranks at once
        answers[name, clip] = {
            "losses": losses, "held": held, "weights": weights_of(cut),
            "apart": apart(weights_of(whole), weights_of(cut)),
            "memory": apart(whole.state().arrays, state.arrays) if rank.index == 0 else 0.0,
            "skeleton": rank.index > 0 or skeleton(whole.state()) == skeleton(state),
            "count": len(cut._buckets._buffers),  # type: ignore[union-attr]
        }  # fmt: skip
    return answers


@pytest.mark.parametrize("world", [2, 3])
def test_slices_end_with_the_weights_of_an_allreduce_and_hold_a_share_of_the_memory(world: int, tmp_path: Any) -> None:
    answers = gang(every_optimizer, world, tmp_path)
    for case in CASES[world]:
        found = [answer[case] for answer in answers]
        exact = world == 2 and case[1] != "norm"  # a sum of two has one order, and each element is updated by itself
        for each in found:
            assert np.allclose(each["losses"][0], each["losses"][1], atol=2e-6), case
            assert each["apart"] <= (0 if exact else 2e-5), case
            assert each["memory"] <= (0 if exact else 2e-5), case
            assert each["skeleton"], case
            assert each["count"] > 3
            assert apart(each["weights"], found[0]["weights"]) == 0, case
        held, whole = [each["held"][0] for each in found], found[0]["held"][1]
        assert sum(held) == whole, case
        assert max(held) <= 1.3 * whole / world, case  # the buckets are tiny here, and their slices end in gaps


class Even(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 3001), nn.Linear(3001, 3)

    def forward(self, x: Tensor, rows: Tensor, flag: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.first(x))
        return self.second(hidden), hidden[:, :1]


def one_share(group: Any, rank: Rank) -> tuple[float, float]:
    """(memory held, bytes moved in a step) / the same of an allreduce."""
    bucketing.FIRST_BYTES, bucketing.BYTES = 1 << 14, 1 << 15
    found = []
    for shared in (None, group):
        model = Even()
        parts = Parts(model, two_losses, RateControl(O.Adam(model.parameters())))
        replica, before = TorchReplica(parts, Settings(rank=rank), shared), group.moved
        train(group, replica, rank, SPLITS[rank.world][:1])
        found.append((memory_of(replica), group.moved - before))
    (held, moved), (own, sent) = found
    return own / held, sent / moved


@pytest.mark.parametrize("world", [2, 3])
def test_each_rank_holds_its_nth_of_the_memory_and_sends_no_more(world: int, tmp_path: Any) -> None:
    for held, sent in gang(one_share, world, tmp_path):
        assert held == pytest.approx(1 / world, rel=0.01)
        assert sent == pytest.approx(1, rel=0.01)


class Meddler:
    """Sees gradients, clips weights in place."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def after_train_iter(self, runner: Any) -> None:
        self.seen.append(all(p.grad is None for p in runner.model.parameters() if p.requires_grad))
        with torch.no_grad():
            for p in runner.model.parameters():
                p.clamp_(-0.3, 0.3)


def odd_things(group: Any, rank: Rank) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    splits = SPLITS[rank.world]

    def both(deed: Callable[[TorchReplica], Any]) -> list[Any]:
        found = []
        for shared in (None, group):
            replica = replica_of("adam", None, rank, shared)
            train(group, replica, rank, splits[:2])
            deed(replica)
            train(group, replica, rank, splits[2:], 2)
            found.append(replica)
        return found

    def freeze(replica: TorchReplica) -> None:
        replica._model.tied.requires_grad_(False)  # type: ignore[union-attr, operator]
        replica._control().optimizer.zero_grad()
        replica._model.tied.weight.grad = None  # type: ignore[union-attr]

    def thaw(replica: TorchReplica) -> None:
        replica._model.frozen.requires_grad_(True)  # type: ignore[union-attr, operator]

    for name, deed in (("freeze", freeze), ("thaw", thaw)):
        whole, cut = both(deed)
        state = cut.state()
        answers[name] = apart(whole.state().arrays, state.arrays) if rank.index == 0 else 0.0

    def back(replica: TorchReplica) -> None:
        state = group.broadcast(replica.state())
        replica.load(state)
        replica.load(state)

    whole, cut = both(back)
    answers["loaded"] = apart(weights_of(whole), weights_of(cut))

    meddlers = [Meddler() for _ in range(2)]
    replicas = [replica_of("adam", None, rank, s, callbacks=(m,)) for s, m in zip((None, group), meddlers, strict=True)]
    for replica in replicas:
        train(group, replica, rank, [[9 - rank.world, *[1] * (rank.world - 1)]] * 3)  # it is called where rows are
    answers["meddled"] = apart(*map(weights_of, replicas))
    answers["gradients gone"] = meddlers[1].seen
    try:
        replicas[1]._runner.state_dict()
    except UsageError as error:
        answers["asked"] = str(error)

    replicas[1]._model.head.weight.data = torch.zeros(3, 8)  # type: ignore[union-attr]
    try:
        train(group, replicas[1], rank, splits[:1])
    except UsageError as error:
        answers["replaced"] = str(error)
    return answers


@pytest.mark.parametrize("world", [2, 3])
def test_what_may_happen_in_a_run_happens_to_slices_too(world: int, tmp_path: Any) -> None:
    for answer in gang(odd_things, world, tmp_path):
        for what in ("freeze", "thaw", "loaded", "meddled"):
            assert answer[what] < 2e-5, what
        assert answer["gradients gone"] and all(answer["gradients gone"])
        assert "save_weights_only=True" in answer["asked"]
        assert "shape (3, 8)" in answer["replaced"] and "in place" in answer["replaced"]


def messages(group: Any, rank: Rank) -> dict[str, Any]:
    """Slices of odd dtypes and sizes, the sums of a step beside them."""
    made: dict[str, Any] = {}
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for size in (0, 1, 7):
            bucket = torch.arange(size * rank.world).to(dtype) + rank.index
            rest = torch.full((3,), float(rank.index))
            for _ in range(2):  # the second time in the room of the first
                with group.average([0.5]) as (ready,):
                    sliced = bucket.clone()
                    ready(sliced, cut=True)
                    ready(tail := rest.clone())
            own = slice(rank.index * size, (rank.index + 1) * size)
            expected = sum(0.5 * (torch.arange(size * rank.world).to(dtype) + index) for index in range(rank.world))
            made[f"{dtype} {size}"] = bool(torch.allclose(sliced[own], expected[own])) and tail.tolist()  # type: ignore[index]
            whole = torch.full_like(bucket, -1)
            whole[own] = float(rank.index)
            group.complete([whole, whole.clone()])
            told = [float(index) for index in range(rank.world) for _ in range(size)]
            made[f"whole {dtype} {size}"] = whole.float().tolist() == told
    return made


@pytest.mark.parametrize("world", [2, 3])
def test_sums_come_in_slices_and_slices_become_the_whole(world: int, tmp_path: Any) -> None:
    for answer in gang(messages, world, tmp_path):
        for name, found in answer.items():
            assert found == (True if name.startswith("whole") else [0.5 * sum(range(world))] * 3), name


# --- one process ---


class Recorded:
    """A group of which only the messages of a collection are played: each rank's, in turn."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.told: list[Any] = []
        self.sent: list[np.ndarray] = []

    def gather(self, value: Any, patience: float = 0.0) -> list[Any]:
        self.told.append(value)
        return self.told if len(self.told) == self.world else []

    def exchange(self, outgoing: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.sent


@settings(max_examples=40)
@given(
    sizes=st.lists(st.lists(st.integers(1, 6), min_size=0, max_size=3), min_size=1, max_size=6),
    world=st.integers(2, 5),
    bytes_=st.integers(1, 400),
)
def test_pieces_lie_in_one_slice_and_cover_each_weight_once(sizes: list[list[int]], world: int, bytes_: int) -> None:
    before = bucketing.FIRST_BYTES, bucketing.BYTES
    bucketing.FIRST_BYTES = bucketing.BYTES = bytes_
    try:
        covered = [np.zeros(shape, int) for shape in sizes]
        for index in range(world):
            parameters = [nn.Parameter(torch.rand(shape)) for shape in sizes]
            values = [p.detach().clone() for p in parameters]
            buckets = Buckets(parameters, slices=world)
            optimizer = O.SGD(parameters, 1.0)
            made = Slices(optimizer, buckets, Recorded(world), Rank(index, world))  # type: ignore[arg-type]
            assert all(torch.equal(p, value) for p, value in zip(parameters, values, strict=True))
            assert all(len(buffer) % world == 0 for buffer in buckets.gradients)
            with torch.no_grad():
                for piece in made.weights:  # the pieces are the model's own memory
                    piece.add_(10)
            for count, p, value in zip(covered, parameters, values, strict=True):
                count += ((p.detach() - value) > 5).numpy()
            buckets.remove()
    finally:
        bucketing.FIRST_BYTES, bucketing.BYTES = before
    assert all((count == 1).all() for count in covered)


def test_memory_that_is_not_of_elements_is_refused() -> None:
    parameter = nn.Parameter(torch.rand(4, 3))
    optimizer = O.SGD([parameter], 0.1)
    optimizer.state[parameter] = {"rows": torch.zeros(4)}
    with pytest.raises(UsageError, match=r"'rows' of shape \(4,\) belongs to a weight of shape \(4, 3\)"):
        Slices(optimizer, Buckets([parameter], slices=2), Recorded(2), Rank(0, 2))  # type: ignore[arg-type]


# --- which optimizers ---


class Lamb(Nesterov):
    """Each tensor's step is as long as the tensor."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for p in itertools.chain.from_iterable(group["params"] for group in self.param_groups):
            p.add_(p.grad / p.grad.norm() * p.norm(), alpha=-0.01)


class Ahead(Nesterov):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.inner = O.SGD(self.param_groups[0]["params"], lr)


class Asks(Nesterov):
    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure()


class Lazy(Nesterov):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass


REFUSED = {
    "LBFGS": (lambda p: O.LBFGS(p), "closure"),
    "Adafactor": (lambda p: O.Adafactor(p), "depends on other elements"),
    "SparseAdam": (lambda p: O.SparseAdam(p), "dense gradients"),
    "Lamb": (lambda p: Lamb(p, 0.1), "depends on other elements"),
    "Ahead": (lambda p: Ahead(p, 0.1), "holds another optimizer"),
    "Asks": (lambda p: Asks(p, 0.1), "closure"),
    "Lazy": (lambda p: Lazy(p, 0.1), "leaves the weights"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_optimizer_that_looks_at_whole_tensors_is_refused(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(UsageError, match=f"(?s){name} cannot do: .*{reason}.*AdamW"):
        check_elementwise(make([nn.Parameter(torch.ones(3, 4))]))


def test_the_check_changes_nothing() -> None:
    parameter = nn.Parameter(torch.ones(3, 4))
    parameter.grad = torch.ones(3, 4)
    optimizer = Nesterov([parameter], 0.1)
    O.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)  # begins with a rate of 0, and puts itself into step()
    random = torch.get_rng_state()
    check_elementwise(optimizer)
    assert torch.equal(parameter, torch.ones(3, 4)) and not optimizer.state
    assert optimizer.param_groups[0]["lr"] == 0.0 and optimizer.param_groups[0]["params"] == [parameter]
    assert torch.equal(random, torch.get_rng_state())
