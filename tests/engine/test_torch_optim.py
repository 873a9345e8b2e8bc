import json
import pickle

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_rates

from zoo.engine import optim
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.optim import (
    RateControl,
    build_optimizer,
    check_optimizer,
    clip_gradients,
    control_rate,
)
from zoo.engine.frameworks.torch.plain import from_plain, to_plain
from zoo.engine.optim import SequentialSchedule, Step, Warmup
from zoo.engine.progress import Progress

START = np.array([0.5, -1.0, 2.0, 0.0, -0.3, 1.5])
STEPS = 7


def gradient(w, step):
    """Of a quadratic bowl that moves; the fourth weight never has one."""
    return np.array([1.0, 2.0, 0.5, 0.0, 3.0, 1e-3]) * (w - np.sin(step + np.arange(6)))


class Weights(torch.nn.Module):
    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(START, dtype=dtype))


def trained(given, steps=STEPS, dtype=torch.float64):
    """The weights after each step of the optimizer under test."""
    model = Weights(dtype)
    optimizer = build_optimizer(given, model, {})
    control = control_rate(given, optimizer, None, {})
    path = []
    for step in range(steps):
        model.w.grad = torch.tensor(gradient(model.w.detach().double().numpy(), step), dtype=dtype)
        control.before_update(step)
        optimizer.step()
        control.after_update()
        path.append(model.w.detach().double().numpy().copy())
    return np.array(path)


def defined(update, steps=STEPS):
    """The weights after each step of `update(w, g, step, memory)`, in numpy."""
    w, memory, path = START.copy(), {}, []
    for step in range(steps):
        w = update(w, gradient(w, step), step, memory)
        path.append(w.copy())
    return np.array(path)


def sgd(lr, momentum=0.0, dampening=0.0, decay=0.0, l2=0.0, nesterov=False):
    def update(w, g, step, memory):
        g = g + l2 * w
        v = memory["v"] = g if step == 0 else momentum * memory["v"] + (1 - dampening) * g
        return w - lr / (1 + decay * step) * (g + momentum * v if nesterov else v)

    return update


def adam(lr, b1=0.9, b2=0.999, eps=1e-8, decay=0.0):
    def update(w, g, step, memory):
        m = memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
        v = memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g * g
        t = step + 1
        return w - lr / (1 + decay * step) * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)

    return update


def adagrad(lr, decay=0.0, l2=0.0):
    def update(w, g, step, memory):
        g = g + l2 * w
        n = memory["n"] = memory.get("n", 0) + g * g
        return w - lr / (1 + decay * step) * g / (np.sqrt(n) + 1e-10)

    return update


def adadelta(rho, eps):
    def update(w, g, step, memory):
        n = memory["n"] = rho * memory.get("n", 0) + (1 - rho) * g * g
        change = np.sqrt(memory.get("d", 0) + eps) / np.sqrt(n + eps) * g
        memory["d"] = rho * memory.get("d", 0) + (1 - rho) * change**2
        return w - change

    return update


def adamax(lr, b1=0.9, b2=0.999):
    def update(w, g, step, memory):
        m = memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
        u = memory["u"] = np.maximum(b2 * memory.get("u", 0), np.abs(g) + 1e-37)
        return w - lr / (1 - b1 ** (step + 1)) * m / u

    return update


def rmsprop(lr, alpha, decay=0.0):
    def update(w, g, step, memory):
        n = memory["n"] = alpha * memory.get("n", 0) + (1 - alpha) * g * g
        return w - lr / (1 + decay * step) * g / (np.sqrt(n) + 1e-8)

    return update


def ftrl(lr, power=-0.5, start=0.1, l1=0.0, l2=0.0, shrinkage=0.0):
    """TensorFlow's ApplyFtrlV2, coordinate by coordinate."""

    def update(w, g, step, memory):
        n, z = memory.setdefault("n", np.full(6, start)), memory.setdefault("z", np.zeros(6))
        for i in range(6):
            new = n[i] + g[i] ** 2
            z[i] += g[i] + 2 * shrinkage * w[i] - (new**-power - n[i] ** -power) / lr * w[i]
            n[i] = new
            w[i] = (np.sign(z[i]) * l1 - z[i]) / (new**-power / lr + 2 * l2) if abs(z[i]) > l1 else 0.0
        return w

    return update


def bert_adam(lr, b1=0.9, b2=0.999, eps=1e-6, decay=0.01, rate=lambda step: 1.0):
    def update(w, g, step, memory):
        memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
        memory["v"] = b2 * memory.get("v", 0.0) + (1 - b2) * g**2
        return w - lr * rate(step) * (memory["m"] / (np.sqrt(memory["v"]) + eps) + decay * w)

    return update


DEFINITIONS = {
    "sgd": (optim.SGD(0.1), sgd(0.1)),
    "sgd decays": (optim.SGD(0.1, 0.5, weightdecay=0.01), sgd(0.1, decay=0.5, l2=0.01)),
    "momentum dampens by itself": (optim.SGD(0.1, momentum=0.9), sgd(0.1, 0.9, dampening=0.9)),
    "momentum undamped": (optim.SGD(0.1, momentum=0.9, dampening=0.0), sgd(0.1, 0.9)),
    "nesterov": (optim.SGD(0.1, momentum=0.9, nesterov=True), sgd(0.1, 0.9, nesterov=True)),
    "adam": (optim.Adam(0.01, 0.1, beta1=0.8), adam(0.01, 0.8, decay=0.1)),
    "parallel adam": (optim.ParallelAdam(0.01, parallel_num=4), adam(0.01)),
    "scheduled adam": (optim.ScheduledAdam(0.01, 0.1, beta1=0.8), adam(0.01, 0.8, decay=0.1)),
    "bert's adam": (optim.AdamWeightDecay(0.05, 0.8, decay=0.1), bert_adam(0.05, 0.8, decay=0.1)),
    "bert's adam, warm-up": (
        optim.AdamWeightDecay(0.05, learningrate_schedule=optim.WarmupDecay(0.5, 40)),
        bert_adam(0.05, rate=lambda step: step / 20 if step < 20 else 1 - step / 40),
    ),
    "adagrad": (optim.Adagrad(0.1, 0.1, weightdecay=0.01), adagrad(0.1, 0.1, 0.01)),
    "adadelta": (optim.Adadelta(0.8, 1e-6), adadelta(0.8, 1e-6)),
    "adamax": (optim.Adamax(0.1), adamax(0.1)),
    "rmsprop": (optim.RMSprop(0.1, 0.2, decayrate=0.9), rmsprop(0.1, 0.9, 0.2)),
    "ftrl": (optim.Ftrl(0.1), ftrl(0.1)),
    "ftrl, everything": (optim.Ftrl(0.1, -0.7, 0.2, 0.05, 0.02, 0.03), ftrl(0.1, -0.7, 0.2, 0.05, 0.02, 0.03)),
    "ftrl from nothing": (optim.Ftrl(0.1, initial_accumulator_value=0.0), ftrl(0.1, start=0.0)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_updates_follow_the_definition(name):
    given, update = DEFINITIONS[name]
    assert np.abs(defined(update)[-1] - START).max() > 0.01  # the definition moves at all
    np.testing.assert_allclose(trained(given), defined(update), rtol=1e-9, atol=1e-12)


def test_fused_adam_is_adam():
    given, update = DEFINITIONS["adam"]
    assert build_optimizer(given, Weights(torch.float32), {}).defaults["fused"]
    assert not build_optimizer(given, Weights(torch.float64), {}).defaults["fused"]
    np.testing.assert_allclose(trained(given, dtype=torch.float32), defined(update), atol=2e-6)


def test_ftrl_makes_exact_zeros_and_remembers():
    sparse = trained(optim.Ftrl(0.1, l1_regularization_strength=100.0))[-1]
    assert (sparse == 0.0).all()
    model = Weights()
    optimizer = build_optimizer(optim.Ftrl(0.1), model, {})
    model.w.grad = torch.ones_like(model.w)
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert torch.equal(model.w.detach(), torch.tensor(START))
    again = build_optimizer(optim.Ftrl(0.1), model, {})
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    again.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    assert torch.equal(again.state[model.w]["z"], optimizer.state[model.w]["z"])


# --- what is taken for an optimizer ---


def test_torch_instance_is_returned_as_it_is():
    model = Weights()
    given = torch.optim.SGD(model.parameters(), lr=0.3)
    assert build_optimizer(given, model, {}) is given


def test_torch_class_takes_the_rate_of_the_config():
    assert build_optimizer(torch.optim.AdamW, Weights(), {"lr": 0.25}).defaults["lr"] == 0.25
    assert build_optimizer(torch.optim.AdamW, Weights(), {}).defaults["lr"] == 1e-3


def test_creator():
    def optimizer_creator(model, config):
        return torch.optim.Adam(model.parameters(), lr=config["rate"])

    assert build_optimizer(optimizer_creator, Weights(), {"rate": 0.125}).defaults["lr"] == 0.125
    with pytest.raises(UsageError, match=r"forgetful\(model, config\) must return a torch optimizer"):
        build_optimizer(forgetful, Weights(), {})


def forgetful(model, config):
    torch.optim.Adam(model.parameters())


class Mine(optim.Optimizer):
    pass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("adam", "not an optimizer: 'adam'"),
        (None, "zoo.orca.learn.optimizers"),
        (optim.LBFGS(), "LBFGS evaluates the loss again"),
        (Mine(), "no translation of Mine"),
        (optim.SGD(learningrate_schedule=SequentialSchedule(3)), "no stages"),
    ],
)
def test_what_is_no_optimizer_is_refused_on_the_driver(given, message):
    with pytest.raises(UsageError, match=message):
        check_optimizer(given)
    with pytest.raises(UsageError, match=message):
        build_optimizer(given, Weights(), {})


# --- rates ---

EPOCH = 4


class Run:
    """A little training run: one weight, a fixed gradient, made-up losses and scores."""

    def __init__(self, given, scheduler_creator=None, frequency="batch"):
        self.model = torch.nn.Linear(1, 1, bias=False)
        self.optimizer = build_optimizer(given, self.model, {})
        self.control = control_rate(given, self.optimizer, scheduler_creator, {}, frequency)
        self.progress = Progress()

    def epoch(self):
        """Trains one epoch; returns the rate of each step."""
        rates = []
        for _ in range(EPOCH):
            self.model.weight.grad = torch.ones_like(self.model.weight)
            self.control.before_update(self.progress.step)
            self.optimizer.step()
            rates.append(self.control.rate)
            self.control.after_update()
            self.progress = self.progress.after_step([1.0, 0.5, 0.5][min(self.progress.epoch, 2)], 8)
        self.progress = self.progress.after_epoch()
        self.control.after_epoch(self.progress)
        return rates

    def saved(self):
        control = json.dumps(self.control.state(), allow_nan=False)
        return control, pickle.dumps(self.optimizer.state_dict()), self.progress

    def resume(self, saved):
        control, optimizer, self.progress = saved
        self.optimizer.load_state_dict(pickle.loads(optimizer))
        self.control.load(json.loads(control))


def described(schedule):
    return lambda: Run(optim.SGD(0.1, momentum=0.9, learningrate_schedule=schedule()))


def scheduled(creator, frequency="batch"):
    def scheduler_creator(optimizer, config):
        return creator(optimizer)

    return lambda: Run(optim.SGD(0.1, momentum=0.9), scheduler_creator, frequency)


RUNS = {
    "decay": lambda: Run(optim.Adam(0.1, learningrate_decay=0.1)),
    "warm-up, then steps": described(lambda: SequentialSchedule(EPOCH).add(Warmup(0.01), 6).add(Step(3, 0.5), 90)),
    "warm-up, then plateau": described(
        lambda: SequentialSchedule(EPOCH).add(Warmup(0.01), 4).add(optim.Plateau("Loss", patience=1), 90)
    ),
    "torch steps": scheduled(lambda o: torch_rates.StepLR(o, 3)),
    "torch milestones": scheduled(lambda o: torch_rates.MultiStepLR(o, [2, 15])),
    "torch cosine by the epoch": scheduled(lambda o: torch_rates.CosineAnnealingLR(o, 6), "epoch"),
    "torch restarts": scheduled(lambda o: torch_rates.CosineAnnealingWarmRestarts(o, 5)),
    "torch lambda": scheduled(lambda o: torch_rates.LambdaLR(o, lambda i: 1 / (1 + i))),
    "torch one cycle": scheduled(lambda o: torch_rates.OneCycleLR(o, max_lr=1.0, total_steps=40)),
    "torch cyclic": scheduled(lambda o: torch_rates.CyclicLR(o, 0.01, 0.1, step_size_up=3)),
    "torch sequence": scheduled(
        lambda o: torch_rates.SequentialLR(o, [torch_rates.ConstantLR(o, 0.1), torch_rates.ExponentialLR(o, 0.9)], [5])
    ),
    "torch plateau": scheduled(lambda o: torch_rates.ReduceLROnPlateau(o, patience=0), "epoch"),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_resumed_run_has_the_rates_of_one_that_never_stopped(name, stop):
    run = RUNS[name]()
    for _ in range(stop):
        run.epoch()
    saved = run.saved()
    expected = [run.epoch() for _ in range(4)]
    assert len({rate for rates in expected for rate in rates}) > 1, "the rate must move at all"
    resumed = RUNS[name]()
    resumed.resume(saved)
    assert [resumed.epoch() for _ in range(4)] == expected
    assert torch.equal(
        resumed.optimizer.state_dict()["state"][0].get("momentum_buffer", torch.zeros(1)),
        run.optimizer.state_dict()["state"][0].get("momentum_buffer", torch.zeros(1)),
    )


def test_schedule_sets_the_rate_of_every_group():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    control = RateControl(optimizer, Step(1, 0.5))
    control.before_update(2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.025, 0.125]
    assert control.rate == 0.025


def test_without_a_schedule_the_rate_is_the_users():
    run = Run(optim.SGD(0.1))
    run.optimizer.param_groups[0]["lr"] = 0.7  # as a callback may do
    assert run.epoch() == [0.7] * EPOCH


def test_frequencies():
    steps = dict.fromkeys(["batch", "epoch", "manual", None])
    for frequency in steps:
        run = scheduled(lambda o: torch_rates.ExponentialLR(o, 0.5), frequency)()
        run.epoch()
        steps[frequency] = run.control.scheduler.last_epoch
    assert steps == {"batch": EPOCH, "epoch": 1, "manual": 0, None: 0}


def test_torch_plateau_looks_at_the_score_where_there_is_one():
    run = scheduled(lambda o: torch_rates.ReduceLROnPlateau(o, mode="max", patience=0), "epoch")()
    for score in (0.5, 0.6, 0.6):
        run.control.after_epoch(Progress(epoch=1, step=4, loss=1.0, score=score, epoch_ended=True))
    assert run.control.rate == pytest.approx(0.01)


def test_wrong_schedulers_are_refused():
    with pytest.raises(UsageError, match="scheduler_step_freq must be"):
        scheduled(lambda o: torch_rates.StepLR(o, 3), "step")()
    with pytest.raises(UsageError, match="scheduler_step_freq='epoch'"):
        scheduled(torch_rates.ReduceLROnPlateau, "batch")()
    with pytest.raises(UsageError, match="must return a torch scheduler. Received: 3"):
        scheduled(lambda o: 3)()
    with pytest.raises(UsageError, match="two schedules for one learning rate"):
        Run(optim.SGD(0.1, learningrate_decay=0.1), lambda o, config: torch_rates.StepLR(o, 3))


def test_scheduler_that_cannot_be_remembered_is_refused_at_once():
    class Odd(torch_rates.StepLR):
        def __init__(self, optimizer):
            self.secret = object()
            super().__init__(optimizer, 3)

    with pytest.raises(UsageError, match=r"scheduler\.secret holds a object"):
        scheduled(Odd)()


def test_plain_values_come_back():
    from collections import Counter

    value = {"a": [1, 2.5, None, True, "x"], "t": (1, (2,)), "c": Counter([3, 3, 5]), "i": float("-inf"), 4: {"$x": 1}}
    back = from_plain(json.loads(json.dumps(to_plain(value), allow_nan=False)))
    assert back == value
    assert type(back["c"]) is Counter
    assert type(back["t"]) is tuple
    assert np.isnan(from_plain(to_plain(float("nan"))))
    assert to_plain({"f": len, "g": lambda: 0, "n": np.float32(0.5), "s": torch.tensor(2)}) == {"n": 0.5, "s": 2}


# --- clipping ---


def test_clipping():
    model = torch.nn.Linear(2, 2)
    model.weight.grad = torch.tensor([[3.0, -4.0], [0.5, 0.0]])  # the bias has no gradient
    clip_gradients(model.parameters(), optim.ConstantClip(-1.0, 2.0))
    assert model.weight.grad.tolist() == [[2.0, -1.0], [0.5, 0.0]]
    model.weight.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    clip_gradients(model.parameters(), optim.NormClip(10.0))
    assert model.weight.grad.tolist() == [[3.0, 0.0], [0.0, 4.0]]
    clip_gradients(model.parameters(), optim.NormClip(1.0))
    torch.testing.assert_close(model.weight.grad, torch.tensor([[0.6, 0.0], [0.0, 0.8]]))
