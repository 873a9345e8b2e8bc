import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.errors import UsageError
from zoo.engine.progress import Progress
from zoo.engine.triggers import (
    EveryEpoch,
    MaxEpoch,
    MaxIteration,
    MaxScore,
    MinLoss,
    Never,
    SeveralIteration,
    Trigger,
    TriggerAnd,
    TriggerOr,
    convert_trigger,
    epochs_of,
)

COUNTS = st.integers(1, 12)
VALUES = st.floats(-2, 2)
PROGRESS = st.builds(
    Progress,
    epoch=st.integers(0, 12),
    step=st.integers(0, 24),
    loss=VALUES | st.just(float("nan")),
    score=VALUES | st.none(),
    epoch_ended=st.booleans(),
)
# EveryEpoch is left out: "EveryEpoch and SeveralIteration" is refused (test_and_that_never_acts).
LEAVES = st.one_of(
    st.builds(SeveralIteration, COUNTS),
    st.builds(MaxEpoch, COUNTS),
    st.builds(MaxIteration, COUNTS),
    st.builds(MaxScore, VALUES),
    st.builds(MinLoss, VALUES),
    st.just(Never()),
)
TRIGGERS = st.recursive(
    LEAVES, lambda inner: st.builds(TriggerAnd, inner, inner) | st.builds(TriggerOr, inner, inner), max_leaves=5
)


def borders(steps_per_epoch, epochs):
    """Every progress at which the loop asks."""
    progress = Progress()
    for _ in range(epochs):
        for _ in range(steps_per_epoch):
            progress = progress.after_step(1.0, 4)
            yield progress
        progress = progress.after_epoch()
        yield progress


def test_every_epoch_acts_once_an_epoch():
    assert [p.epoch for p in borders(3, 4) if EveryEpoch()(p)] == [1, 2, 3, 4]


@given(interval=COUNTS, steps=st.integers(1, 7), epochs=st.integers(1, 4))
def test_several_iteration_acts_once_for_each_multiple(interval, steps, epochs):
    fired = [p.step for p in borders(steps, epochs) if SeveralIteration(interval)(p)]
    assert fired == list(range(interval, steps * epochs + 1, interval))


def test_several_iteration_is_silent_before_the_first_step():
    assert not SeveralIteration(5)(Progress())


@pytest.mark.parametrize(
    ("trigger", "before", "after"),
    [
        (MaxEpoch(3), Progress(epoch=2, epoch_ended=True), Progress(epoch=3, epoch_ended=True)),
        (MaxIteration(7), Progress(step=6), Progress(step=7)),
        (MaxScore(0.9), Progress(score=0.9), Progress(score=0.91)),
        (MaxScore(0.9), Progress(), Progress(score=0.91)),
        (MinLoss(0.1), Progress(loss=0.1), Progress(loss=0.09)),
        (MinLoss(0.1), Progress(), Progress(loss=0.09)),
    ],
)
def test_conditions_hold_from_their_border_on(trigger, before, after):
    assert not trigger(before)
    assert trigger(after)


@given(a=TRIGGERS, b=TRIGGERS, c=TRIGGERS, progress=PROGRESS)
def test_algebra(a, b, c, progress):
    assert (a & b)(progress) == (a(progress) and b(progress)) == (b & a)(progress)
    assert (a | b)(progress) == (a(progress) or b(progress)) == (b | a)(progress)
    assert (a & (b | c))(progress) == ((a & b) | (a & c))(progress)
    assert (a & b) & c == a & (b & c)
    assert (a | b) | c == a | (b | c)
    assert (a | Never())(progress) == a(progress)


@given(trigger=TRIGGERS, progress=PROGRESS)
def test_pickled_and_resumed_answers_are_the_same(trigger, progress):
    resumed = Progress.from_json(json.loads(json.dumps(progress.to_json())))
    travelled = pickle.loads(pickle.dumps(trigger))
    assert travelled == trigger
    assert travelled(resumed) == trigger(progress)


@given(trigger=TRIGGERS)
def test_epochs_of_is_an_epoch_at_which_the_trigger_acts(trigger):
    epochs = epochs_of(trigger)
    if epochs is not None:
        # no other condition helps: no step, no loss, no score
        assert trigger(Progress(epoch=epochs, epoch_ended=True))
        assert not trigger(Progress(epoch=epochs - 1, epoch_ended=True))


def test_epochs_of_examples():
    assert epochs_of(MaxEpoch(5) | MinLoss(0.1) | MaxEpoch(3)) == 3
    assert epochs_of(MaxEpoch(5) & MaxEpoch(3)) == 5
    assert epochs_of(MaxEpoch(5) & MinLoss(0.1)) is None
    assert epochs_of(MaxIteration(100)) is None


def test_and_that_never_acts_is_refused():
    with pytest.raises(UsageError, match=r"join them with \|"):
        (SeveralIteration(5) & MinLoss(1)) & EveryEpoch()
    assert (SeveralIteration(5) | EveryEpoch())(Progress(epoch_ended=True))


@pytest.mark.parametrize("make", [SeveralIteration, MaxEpoch, MaxIteration])
@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True, None])
def test_counts_are_checked(make, value):
    with pytest.raises(UsageError, match=r"at least 1\. Received: "):
        make(value)


@pytest.mark.parametrize("make", [MaxScore, MinLoss])
@pytest.mark.parametrize("value", [float("nan"), "0.5", None])
def test_numbers_are_checked(make, value):
    with pytest.raises(UsageError, match=r"must be a number\. Received: "):
        make(value)


def test_convert_trigger():
    assert convert_trigger(EveryEpoch()) == EveryEpoch()
    with pytest.raises(UsageError, match=r"write EveryEpoch\(...\)"):
        convert_trigger(EveryEpoch)
    with pytest.raises(UsageError, match="not a trigger: 'epoch'"):
        convert_trigger("epoch")
    with pytest.raises(UsageError, match="not a trigger: 3"):
        MaxEpoch(1) | 3


def test_a_users_own_trigger_joins_the_others():
    class HalfScore(Trigger):
        def __call__(self, progress):
            return progress.score == 0.5

    assert (HalfScore() | MaxEpoch(9))(Progress(score=0.5))
