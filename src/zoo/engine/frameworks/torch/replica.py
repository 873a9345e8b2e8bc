"""A PyTorch model on one rank: the same arithmetic as the plain loop, with nothing in its way.

Owns: one step (forward, loss, backward, update), scoring and predicting a batch, calling the user's callbacks, the
random numbers of a rank.
Leaves: when any of it happens (loop), summing over ranks (collectives), where gradients lie (buckets).

One rank does per step what the plain loop does: no hook, no copy. Batch normalisation uses each rank's own rows, and
its running statistics are averaged over the ranks in every step, weighted by rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from zoo.engine.contracts import Batch, Collective, Ready, State
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch import state as states
from zoo.engine.frameworks.torch.buckets import Buckets, Notes, statistics_of
from zoo.engine.frameworks.torch.lanes import Lanes
from zoo.engine.frameworks.torch.losses import CheckedLoss, own_loss
from zoo.engine.frameworks.torch.optim import RateControl, clip_gradients
from zoo.engine.frameworks.torch.runner import HOOKS, HeldOptimizer, Parts, Runner, Settings
from zoo.engine.frameworks.torch.slices import Slices
from zoo.engine.frameworks.torch.tensors import arrays_of, describe, ranges_of, rows_of, to_device
from zoo.engine.progress import Progress

_FULL: AbstractContextManager[None] = nullcontext()


class TorchReplica:
    """The `Replica` of a PyTorch model.

    The model is called with one argument per feature, the loss as ``loss(output, target)``: the target is the label
    itself, a tuple of several labels, or left out where the data have none. Without a loss, the model is called with
    features and labels while training, and gives the loss, or a tuple that begins with it.

    Args:
        parts: the model, its loss and its optimizer, on the rank's device.
        settings: how they are used.
        group: of more than one rank, each of which holds a slice of the optimizer's memory; None: each holds all.
    """

    def __init__(self, parts: Parts, settings: Settings, group: Collective | None = None) -> None:
        self._model = parts.model
        self._loss = CheckedLoss(parts.loss) if parts.loss is not None else None
        self._rates = parts.rates
        self._settings = settings
        self._device = torch.device(settings.rank.device)
        self._place = to_device(self._device)
        self._parameters = _trained(parts)
        self._buckets: Buckets | None = None
        self._group = group
        self._slices: Slices | None = None
        rank = settings.rank
        self._lanes = None if rank.alone else Lanes(parts.model, statistics_of(parts.model), rank.lanes > 0)
        self._runner = Runner(parts, settings, self._default_forward)
        self._runner.sliced = group is not None
        self._hooked = bool(settings.callbacks)
        self._own_backward = self._runner.overrides("on_iter_backward")
        self._step_loss = torch.tensor(float("nan"))
        self._idle = False
        self._apply = True
        self._agreed_stop = False
        self._rate = parts.rates.rate if parts.rates else float("nan")
        self._resting: list[torch.nn.Module] | None = None
        self._model.train()

    @property
    def readings(self) -> dict[str, float]:
        """The learning rate of the last update, of the first parameter group; NaN without an optimizer."""
        return {"LearningRate": self._rate}

    def backward(self, batch: Batch, ready: Ready) -> None:
        """Computes the gradients of the batch's mean loss; hands over each bucket as soon as it is full.

        With more than one rank, gradients are summed over ranks in float buckets of about 25 MB.

        Raises:
            UsageError: output and label would be broadcast, or the loss is no scalar; sparse gradients on many ranks.
            DataError: a label outside the classes.
        """
        self._idle = batch.weight == 0
        buckets = self._buckets_now()
        if self._lanes is not None:
            self._lanes.enter(batch.key)
        if self._idle:
            if buckets is not None:
                buckets.skip(ready)
            return
        self._wake()
        self._arrive(batch)
        if buckets is not None:
            buckets.open(None if self._own_backward else ready)
        self._train_pass()
        if self._lanes is not None:
            self._lanes.leave()
        if buckets is not None:
            buckets.close(ready, Notes(self._step_loss, self._runner.stopping, self._apply))

    def update(self, progress: Progress) -> float:
        """Clips and applies the averaged gradients; returns the step's mean loss over all ranks.

        Args:
            progress: before this step.
        """
        buckets = self._buckets
        if self._lanes is not None:
            self._lanes.end()
        if buckets is not None:
            buckets.spread()
            if self._own_backward:
                self._apply = buckets.apply()
        if self._apply:
            self._change_weights(progress.step)
        loss = self._step_loss.item() if buckets is None else buckets.loss()
        if self._hooked:
            self._after_step(progress)
            self._agreed_stop = self._runner.stopping if buckets is None else buckets.stop()
        return float(loss)

    def rewind(self) -> None:
        """Forgets a step whose gradients never came."""
        if self._lanes is not None:
            self._lanes.rewind()

    def score(self, batch: Batch) -> tuple[float, tuple[np.ndarray, ...]]:
        """(mean loss, outputs) in evaluation mode; NaN without labels or without a loss. bfloat16 becomes float32."""
        self._rest()
        self._arrive(batch)
        runner = self._runner
        # no_grad, not inference_mode: what a model caches in a forward pass must still be good for training.
        with torch.no_grad():
            self._tell("before_val_iter")
            if runner.main is not None:
                runner.main.on_val_forward(runner)
            else:
                self._default_forward()
            self._tell("after_val_iter")
            loss = float("nan") if runner.loss is None else float(runner.loss)
            outputs = arrays_of(runner.output)
        runner.batch_idx += 1
        return loss, outputs

    def predict(self, batch: Batch) -> tuple[np.ndarray, ...]:
        """The outputs in evaluation mode, each of shape (rows, ...); bfloat16 becomes float32.

        Raises:
            UsageError: an output has another number of rows than the batch.
        """
        self._rest()
        runner = self._runner
        runner.batch = tuple(self._place(batch.features))
        with torch.inference_mode():
            self._tell("before_pred_iter")
            if runner.overrides("on_pred_forward"):
                runner.main.on_pred_forward(runner)
            else:
                self._predict_pass(runner.batch)
            self._tell("after_pred_iter")
            outputs = arrays_of(runner.output)
        runner.batch_idx += 1
        rows = rows_of(batch.features)
        if any(output.ndim == 0 or output.shape[0] != rows for output in outputs):
            shapes = ", ".join(str(output.shape) for output in outputs)
            raise UsageError(
                f"wrong output shape in predict: {rows} rows went into the model ({describe(batch.features)}), and it "
                f"gave {shapes}. The first dimension of every output must be the rows: forward() must not reduce, "
                "squeeze or transpose it."
            )
        return outputs

    def tally(self, total: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """None: what torch programs measure, they measure on the validation data."""
        return {}

    def notice(self, moment: str, progress: Progress, stats: Mapping[str, float]) -> bool:
        """Hears of a border, tells the callbacks, and says whether to stop.

        ``"after_step"`` calls no hook and gives the answer that all ranks agreed upon with their gradients: whether any
        asked to stop before they were handed over. (What is asked in after_train_iter is known in the next step, and at
        once on one rank.) Every other moment's answer is this rank's own wish.

        Args:
            moment: ``"after_step"``, or a hook's name (`runner.HOOKS`) but those of single batches, which backward,
                update, score and predict call themselves.
            progress: where the run is.
            stats: of the epoch, where one has ended.
        """
        if moment == "after_step":
            return self._agreed_stop
        runner = self._runner
        runner.move(moment, progress, stats)
        if moment == "before_run":
            runner.stopping = self._agreed_stop = False
        elif moment == "before_train_epoch":
            self._resting = None
            self._model.train()
        elif moment == "after_train_epoch":
            self._adjust_rate(progress)
        if moment in HOOKS:
            self._tell(moment)
        return runner.stopping

    def state(self) -> State:
        """A copy of weights, buffers, optimizer, rates and random numbers."""
        own = self._runner.memory()
        with self._slices.whole() if self._slices is not None else _FULL:
            if self._rates is None:
                taken = states.take(self._model, own=own)
            else:
                taken = states.take(self._model, self._rates.optimizer, own, rates=self._rates.state())
        random = {"rng/cpu": torch.get_rng_state().numpy()}
        if self._device.type == "cuda":
            random["rng/cuda"] = torch.cuda.get_rng_state(self._device).numpy()
        return State({**taken.arrays, **random}, taken.values)

    def load(self, state: State) -> None:
        """Goes back to a remembered state; what it lacks (no optimizer, say) stays as it is.

        Rank 0 gets its random numbers back; the others get their own, derived from rank 0's and their index, so that
        dropout differs between ranks and a resumed run repeats.
        """
        if self._slices is not None:
            self._make_whole()
        states.give_weights(state, self._model)
        if self._rates is not None:
            states.give_memory(state, self._rates.optimizer)
            if state.values.get("rates") is not None:
                self._rates.load(state.values["rates"])
        self._runner.remind(states.memory_of(state))
        if "rng/cpu" in state.arrays:
            self._load_random(state.arrays)

    def _train_pass(self) -> None:
        """From the batch at hand to gradients on the parameters."""
        runner, optimizer = self._runner, self._control().optimizer
        self._tell("before_train_iter")
        if self._apply:  # the last step changed the weights; else an own backward is accumulating
            optimizer.zero_grad()
        if runner.main is None:
            self._default_forward()
        else:
            runner.main.on_train_forward(runner)
        if runner.loss is None:
            raise UsageError("no loss after the forward pass: on_train_forward (on_iter_forward) must set runner.loss.")
        if self._own_backward:
            held = HeldOptimizer(optimizer)
            runner.optimizer = held
            runner.main.on_iter_backward(runner)
            runner.optimizer, self._apply = optimizer, held.asked
        else:
            runner.loss.backward()
        self._step_loss = runner.loss = torch.as_tensor(runner.loss).detach()
        if not self._hooked:
            runner.output = None  # gives back memory before the next batch comes

    def _default_forward(self) -> None:
        """Sets output, target and loss of the runner from its batch."""
        runner = self._runner
        *features, target = runner.batch
        if target is None and self._loss is not None and self._resting is not None:  # scoring without labels: no loss
            self._predict_pass(tuple(features))
            return
        with self._precision():
            if self._loss is None:
                labels = () if target is None else target if isinstance(target, tuple) else (target,)
                runner.loss, runner.output = own_loss(self._call((*features, *labels)))
            else:
                runner.output = self._call(features)
                runner.loss = self._loss(runner.output, target)
        runner.target = target

    def _predict_pass(self, features: tuple[Any, ...]) -> None:
        runner = self._runner
        runner.target = runner.loss = None
        with self._precision():
            runner.output = self._call(features)

    def _call(self, inputs: Any) -> Any:
        try:
            return self._model(*inputs)
        except Exception as error:
            error.add_note(f"The model was given: {describe(list(inputs))}.{ranges_of(error, inputs)}{self._told()}")
            raise

    def _told(self) -> str:
        """For a layer that needs more rows than one: why there was one."""
        if not self._settings.rank.lanes or self._resting is not None:
            return ""
        return (
            f" Each step is cut into virtual ranks (now {self._settings.rank.lanes}). Where one has too few rows: a "
            "larger batch_size, fewer virtual_ranks, or steps_per_epoch, which leaves a short last step out."
        )

    def _arrive(self, batch: Batch) -> None:
        """Brings a batch to the device: ``(*features, target)``."""
        features, labels = self._place(batch.features), self._place(batch.labels)
        self._runner.batch = (*features, labels[0] if len(labels) == 1 else labels or None)

    def _precision(self) -> AbstractContextManager[None]:
        if self._settings.precision == "bf16":
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return _FULL

    def _change_weights(self, step: int) -> None:
        rates, slices, clip = self._control(), self._slices, self._settings.clip
        if clip is not None and slices is None:
            clip_gradients(self._parameters, clip)
        elif clip is not None and slices is not None:
            clip_gradients(slices.weights, clip, slices.total)
        rates.before_update(step)
        self._rate = rates.rate
        rates.optimizer.step()
        if slices is not None:
            slices.complete()
        rates.after_update()

    def _after_step(self, progress: Progress) -> None:
        self._runner.global_step = progress.step + 1
        if not self._idle:
            self._tell("after_train_iter")
        self._runner.batch_idx += 1

    def _adjust_rate(self, progress: Progress) -> None:
        if self._runner.overrides("on_lr_adjust"):
            self._runner.main.on_lr_adjust(self._runner)
        elif self._rates is not None:
            self._rates.after_epoch(progress)

    def _control(self) -> RateControl:
        if self._rates is None:
            raise UsageError("training needs an optimizer. Received: optimizer=None")
        return self._rates

    def _buckets_now(self) -> Buckets | None:
        """The buckets of this step, made anew where parameters were frozen or thawed; None for a rank alone."""
        if self._settings.rank.alone:
            return None
        if self._buckets is None or not self._buckets.matches(self._parameters):
            self._make_whole()
            rank = self._settings.rank
            lanes = self._lanes if rank.lanes else None
            slices = 1 if self._group is None else rank.world
            self._buckets = Buckets(self._parameters, statistics_of(self._model), lanes, slices)
            if self._group is not None:
                self._slices = Slices(self._control().optimizer, self._buckets, self._group, rank)
        return self._buckets

    def _make_whole(self) -> None:
        """Takes hooks and slices off, with all ranks; the next step makes them anew."""
        if self._slices is not None:
            self._slices.dissolve()
        if self._buckets is not None:
            self._buckets.remove()
        self._slices = self._buckets = None

    def _wake(self) -> None:
        """Back to training mode after scoring, module by module as it was."""
        if self._resting is not None:
            self._model.train()
            for module in self._resting:
                module.training = False
            self._resting = None

    def _rest(self) -> None:
        """To evaluation mode; remembers which modules were in it already."""
        if self._resting is None:
            self._resting = [module for module in self._model.modules() if not module.training]
            self._model.eval()

    def _tell(self, moment: str) -> None:
        if self._hooked:
            self._runner.tell(moment)

    def _load_random(self, arrays: Mapping[str, np.ndarray]) -> None:
        cpu = np.array(arrays["rng/cpu"])
        index = self._settings.rank.index
        if index:
            digest = hashlib.sha256(cpu.tobytes() + index.to_bytes(8, "big")).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big"))
            return
        torch.set_rng_state(torch.from_numpy(cpu))
        if self._device.type == "cuda" and "rng/cuda" in arrays:
            torch.cuda.set_rng_state(torch.from_numpy(np.array(arrays["rng/cuda"])), self._device)


def _trained(parts: Parts) -> tuple[torch.nn.Parameter, ...]:
    """The optimizer's parameters in the model's order of registration; those of no model (a loss's) behind them."""
    if parts.rates is None:
        return ()
    theirs = {id(p): p for group in parts.rates.optimizer.param_groups for p in group["params"]}
    ordered = [theirs.pop(id(p)) for p in parts.model.parameters() if id(p) in theirs]
    return (*ordered, *theirs.values())
