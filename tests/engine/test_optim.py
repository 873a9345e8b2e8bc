import inspect
import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine import optim
from zoo.engine.errors import UsageError
from zoo.engine.optim import (
    SGD,
    Adam,
    ConstantClip,
    Default,
    Exponential,
    MultiStep,
    NormClip,
    Plateau,
    Poly,
    PolyEpoch,
    SequentialSchedule,
    Step,
    Warmup,
    WarmupDecay,
)
from zoo.engine.progress import Progress

STEPS = st.integers(0, 300)


@given(step=STEPS)
def test_closed_forms(step):
    near = pytest.approx
    assert Default().rate(0.1, step) == 0.1
    assert Default(0.5).rate(0.1, step) == near(0.1 / (1 + 0.5 * step))
    assert Poly(2, 100).rate(0.1, step) == near(0.1 * (1 - min(step, 100) / 100) ** 2)
    assert Exponential(10, 0.9).rate(0.1, step) == near(0.1 * 0.9 ** (step / 10))
    assert Exponential(10, 0.9, stair_case=True).rate(0.1, step) == near(0.1 * 0.9 ** (step // 10))
    assert Step(30, 0.5).rate(0.1, step) == near(0.1 * 0.5 ** math.floor(step / 30))
    assert Warmup(0.01).rate(0.1, step) == near(0.1 + 0.01 * step)
    x = min(step / 100, 1.0)
    rises = x / 0.25 if x < 0.25 else None
    assert WarmupDecay(0.25, 100).rate(0.1, step) == near(0.1 * (1 - x if rises is None else rises))
    cosine = (1 + math.cos(math.pi * x)) / 2
    assert WarmupDecay(0.25, 100, "cosine").rate(0.1, step) == near(0.1 * (cosine if rises is None else rises))
    assert WarmupDecay(0.25, 100, "constant").rate(0.1, step) == near(0.1 if rises is None else 0.1 * rises)


def test_poly_of_epochs_stays_within_one():
    schedule = PolyEpoch(2, 4)
    state = schedule.observe(schedule.start(), Progress(epoch=1, step=10, epoch_ended=True))
    assert schedule.rate(0.1, 3) == 0.1
    assert schedule.rate(0.1, 10, state) == schedule.rate(0.1, 19, state) == pytest.approx(0.1 * 0.75**2)
    assert schedule.rate(0.1, 40, schedule.observe(state, Progress(epoch=4, step=40, epoch_ended=True))) == 0.0


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (9, 1.0), (10, 0.1), (19, 0.1), (20, 0.01), (999, 0.01)])
def test_multi_step(step, expected):
    assert MultiStep([10, 20], 0.1).rate(1.0, step) == pytest.approx(expected)


def test_poly_without_power_still_ends_at_zero():
    assert Poly(0, 5).rate(1.0, 4) == 1.0
    assert Poly(0, 5).rate(1.0, 5) == 0.0


# --- Plateau ---


def reductions(schedule, values):
    """How often the rate has been reduced behind each epoch."""
    state, counts = schedule.start(), []
    for epoch, value in enumerate(values, 1):
        state = schedule.observe(state, Progress(epoch=epoch, step=epoch, loss=value, score=value, epoch_ended=True))
        counts.append(state["reductions"])
    return counts


@pytest.mark.parametrize(
    ("schedule", "values", "expected"),
    [
        (Plateau("Loss", patience=2), [3, 2, 2, 2, 2, 2], [0, 0, 0, 1, 1, 2]),
        (Plateau("Loss", patience=1), [3, 2, 2, 2], [0, 0, 1, 2]),
        (Plateau("Loss", patience=2), [3, 2, 2, 1, 1, 1], [0, 0, 0, 0, 0, 1]),
        (Plateau("Loss", patience=1, epsilon=0.5), [3, 2.6, 2.4, 2.3], [0, 1, 1, 2]),
        (Plateau("score", patience=1, mode="max"), [0.5, 0.6, 0.6, 0.7], [0, 0, 1, 1]),
        (Plateau("Loss", patience=1, cooldown=3), [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 2, 2]),
        (Plateau("Loss", patience=2), [1, float("nan"), float("nan")], [0, 0, 1]),
    ],
)
def test_plateau_waits(schedule, values, expected):
    assert reductions(schedule, values) == expected


def test_plateau_rate():
    schedule = Plateau("Loss", factor=0.1, patience=1, min_lr=0.005)
    rates = [schedule.rate(0.1, 0, {"reductions": n}) for n in range(4)]
    assert rates == pytest.approx([0.1, 0.01, 0.005, 0.005])
    assert schedule.rate(0.001, 0) == 0.001  # never raised to min_lr


def test_plateau_without_a_score_waits_for_one():
    schedule = Plateau("score", patience=1)
    assert schedule.observe(schedule.start(), Progress(epoch=1, loss=1.0)) == schedule.start()


# --- SequentialSchedule ---


def test_warmup_hands_its_rate_on():
    schedule = SequentialSchedule(100).add(Warmup(0.1), 5).add(Poly(1, 10), 10).add(Step(2, 0.5), 4)
    rates = [schedule.rate(0.5, step) for step in range(21)]
    assert rates[:5] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert rates[5:15] == pytest.approx([1.0 * (1 - i / 10) for i in range(10)])
    assert rates[15:] == [0.0] * 6  # Poly had come down to 0


def test_last_stage_goes_on():
    schedule = SequentialSchedule(10).add(Warmup(1.0), 2).add(Step(3, 0.5), 3)
    assert [schedule.rate(1.0, step) for step in range(2, 12)] == pytest.approx(
        [3] * 3 + [1.5] * 3 + [0.75] * 3 + [0.375]
    )


def test_plateau_behind_warmup_watches_only_its_own_steps():
    schedule = SequentialSchedule(4).add(Warmup(0.1), 8).add(Plateau("Loss", factor=0.5, patience=1), 100)
    state, rates = schedule.start(), []
    for epoch in range(1, 6):
        rates.append(schedule.rate(0.2, 4 * epoch - 1, state))
        state = schedule.observe(state, Progress(epoch=epoch, step=4 * epoch, loss=1.0, epoch_ended=True))
    # epochs 1 and 2 belong to the warm-up; epoch 3 sets the best loss, 4 and 5 do not improve
    assert rates == pytest.approx([0.5, 0.9, 1.0, 1.0, 0.5])
    assert state[1]["reductions"] == 2


def test_add_changes_and_returns_the_schedule():
    schedule = SequentialSchedule(5)
    assert schedule.add(Warmup(0.1), 3) is schedule
    assert len(schedule.stages) == 1


@pytest.mark.parametrize(("scheduler", "steps"), [("warmup", 3), (Warmup(0.1), 0), (Warmup(0.1), 2.5)])
def test_add_checks(scheduler, steps):
    with pytest.raises(UsageError, match="Received: "):
        SequentialSchedule(5).add(scheduler, steps)


def test_no_stages():
    with pytest.raises(UsageError, match="no stages"):
        SequentialSchedule(5).rate(0.1, 0)


SCHEDULES = [
    Default(0.1),
    Poly(2, 30),
    PolyEpoch(2, 4),
    WarmupDecay(0.5, 9),
    Exponential(7, 0.9),
    MultiStep([3, 9], 0.5),
    Plateau("Loss", factor=0.5, patience=1, cooldown=1),
    SequentialSchedule(4).add(Warmup(0.1), 6).add(Plateau("score", patience=1, mode="max"), 9).add(Poly(1, 90), 9),
    SequentialSchedule(4)
    .add(SequentialSchedule(4).add(Warmup(0.1), 2).add(Plateau("Loss"), 5), 8)
    .add(Step(3, 0.5), 9),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@given(losses=st.lists(st.floats(0, 2) | st.just(float("nan")), min_size=1, max_size=6), stop=st.integers(0, 5))
def test_resumed_rates_are_those_of_a_run_that_never_stopped(schedule, losses, stop):
    state = resumed = schedule.start()
    for epoch, loss in enumerate(losses, 1):
        if epoch - 1 == stop:
            resumed = json.loads(json.dumps(state, allow_nan=False))
        for step in range(4 * epoch - 4, 4 * epoch):
            assert schedule.rate(0.1, step, state) == schedule.rate(0.1, step, resumed)
        progress = Progress(epoch=epoch, step=4 * epoch, loss=loss, score=loss, epoch_ended=True)
        before, text = state, json.dumps(state)
        state, resumed = schedule.observe(state, progress), schedule.observe(resumed, progress)
        assert json.dumps(before) == text  # nothing is changed in place
    assert state == resumed


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_schedules_travel(schedule):
    assert pickle.loads(pickle.dumps(SGD(learningrate_schedule=schedule))) == SGD(learningrate_schedule=schedule)
    assert schedule.get_scheduler() is schedule


# --- optimizers ---

SIGNATURES = {
    "SGD": "learningrate=0.001, learningrate_decay=0.0, weightdecay=0.0, momentum=0.0, dampening=None, nesterov=False, "
    "learningrate_schedule=None, learningrates=None, weightdecays=None",
    "Adagrad": "learningrate=0.001, learningrate_decay=0.0, weightdecay=0.0",
    "LBFGS": "max_iter=20, max_eval=inf, tolfun=1e-05, tolx=1e-09, ncorrection=100, learningrate=1.0, verbose=False, "
    "linesearch=None, linesearch_options=None",
    "Adadelta": "decayrate=0.9, epsilon=1e-10",
    "Adam": "learningrate=0.001, learningrate_decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-08",
    "ParallelAdam": "learningrate=0.001, learningrate_decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-08, "
    "parallel_num=-1",
    "Ftrl": "learningrate=0.001, learningrate_power=-0.5, initial_accumulator_value=0.1, "
    "l1_regularization_strength=0.0, l2_regularization_strength=0.0, l2_shrinkage_regularization_strength=0.0",
    "ScheduledAdam": "learningrate=0.001, learningrate_decay=0.0, beta1=0.9, beta2=0.999, epsilon=1e-08, "
    "learningrate_schedule=None, weightdecay=0.0",
    "AdamWeightDecay": "learningrate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-06, decay=0.01, "
    "learningrate_schedule=None",
    "Adamax": "learningrate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-38",
    "RMSprop": "learningrate=0.01, learningrate_decay=0.0, decayrate=0.99, epsilon=1e-08",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_and_defaults_are_those_of_the_old_api(name):
    make = getattr(optim, name)
    parameters = inspect.signature(make).parameters.values()
    assert ", ".join(f"{p.name}={p.default!r}" for p in parameters) == SIGNATURES[name]
    assert make().get_optimizer() == make()
    assert pickle.loads(pickle.dumps(make())) == make()


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (Adam(), Default()),
        (Adam(learningrate_decay=0.1), Default(0.1)),
        (SGD(learningrate_decay=0.1), Default(0.1)),
        (SGD(learningrate_decay=0.1, learningrate_schedule=Default()), Default(0.1)),
        (SGD(learningrate_decay=0.1, learningrate_schedule=Step(3, 0.5)), Step(3, 0.5)),
        (optim.Ftrl(), Default()),
    ],
)
def test_schedule_in_force(optimizer, schedule):
    assert optimizer.schedule() == schedule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(0), "SGD: learningrate must be a number above 0. Received: 0"),
        (lambda: SGD("0.1"), "Received: '0.1'"),
        (lambda: Adam(beta1=1.0), r"beta1 must be a number in \[0, 1\)"),
        (lambda: Adam(True), "Received: True"),
        (lambda: Adam(float("nan")), "Received: nan"),
        (lambda: SGD(nesterov=True), "nesterov needs a momentum above 0"),
        (lambda: SGD(momentum=0.9, dampening=0.5, nesterov=True), "no dampening"),
        (lambda: SGD(dampening="x"), "dampening must be a finite number"),
        (lambda: SGD(learningrate_schedule="poly"), "learningrate_schedule must be one of"),
        (lambda: SGD(learningrates=[0.1]), "parameter groups"),
        (lambda: optim.Ftrl(learningrate_power=0.5), "at most 0"),
        (lambda: Poly(2, 0), "max_iteration must be a whole number, at least 1"),
        (lambda: MultiStep([5, 5], 0.1), "each above the last"),
        (lambda: MultiStep("59", 0.1), "each above the last"),
        (lambda: Plateau("accuracy"), "'Loss' or 'score'"),
        (lambda: Plateau("Loss", factor=1.0), r"in \(0, 1\)"),
        (lambda: Plateau("Loss", mode="auto"), "'min' or 'max'"),
        (lambda: SequentialSchedule(0), "iteration_per_epoch"),
        (lambda: ConstantClip(1, -1), "min must not be above max"),
        (lambda: NormClip(0), "max_norm must be a number above 0"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_all_problems_are_named_at_once():
    with pytest.raises(UsageError, match=r"2 problems:\n  1\. Adam: learningrate .*\n  2\. Adam: epsilon"):
        Adam(-1, epsilon=0)
