"""The replica does what the plain PyTorch loop does: bit for bit on one rank, up to rounding on many."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import warm
from zoo.engine.collectives import join
from zoo.engine.contracts import Batch, Rank
from zoo.engine.errors import DataError, UsageError
from zoo.engine.frameworks.torch import buckets as bucketing
from zoo.engine.frameworks.torch.optim import RateControl
from zoo.engine.frameworks.torch.replica import TorchReplica
from zoo.engine.frameworks.torch.runner import Parts, Settings
from zoo.engine.optim import NormClip
from zoo.engine.progress import Progress

TIMEOUT = 20.0
SPLITS = {1: [(8,)] * 6, 2: [(3, 5), (8, 0), (1, 7), (0, 8), (4, 4)], 3: [(3, 4, 1), (0, 8, 0), (2, 0, 6), (1, 1, 6)]}
"""Rows of each step, by rank."""


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Two(nn.Module):
    """Two inputs, two outputs, tied weights, a frozen layer, one layer used now and then and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.tied, self.other = nn.Linear(5, 5), nn.Linear(5, 5)
        self.other.weight = self.tied.weight
        self.sometimes, self.never, self.frozen = nn.Linear(5, 1), nn.Linear(5, 5), nn.Linear(5, 5)
        self.frozen.requires_grad_(False)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor, flag: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.frozen(torch.tanh(self.other(torch.tanh(self.tied(x)))))
        extra = self.sometimes(hidden) if flag.sum() > 0 else hidden[:, :1]
        return self.head(hidden), extra


def two_losses(outputs: Any, targets: Any) -> Tensor:
    return F.cross_entropy(outputs[0], targets[0]) + F.mse_loss(outputs[1], targets[1])


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


CASES = {"mlp-adam": (Mlp, adam), "mlp-sgd": (Mlp, momentum), "two-adam": (Two, adam), "two-sgd": (Two, momentum)}


def case(name: str) -> tuple[nn.Module, Callable[..., Tensor], torch.optim.Optimizer]:
    torch.manual_seed(1)
    make, optimizer = CASES[name]
    model = make()
    return model, F.cross_entropy if make is Mlp else two_losses, optimizer(model)


def rows(name: str, step: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(step)
    x, y = rng.normal(size=(8, 5)).astype(np.float32), rng.integers(0, 3, 8)
    if name.startswith("mlp"):
        return (x,), (y,)
    flag = np.full(8, step % 2, np.float32)
    return (x, flag), (y, rng.normal(size=(8, 1)).astype(np.float32))


def plain(name: str, steps: int, clip: float | None = None) -> tuple[dict[str, Tensor], list[float]]:
    model, loss_of, optimizer = case(name)
    losses = []
    for step in range(steps):
        features, labels = (tuple(map(torch.from_numpy, arrays)) for arrays in rows(name, step))
        optimizer.zero_grad()
        loss = loss_of(model(*features), labels[0] if len(labels) == 1 else labels)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], clip)
        optimizer.step()
        losses.append(loss.item())
    return model.state_dict(), losses


def replica_of(name: str, rank: Rank | None = None, **settings: Any) -> TorchReplica:
    model, loss, optimizer = case(name)
    return TorchReplica(Parts(model, loss, RateControl(optimizer)), Settings(rank=rank or Rank(), **settings))


def train(
    collective: Any, replica: TorchReplica, rank: Rank, name: str, splits: Sequence[Sequence[int]]
) -> list[float]:
    losses, progress = [], Progress()
    for step, split in enumerate(splits):
        start = sum(split[: rank.index])
        mine = slice(start, start + split[rank.index])
        features, labels = ([array[mine] for array in arrays] for arrays in rows(name, step))
        batch = Batch(tuple(features), tuple(labels), split[rank.index], sum(split))
        with collective.average([batch.weight / sum(split)]) as (ready,):
            replica.backward(batch, ready)
        losses.append(replica.update(progress))
        progress = progress.after_step(losses[-1], sum(split))
    return losses


def weights(replica: TorchReplica) -> dict[str, np.ndarray]:
    return {k.removeprefix("model/"): v for k, v in replica.state().arrays.items() if k.startswith("model/")}


# --- one rank ---


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", CASES)
def test_one_rank_equals_the_plain_loop_bit_for_bit(name: str, clip: float | None) -> None:
    replica = replica_of(name, clip=NormClip(clip) if clip else None)
    losses = train(join(Rank(), 1.0), replica, Rank(), name, SPLITS[1])
    expected, expected_losses = plain(name, len(SPLITS[1]), clip)
    assert losses == expected_losses
    ours = weights(replica)
    assert ours.keys() == expected.keys()
    assert all(np.array_equal(ours[key], expected[key].numpy()) for key in ours)


def test_state_goes_back_in_time_exactly() -> None:
    def fresh() -> TorchReplica:
        torch.manual_seed(5)
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        return TorchReplica(Parts(model, F.cross_entropy, RateControl(adam(model))), Settings())

    solo, one = join(Rank(), 1.0), fresh()
    train(solo, one, Rank(), "mlp", SPLITS[1][:3])
    middle = copy.deepcopy(one.state())
    first = train(solo, one, Rank(), "mlp", SPLITS[1][:3])
    other = fresh()
    other.load(middle)
    assert train(solo, other, Rank(), "mlp", SPLITS[1][:3]) == first
    assert all(np.array_equal(array, one.state().arrays[name]) for name, array in other.state().arrays.items())
    assert other.state().values == one.state().values


def test_score_and_predict_leave_training_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    replica = TorchReplica(Parts(model, F.cross_entropy, RateControl(adam(model))), Settings())
    model[1].eval()  # a user's frozen statistics
    (x,), (y,) = rows("mlp", 0)
    loss, (output,) = replica.score(Batch((x,), (y,), 8))
    (prediction,) = replica.predict(Batch((x,), (), 8))
    assert np.array_equal(output, prediction) and output.shape == (8, 3)
    assert loss == pytest.approx(F.cross_entropy(torch.from_numpy(output), torch.from_numpy(y)).item())
    assert not any(module.training for module in model.modules())
    train(join(Rank(), 1.0), replica, Rank(), "mlp", SPLITS[1][:1])
    assert [module.training for module in model] == [True, False, True, True]
    assert replica.notice("before_train_epoch", Progress(), {}) is False
    assert model[1].training


def test_without_labels_the_score_has_no_loss() -> None:
    loss, outputs = replica_of("mlp-adam").score(Batch(rows("mlp", 0)[0], (), 8))
    assert np.isnan(loss) and outputs[0].shape == (8, 3)


def test_bfloat16_computes_in_bfloat16_and_gives_float32() -> None:
    replica = replica_of("mlp-adam", precision="bf16")
    exact = replica_of("mlp-adam")
    batch = Batch(rows("mlp", 0)[0], (), 8)
    (low,), (high,) = replica.predict(batch), exact.predict(batch)
    assert low.dtype == np.float32 and not np.array_equal(low, high)
    assert np.allclose(low, high, atol=0.05)
    assert np.array_equal(low, torch.from_numpy(low).bfloat16().float().numpy())
    train(join(Rank(), 1.0), replica, Rank(), "mlp", SPLITS[1])
    assert {array.dtype for array in weights(replica).values()} == {np.dtype(np.float32)}


def test_a_read_only_array_is_never_written() -> None:
    class Rude(Mlp):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(0))

    x = np.ones((8, 5), np.float32)
    x.flags.writeable = False
    model = Rude()
    TorchReplica(Parts(model), Settings()).predict(Batch((x,), (), 8))
    assert x.sum() == 40


def test_a_model_may_give_its_own_loss() -> None:
    class Own(Mlp):
        def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
            output = super().forward(x)
            return output if y is None else (F.cross_entropy(output, y), output)

    torch.manual_seed(1)
    model = Own()
    replica = TorchReplica(Parts(model, None, RateControl(adam(model))), Settings())
    losses = train(join(Rank(), 1.0), replica, Rank(), "mlp", SPLITS[1])
    assert losses == plain("mlp-adam", len(SPLITS[1]))[1]
    features, labels = rows("mlp", 0)
    loss, (output,) = replica.score(Batch(features, labels, 8))
    assert loss < losses[0] and output.shape == (8, 3)
    assert replica.predict(Batch(features, (), 8))[0].shape == (8, 3)


# --- mistakes ---


def one_step(model: nn.Module, loss: Any, features: Sequence[np.ndarray], *labels: np.ndarray) -> None:
    replica = TorchReplica(Parts(model, loss, RateControl(adam(model))), Settings())
    replica.backward(Batch(tuple(features), labels, 8), lambda bucket: None)


@pytest.mark.parametrize("loss", [nn.MSELoss(), F.l1_loss, nn.BCEWithLogitsLoss(), nn.SmoothL1Loss()])
def test_a_label_of_another_shape_is_refused(loss: Any) -> None:
    x, y = np.ones((8, 5), np.float32), np.ones(8, np.float32)
    with pytest.raises(UsageError, match=r"Output: float32 \(8, 1\); label: float32 \(8,\).*squeeze"):
        one_step(nn.Linear(5, 1), loss, [x], y)


def test_a_label_outside_the_classes_is_named() -> None:
    x, y = np.ones((8, 5), np.float32), np.arange(8)
    with pytest.raises(DataError, match="outside the model's 3 classes: labels of this batch run from 0 to 7"):
        one_step(Mlp(), nn.CrossEntropyLoss(), [x], y)


def test_a_label_of_floats_is_no_class_number() -> None:
    x, y = np.ones((8, 5), np.float32), np.zeros(8, np.float32)
    with pytest.raises(
        UsageError, match=r"class numbers, which are whole, and the label is float32 \(8,\).*cast\('long'\)"
    ):
        one_step(Mlp(), nn.CrossEntropyLoss(), [x], y)
    one_step(Mlp(), nn.CrossEntropyLoss(), [x], np.full((8, 3), 1 / 3, np.float32))  # these are probabilities


def test_a_loss_that_is_no_scalar_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Received: float32 \(8,\)"):
        one_step(Mlp(), nn.CrossEntropyLoss(reduction="none"), [np.ones((8, 5), np.float32)], np.zeros(8, int))


def test_an_error_of_the_model_names_what_it_was_given() -> None:
    with pytest.raises(RuntimeError) as caught:
        one_step(Mlp(), F.cross_entropy, [np.ones((8, 4), np.float32)], np.zeros(8, int))
    assert caught.value.__notes__ == ["The model was given: float32 (8, 4)."]
    with pytest.raises(IndexError) as missing:
        one_step(nn.Embedding(3, 2), F.cross_entropy, [np.arange(8)], np.zeros(8, int))
    assert missing.value.__notes__[0].endswith("int64 (8,). Ranges of whole-number inputs: input 0: 0 .. 7.")


def test_text_cannot_become_a_tensor() -> None:
    with pytest.raises(DataError, match=r"dtype <U1 and shape \(1,\)"):
        one_step(Mlp(), F.cross_entropy, [np.array(["a"])], np.zeros(8, int))


@pytest.mark.parametrize("wrong", [lambda x: x.sum(0), lambda x: x.sum(), lambda x: (x, x[:3])])
def test_predict_refuses_outputs_with_other_rows(wrong: Any) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return wrong(x)

    with pytest.raises(UsageError, match=r"wrong output shape in predict: 8 rows.*\(8, 5\)"):
        TorchReplica(Parts(Wrong()), Settings()).predict(Batch((np.ones((8, 5), np.float32),), (), 8))


# --- callbacks ---


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def before_train_iter(self, runner: Any) -> None:
        self.seen.append(("before", runner.batch_idx, runner.global_step, len(runner.batch)))

    def after_train_iter(self, runner: Any) -> None:
        self.seen.append(("after", runner.batch_idx, runner.global_step, runner.output.shape, runner.loss.item() > 0))
        if runner.global_step == 2:
            runner.stop()

    def after_train_epoch(self, runner: Any) -> None:
        self.seen.append(("epoch", runner.epochs, runner.epoch_stats))


def test_callbacks_see_the_run() -> None:
    recorder = Recorder()
    replica = replica_of("mlp-adam", callbacks=(recorder,))
    replica.notice("before_run", Progress(), {})
    replica.notice("before_train_epoch", Progress(), {})
    train(join(Rank(), 1.0), replica, Rank(), "mlp", SPLITS[1][:1])
    assert replica.notice("after_step", Progress(), {}) is False
    replica.backward(Batch(*rows("mlp", 1), 8), lambda bucket: None)
    replica.update(Progress(step=1))
    assert replica.notice("after_step", Progress(), {}) is True
    assert replica.notice("after_train_epoch", Progress(epoch=1, step=2, epoch_ended=True), {"train_loss": 1.0}) is True
    assert recorder.seen == [
        ("before", 0, 0, 2),
        ("after", 0, 1, (8, 3), True),
        ("before", 1, 1, 2),
        ("after", 1, 2, (8, 3), True),
        ("epoch", 1, {"train_loss": 1.0}),
    ]
    assert replica.notice("before_run", Progress(), {}) is False


class Accumulate:
    """Own forward and backward: the weights change every second step."""

    def on_iter_forward(self, runner: Any) -> None:
        *features, target = runner.batch
        runner.output = runner.model(*features)
        runner.loss = runner.criterion(runner.output, target) / 2

    on_train_forward = on_iter_forward

    def on_iter_backward(self, runner: Any) -> None:
        if runner.batch_idx % 2 == 0:
            runner.optimizer.zero_grad()
        runner.loss.backward()
        if runner.batch_idx % 2 == 1:
            runner.optimizer.step()


def accumulated(steps: int) -> dict[str, Tensor]:
    model, loss_of, optimizer = case("mlp-sgd")
    for step in range(steps):
        features, labels = (tuple(map(torch.from_numpy, arrays)) for arrays in rows("mlp", step))
        if step % 2 == 0:
            optimizer.zero_grad()
        (loss_of(model(*features), labels[0]) / 2).backward()
        if step % 2 == 1:
            optimizer.step()
    return model.state_dict()


# --- many ranks ---


def run_rank(scene: Callable[..., Any], rank: Rank, pipe: Any, extra: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        collective = join(rank, TIMEOUT)
        try:
            pipe.send((True, scene(collective, rank, *extra)))
        finally:
            collective.close()
    except Exception as error:
        pipe.send((False, (type(error).__name__, str(error), traceback.format_exc())))


def gang(scene: Callable[..., Any], world: int, folder: Any, *extra: Any) -> list[tuple[bool, Any]]:
    pipes, processes = [], []
    for index in range(world):
        ours, theirs = warm.processes.Pipe()
        rank = Rank(index=index, world=world, rendezvous=f"file://{folder}/store")
        processes.append(warm.processes.Process(target=run_rank, args=(scene, rank, theirs, extra), daemon=True))
        processes[-1].start()
        pipes.append(ours)
    answers = [pipe.recv() if pipe.poll(3 * TIMEOUT) else (False, ("Hang", "", "")) for pipe in pipes]
    for process in processes:
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
    return answers


def all_cases(collective: Any, rank: Rank) -> dict[str, Any]:
    bucketing.FIRST_BYTES, bucketing.BYTES = 64, 256  # several buckets even here
    answers: dict[str, Any] = {}
    for name in CASES:
        replica = replica_of(name, rank)
        replica.load(collective.broadcast(replica.state()))
        losses = train(collective, replica, rank, name, SPLITS[rank.world])
        answers[name] = losses, weights(replica), len(replica._buckets._buffers)  # type: ignore[union-attr]
    return answers


@pytest.mark.parametrize("world", [2, 3])
def test_many_ranks_equal_the_plain_loop(world: int, tmp_path: Any) -> None:
    answers = gang(all_cases, world, tmp_path)
    assert all(good for good, _ in answers), answers
    for name in CASES:
        expected, expected_losses = plain(name, len(SPLITS[world]))
        for _, answer in answers:
            losses, ours, count = answer[name]
            assert np.allclose(losses, expected_losses, atol=1e-6)
            assert max(float(abs(ours[key] - expected[key].numpy()).max()) for key in ours) < 1e-6, name
            assert count > 1
            assert all(np.array_equal(ours[key], answers[0][1][name][1][key]) for key in ours)


def odd_things(collective: Any, rank: Rank) -> dict[str, Any]:
    """What only happens between ranks."""
    answers: dict[str, Any] = {}

    replica = replica_of("mlp-sgd", rank, callbacks=(Accumulate(),))
    train(collective, replica, rank, "mlp", [(3, 5), (8, 0), (1, 7), (0, 8)])
    answers["accumulated"] = weights(replica)

    replica = replica_of("mlp-sgd", rank)
    train(collective, replica, rank, "mlp", [(4, 4)])
    before = weights(replica)
    replica._model.body[0].requires_grad_(False)  # type: ignore[union-attr, operator]
    replica._control().optimizer.zero_grad()
    train(collective, replica, rank, "mlp", [(4, 4)])
    after = weights(replica)
    answers["frozen"] = [bool((before[key] == after[key]).all()) for key in before]

    norm = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    replica = TorchReplica(Parts(norm, F.cross_entropy, RateControl(adam(norm))), Settings(rank=rank))
    replica.load(collective.broadcast(replica.state()))
    answers["random"] = torch.rand(3).tolist()
    train(collective, replica, rank, "mlp", [(3, 5), (8, 0), (2, 6)])
    answers["statistics"] = {key: array.tolist() for key, array in weights(replica).items() if "running" in key}

    class StopsOnRank1:
        def __init__(self, moment: str) -> None:
            setattr(self, moment, self.stop)

        def stop(self, runner: Any) -> None:
            if runner.rank == 1:
                runner.stop()

    for moment in ("before_train_iter", "after_train_iter"):
        replica = replica_of("mlp-sgd", rank, callbacks=(StopsOnRank1(moment),))
        answers[moment] = []
        for step in range(2):
            train(collective, replica, rank, "mlp", [(4, 4)])
            answers[moment].append(replica.notice("after_step", Progress(step=step), {}))

    sparse = nn.Sequential(nn.Embedding(8, 3, sparse=True), nn.Linear(3, 3))
    optimizer = torch.optim.SGD(sparse.parameters(), lr=0.1)
    replica = TorchReplica(Parts(sparse, F.cross_entropy, RateControl(optimizer)), Settings(rank=rank))
    with pytest.raises(UsageError, match="sparse=False"):
        replica.backward(Batch((np.arange(8),), (np.zeros(8, int),), 8), lambda bucket: None)
    return answers


def test_between_ranks(tmp_path: Any) -> None:
    answers = gang(odd_things, 2, tmp_path)
    assert all(good for good, _ in answers), answers
    expected = accumulated(4)
    one, two = (answer for _, answer in answers)
    for answer in (one, two):
        ours = answer["accumulated"]
        assert max(float(abs(ours[key] - expected[key].numpy()).max()) for key in ours) < 1e-6
        assert answer["frozen"] == [True, True, False, False]
        assert answer["before_train_iter"] == [True, True]
        assert answer["after_train_iter"] == [False, True]
    assert one["statistics"] == two["statistics"]
    assert one["random"] != two["random"]


def test_an_error_in_a_bucket_hook_keeps_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers are lost in the middle of backward, inside torch's engine."""
    monkeypatch.setattr(bucketing, "FIRST_BYTES", 1)
    monkeypatch.setattr(bucketing, "BYTES", 1)
    calls = []

    def broken(bucket: Any) -> None:
        calls.append(traceback.extract_stack())
        raise ConnectionError("gone")

    replica = replica_of("mlp-sgd", Rank(index=0, world=2))
    with pytest.raises(ConnectionError, match="gone"):
        replica.backward(Batch(*rows("mlp", 0), 8), broken)
    assert len(calls) == 1
    assert any(frame.name == "backward" and "torch" in frame.filename for frame in calls[0])
