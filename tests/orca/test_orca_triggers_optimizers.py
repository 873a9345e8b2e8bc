"""The old addresses give the engine's own classes."""

import pytest

import zoo.engine.optim
import zoo.engine.triggers
import zoo.orca.learn.optimizers
import zoo.orca.learn.optimizers.optimizers_impl
import zoo.orca.learn.optimizers.schedule
import zoo.orca.learn.trigger
import zoo.util.triggers
from zoo.engine.errors import UsageError

ADDRESSES = [
    (
        zoo.orca.learn.optimizers,
        zoo.engine.optim,
        "SGD Adam ParallelAdam Adagrad Adadelta Adamax RMSprop LBFGS Ftrl",
    ),
    (zoo.orca.learn.optimizers.optimizers_impl, zoo.engine.optim, "Optimizer SGD Adam"),
    (
        zoo.orca.learn.optimizers.schedule,
        zoo.engine.optim,
        "Poly Exponential Step MultiStep Default Plateau Warmup SequentialSchedule Scheduler",
    ),
    (zoo.orca.learn.trigger, zoo.engine.triggers, "EveryEpoch SeveralIteration Trigger"),
    (
        zoo.util.triggers,
        zoo.engine.triggers,
        "EveryEpoch SeveralIteration MaxEpoch MaxIteration MaxScore MinLoss TriggerAnd TriggerOr",
    ),
]


@pytest.mark.parametrize(("old", "home", "names"), ADDRESSES, ids=lambda value: getattr(value, "__name__", "names"))
def test_every_name_is_at_its_old_address(old, home, names):
    for name in names.split():
        assert getattr(old, name) is getattr(home, name)
        assert name in old.__all__


def test_trigger_of_any_address_is_accepted():
    convert = zoo.orca.learn.trigger.Trigger.convert_trigger
    trigger = zoo.util.triggers.MaxEpoch(3)
    assert convert(trigger) is trigger
    assert trigger.get_trigger() is trigger
    with pytest.raises(UsageError):
        convert(None)


def test_the_program_of_the_seeds():
    """Warm-up for 5 epochs, then Plateau (shared/seeds/002, "Warmup + Plateau schedule")."""
    from zoo.orca.learn.optimizers import SGD
    from zoo.orca.learn.optimizers.schedule import Plateau, SequentialSchedule, Warmup

    plateau = Plateau("Loss", factor=0.1, patience=1, mode="min", epsilon=0.01, cooldown=0, min_lr=1e-15)
    schedule = SequentialSchedule(20)
    schedule.add(Warmup(0.001), 100).add(plateau, 2000)
    in_force = SGD(learningrate=0.001, momentum=0.9, learningrate_schedule=schedule).schedule()
    assert in_force.rate(0.001, 50) == pytest.approx(0.051)
    assert in_force.rate(0.001, 100) == pytest.approx(0.101)
