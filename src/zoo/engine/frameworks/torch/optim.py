"""Optimizers, learning rates and gradient clipping in torch.

Owns: torch's translation of `zoo.engine.optim`, what else is taken for an optimizer, setting the rate of each step.
Leaves: names and arguments (zoo.engine.optim), when to update (loop), bucketing gradients (replica).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from zoo.engine import optim
from zoo.engine.contracts import Json
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.bertadam import BertAdam
from zoo.engine.frameworks.torch.ftrl import Ftrl
from zoo.engine.frameworks.torch.plain import from_plain, to_plain
from zoo.engine.progress import Progress

Parameters: TypeAlias = list[torch.nn.Parameter]

ACCEPTED = (
    "an optimizer of zoo.orca.learn.optimizers, a torch optimizer made from the model's parameters, a torch optimizer "
    "class, or a function optimizer_creator(model, config)"
)
FREQUENCIES = ("batch", "epoch", "manual", None)


# --- which optimizer ---


def check_optimizer(given: object) -> None:
    """Refuses on the driver what `build_optimizer` could not build on a rank.

    Raises:
        UsageError: `given` is no optimizer, or one that cannot train in data parallel, or its schedule has no stages.
    """
    if isinstance(given, optim.Optimizer):
        if type(given) not in _TRANSLATIONS:
            raise UsageError(f"{_untranslatable(given)} Received: {given!r}")
        given.schedule().rate(1.0, 0)
    elif not isinstance(given, torch.optim.Optimizer) and not callable(given):
        raise UsageError(f"not an optimizer: {given!r}. Give {ACCEPTED}.")


def build_optimizer(given: object, model: torch.nn.Module, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The torch optimizer that `given` stands for.

    Args:
        given: a description of `zoo.engine.optim`; a torch optimizer, which is bound to its model and comes back as it
            is; a torch optimizer class, which takes ``config["lr"]`` where there is one and its own default otherwise;
            or a creator ``f(model, config)``.
        model: whose parameters are trained.
        config: the user's values.

    Raises:
        UsageError: `given` is none of these, or the creator returned something else.
    """
    check_optimizer(given)
    if isinstance(given, torch.optim.Optimizer):
        return given
    if isinstance(given, optim.Optimizer):
        return _TRANSLATIONS[type(given)](given, list(model.parameters()))
    if isinstance(given, type) and issubclass(given, torch.optim.Optimizer):
        rate = {"lr": config["lr"]} if "lr" in config else {}
        return given(model.parameters(), **rate)
    assert callable(given)  # check_optimizer has seen to it
    made = given(model, config)
    if not isinstance(made, torch.optim.Optimizer):
        name = getattr(given, "__name__", repr(given))
        raise UsageError(f"{name}(model, config) must return a torch optimizer. It returned: {made!r}")
    return made


def _untranslatable(given: optim.Optimizer) -> str:
    if isinstance(given, optim.LBFGS):
        return (
            "LBFGS evaluates the loss again and again within one step, which data-parallel training with one "
            "all-reduce a step cannot give it. Use Adam, or torch.optim.LBFGS in a loop of your own on one rank."
        )
    return f"torch has no translation of {type(given).__name__}. Give {ACCEPTED}."


def _sgd(given: optim.SGD, parameters: Parameters) -> torch.optim.Optimizer:
    dampening = given.dampening
    if dampening is None:
        dampening = 0.0 if given.nesterov else given.momentum
    return torch.optim.SGD(
        parameters,
        lr=given.learningrate,
        momentum=given.momentum,
        dampening=dampening,
        weight_decay=given.weightdecay,
        nesterov=given.nesterov,
    )


def _adam(given: optim.Adam | optim.ParallelAdam, parameters: Parameters) -> torch.optim.Optimizer:
    # one kernel over all parameters: 1.6x a step's speed for small models on a CPU (shared/FACTS.md)
    fused = all(p.is_floating_point() and (p.is_cuda or p.dtype == torch.float32) for p in parameters)
    betas, decay = (given.beta1, given.beta2), getattr(given, "weightdecay", 0.0)
    return torch.optim.Adam(
        parameters, lr=given.learningrate, betas=betas, eps=given.epsilon, weight_decay=decay, fused=fused
    )


def _bert_adam(given: optim.AdamWeightDecay, parameters: Parameters) -> torch.optim.Optimizer:
    return BertAdam(parameters, given)


def _adagrad(given: optim.Adagrad, parameters: Parameters) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(parameters, lr=given.learningrate, weight_decay=given.weightdecay, eps=1e-10)


def _adadelta(given: optim.Adadelta, parameters: Parameters) -> torch.optim.Optimizer:
    return torch.optim.Adadelta(parameters, lr=1.0, rho=given.decayrate, eps=given.epsilon)


def _adamax(given: optim.Adamax, parameters: Parameters) -> torch.optim.Optimizer:
    # the default 1e-38 is no normal float32: where such numbers are flushed to 0, a gradient of 0 would give 0 / 0
    epsilon = max(given.epsilon, torch.finfo(torch.float32).tiny)
    return torch.optim.Adamax(parameters, lr=given.learningrate, betas=(given.beta1, given.beta2), eps=epsilon)


def _rmsprop(given: optim.RMSprop, parameters: Parameters) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, lr=given.learningrate, alpha=given.decayrate, eps=given.epsilon)


def _ftrl(given: optim.Ftrl, parameters: Parameters) -> torch.optim.Optimizer:
    return Ftrl(parameters, given)


_TRANSLATIONS: dict[type[optim.Optimizer], Callable[[Any, Parameters], torch.optim.Optimizer]] = {
    optim.SGD: _sgd,
    optim.Adam: _adam,
    optim.AdamWeightDecay: _bert_adam,
    optim.ParallelAdam: _adam,
    optim.ScheduledAdam: _adam,
    optim.Adagrad: _adagrad,
    optim.Adadelta: _adadelta,
    optim.Adamax: _adamax,
    optim.RMSprop: _rmsprop,
    optim.Ftrl: _ftrl,
}


# --- which rate ---


class RateControl:
    """Sets the learning rate of each step, by a schedule of `zoo.engine.optim` or by a torch scheduler.

    Args:
        optimizer: whose parameter groups get the rate; their rates now are the base rates.
        schedule: None for none: the rates are the user's own then, and never written.
        scheduler: a torch scheduler of `optimizer`, or None.
        frequency: when `scheduler` steps: ``"batch"``, ``"epoch"``, or ``"manual"`` or None: the user steps it.

    Raises:
        UsageError: two schedules, an unknown frequency, or a scheduler that cannot be driven or remembered so.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: optim.Schedule | None = None,
        scheduler: LRScheduler | None = None,
        frequency: str | None = "batch",
    ) -> None:
        _check_scheduler(schedule, scheduler, frequency)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._frequency = frequency
        self._schedule = schedule
        self._memory: Json = schedule.start() if schedule else None
        self._base = [float(group["lr"]) for group in optimizer.param_groups]
        self.state()  # what cannot be remembered is refused now, not at the first checkpoint

    @property
    def rate(self) -> float:
        """The learning rate of the first parameter group, now."""
        return float(self.optimizer.param_groups[0]["lr"])

    def before_update(self, step: int) -> None:
        """Sets the rates of update number `step`, counted from 0 since the model's first `fit`."""
        if self._schedule is None:
            return
        for group, base in zip(self.optimizer.param_groups, self._base, strict=True):
            group["lr"] = self._schedule.rate(base, step, self._memory)

    def after_update(self) -> None:
        """Steps a torch scheduler that goes by the batch."""
        if self.scheduler is not None and self._frequency == "batch":
            self.scheduler.step()

    def after_epoch(self, progress: Progress) -> None:
        """Tells the border of an epoch, after its validation, to whatever goes by the epoch.

        `ReduceLROnPlateau` gets the validation score, or the last step's loss where nothing was validated.
        """
        if self._schedule is not None:
            self._memory = self._schedule.observe(self._memory, progress)
        if self.scheduler is None or self._frequency != "epoch":
            return
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(progress.loss if progress.score is None else progress.score)
        else:
            self.scheduler.step()

    def state(self) -> Json:
        """Everything to remember, in plain JSON values; the optimizer's own state is not in it."""
        scheduler = None if self.scheduler is None else to_plain(self.scheduler.state_dict())
        return {"base": self._base, "memory": self._memory, "scheduler": scheduler}

    def load(self, state: Json) -> None:
        """Goes back to what `state` gave, on a control made in the same way."""
        self._base = [float(rate) for rate in state["base"]]
        self._memory = state["memory"]
        if self.scheduler is not None and state["scheduler"] is not None:
            self.scheduler.load_state_dict(from_plain(state["scheduler"]))


def control_rate(
    given: object,
    optimizer: torch.optim.Optimizer,
    scheduler_creator: Callable[[torch.optim.Optimizer, Mapping[str, Any]], object] | None,
    config: Mapping[str, Any],
    frequency: str | None = "batch",
) -> RateControl:
    """The rate control of an optimizer that `build_optimizer` made from `given`.

    Args:
        given: what `build_optimizer` was given; a description brings its schedule and its `learningrate_decay`.
        optimizer: what it made.
        scheduler_creator: ``f(optimizer, config)`` -> a torch scheduler, or None.
        config: the user's values.
        frequency: as for `RateControl`.

    Raises:
        UsageError: as `RateControl`, or the creator made no torch scheduler.
    """
    schedule = given.schedule() if isinstance(given, optim.Optimizer) else None
    if schedule == optim.Default():
        schedule = None  # nothing to set: the rate stays free for callbacks
    if scheduler_creator is None:
        return RateControl(optimizer, schedule)
    scheduler = scheduler_creator(optimizer, config)
    if not isinstance(scheduler, LRScheduler):
        raise UsageError(f"scheduler_creator(optimizer, config) must return a torch scheduler. Received: {scheduler!r}")
    return RateControl(optimizer, schedule, scheduler, frequency)


def _check_scheduler(schedule: optim.Schedule | None, scheduler: LRScheduler | None, frequency: str | None) -> None:
    if frequency not in FREQUENCIES:
        raise UsageError(f"scheduler_step_freq must be 'batch', 'epoch', 'manual' or None. Received: {frequency!r}")
    if schedule is not None and scheduler is not None:
        raise UsageError(
            f"two schedules for one learning rate: the optimizer's {schedule!r} and scheduler_creator's "
            f"{type(scheduler).__name__}. Leave one of them out."
        )
    if isinstance(scheduler, ReduceLROnPlateau) and frequency == "batch":
        raise UsageError(
            "ReduceLROnPlateau looks at a score, which there is once an epoch. Set scheduler_step_freq='epoch' "
            "(received: 'batch')."
        )


# --- clipping ---


def clip_gradients(
    parameters: Iterable[torch.nn.Parameter], clip: optim.Clip, total: Callable[[float], float] | None = None
) -> None:
    """Clips the gradients of `parameters` in place, those that have one.

    Args:
        parameters: with all gradients of the step, or with this rank's slice of them.
        clip: how.
        total: adds a number up over the ranks, where they hold slices.
    """
    with_gradient = [p for p in parameters if p.grad is not None]
    if isinstance(clip, optim.NormClip) and total is not None:
        _scale(with_gradient, clip.max_norm, total)
        return
    if isinstance(clip, optim.NormClip):
        torch.nn.utils.clip_grad_norm_(with_gradient, clip.max_norm)
        return
    for parameter in with_gradient:
        assert parameter.grad is not None
        parameter.grad.clamp_(clip.min, clip.max)


def _scale(parameters: list[torch.nn.Parameter], most: float, total: Callable[[float], float]) -> None:
    """As `clip_grad_norm_` does, by the norm of all slices."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = sum((torch.linalg.vector_norm(g, dtype=torch.float64).square() for g in gradients), torch.zeros(()))
    scale = min(most / (math.sqrt(total(float(squares))) + 1e-6), 1.0)
    for gradient in gradients:
        gradient.mul_(scale)
