"""The driver's side of a PyTorch model: what the user gave, checked, and how it becomes a replica.

Owns: telling instances, classes and creator functions apart; the trip to the ranks; the user's own model object, which
only `absorb` changes.
Leaves: optimizers and rates (optim), a step (replica).
"""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import torch
from torch import nn

from zoo.engine.contracts import Collective, Rank, State
from zoo.engine.data.columns import ArraySpec
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch import state as states
from zoo.engine.frameworks.torch import weights
from zoo.engine.frameworks.torch.elementwise import check_elementwise
from zoo.engine.frameworks.torch.optim import FREQUENCIES, build_optimizer, check_optimizer, control_rate
from zoo.engine.frameworks.torch.renorms import check_renorms
from zoo.engine.frameworks.torch.replica import TorchReplica
from zoo.engine.frameworks.torch.runner import Parts, Settings, main_callback, overrides
from zoo.engine.frameworks.torch.travel import pack
from zoo.engine.jobs import PRECISIONS, Columns
from zoo.engine.metrics import Metric
from zoo.engine.optim import Clip, Optimizer
from zoo.engine.optim.memory import check_kind


@dataclass(kw_only=True)
class TorchSpec:
    """A PyTorch model with everything that trains it; picklable.

    Attributes:
        model: an ``nn.Module``, or a creator: a function or class called as ``f(config)``, or ``f()`` if it takes none.
        optimizer: see `optim.build_optimizer`; None for a model that is not trained.
        loss: an ``nn.Module`` or function of (output, target), used as it is; a loss class; or a creator ``f(config)``,
            told apart by its one required parameter. None where the model gives its loss itself (see `TorchReplica`).
        scheduler_creator: ``f(optimizer, config)`` -> a torch scheduler.
        scheduler_step_freq: ``"batch"``, ``"epoch"``, ``"manual"`` or None.
        config: the user's values, given to every creator.
        precision: ``"float32"`` or ``"bf16"``.
        clip: of gradients.
        callbacks: called on every rank.
        initialization_hook: called with nothing on each rank before the model is made.
        device: ``"cpu"``, ``"cuda"``, or None for a GPU where the rank has one.
        seed: of weights and dropout. None leaves torch's random numbers as they are, so that `torch.manual_seed`
            before `fit` counts where the run is in the same process.
        learned: the last weights absorbed, for a model that a creator makes.
    """

    model: Any
    optimizer: Any = None
    loss: Any = None
    scheduler_creator: Callable[..., Any] | None = None
    scheduler_step_freq: str | None = "batch"
    config: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    clip: Clip | None = None
    callbacks: tuple[Any, ...] = ()
    initialization_hook: Callable[[], Any] | None = None
    device: str | None = None
    seed: int | None = None
    learned: State | None = field(default=None, repr=False, compare=False)
    _travelled: bool = field(default=False, init=False, repr=False, compare=False)
    _made: nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    keeps_threads: ClassVar[bool] = False

    def problems(self) -> list[str]:
        """Everything wrong that can be seen before a process starts, one text each."""
        return UsageError.found_by(self._check_model, self._check_optimizer, self._check_loss, self._check_words)

    def check_columns(self, specs: Sequence[ArraySpec]) -> None:
        """Refuses columns that no tensor can hold, before a process starts.

        Raises:
            UsageError: columns of text or bytes.
        """
        text = [spec.name for spec in specs if spec.known and spec.dtype == object]
        if text:
            names = ", ".join(repr(name) for name in text)
            raise UsageError(
                f"column {names} holds text or bytes, which cannot become a tensor. Give numbers: encode categories "
                "(StringIndexer, factorize) and parse dates before training, or leave the column out."
            )

    def for_training(self, columns: Columns, clip: Clip | None, callbacks: Sequence[Any]) -> TorchSpec:
        """The spec of a `fit`."""
        return replace(self, clip=clip, callbacks=tuple(callbacks))

    def check_ranks(self, most: int) -> None:
        """Refuses what one rank only can train; what a creator makes is looked at where it is made.

        Raises:
            UsageError: a layer changes its weights by itself, on each rank in another way.
        """
        if most > 1 and isinstance(self.model, nn.Module):
            check_renorms(self.model)

    def check_lanes(self, callbacks: Sequence[Any]) -> None:
        """Refuses what cannot be trained in virtual ranks.

        Raises:
            UsageError: a callback has a backward pass of its own, which would add up gradients in its own order; a
                layer changes its weights by itself.
        """
        self.check_ranks(2)
        main = main_callback(callbacks)
        if overrides(main, "on_iter_backward"):
            raise UsageError(
                f"reproducible=True adds gradients up in one order, and {type(main).__name__}.on_iter_backward does it "
                "in its own. Leave one of them out."
            )

    def check_sharded(self, callbacks: Sequence[Any]) -> None:
        """Refuses what cannot be updated in slices.

        Raises:
            UsageError: a callback has a backward pass of its own, or the optimizer looks at whole tensors.
        """
        main = main_callback(callbacks)
        if overrides(main, "on_iter_backward"):
            raise UsageError(
                f"sync='sharded' leaves each rank a slice of the gradients, and {type(main).__name__}.on_iter_backward "
                "works on all of them. Leave one of them out."
            )
        if isinstance(self.optimizer, torch.optim.Optimizer):
            check_elementwise(self.optimizer)
        elif isinstance(self.optimizer, type):
            check_elementwise(build_optimizer(self.optimizer, nn.Linear(2, 1), self.config))

    def for_scoring(self, columns: Columns, callbacks: Sequence[Any]) -> TorchSpec:
        """The same model without what only training needs; the model itself is shared, not copied."""
        return replace(self, optimizer=None, scheduler_creator=None, clip=None, callbacks=tuple(callbacks))

    def metrics(self, columns: Columns) -> tuple[Metric, ...]:
        """Those that the model itself brings: none."""
        return ()

    def place(self, rank: Rank) -> Rank:
        """The rank with the device that this model is to use there.

        Raises:
            UsageError: a GPU was asked for and there is none, or fewer than ranks on this machine.
        """
        if self.device == "cpu" or rank.device != "cpu":
            return rank if self.device != "cpu" else replace(rank, device="cpu")
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.device == "cuda" and not gpus:
            raise UsageError("device='cuda', and torch sees no GPU here. Leave device out, or ask for device='cpu'.")
        if rank.world > gpus > 0 and self.device == "cuda":
            raise UsageError(
                f"device='cuda' takes one GPU for each rank. There are {gpus} for {rank.world} ranks: "
                f"ask for workers_per_node={gpus}."
            )
        return replace(rank, device=f"cuda:{rank.index}") if gpus >= rank.world else rank

    def build(self, rank: Rank, group: Collective | None = None) -> TorchReplica:
        """Makes the replica on a rank; sets torch's number of threads.

        In the user's own process model, loss and optimizer are deep copies: only `absorb` changes the user's objects.
        Callbacks are the user's own there.

        Raises:
            UsageError: a creator made something else than its name says.
            NotPicklable: in the user's own process, a model that cannot be copied.
        """
        torch.set_num_threads(rank.threads)
        if self.seed is not None:
            torch.manual_seed(self.seed)
        if self.initialization_hook is not None:
            self.initialization_hook()
        own = self if self._travelled else self._copy()
        device = torch.device(rank.device)
        model = own._new_model().to(device)
        if own.optimizer is not None and not rank.alone:
            check_renorms(model)
        loss = own._new_loss()
        if isinstance(loss, nn.Module):
            loss = loss.to(device)
        settings = Settings(
            rank=rank, precision=self.precision, clip=self.clip, callbacks=tuple(self.callbacks), config=self.config
        )
        if own.optimizer is None:
            return TorchReplica(Parts(model, loss), settings)
        optimizer = build_optimizer(own.optimizer, model, self.config)
        if group is not None:
            check_elementwise(optimizer)
        if device.type == "cuda" and optimizer.state:
            optimizer.load_state_dict(optimizer.state_dict())  # follows its parameters to the device
        creator, frequency = self._scheduler()
        rates = control_rate(own.optimizer, optimizer, creator, self.config, frequency)
        return TorchReplica(Parts(model, loss, rates), settings, group)

    def absorb(self, state: State) -> None:
        """Puts trained weights into the user's own model, and the memory into the user's own torch optimizer.

        For a model made by a creator they are kept, and `get_model` makes it.

        Raises:
            UsageError: the weights are those of another model, or the memory is another optimizer's.
        """
        if not _is_creator(self.optimizer):  # what that makes is known on the ranks
            check_kind(state.values, build_optimizer(self.optimizer, nn.Linear(2, 1), self.config))
        if isinstance(self.model, nn.Module):
            states.give_weights(state, self.model)
        else:
            arrays = {name: array for name, array in state.arrays.items() if name.startswith("model/")}
            self.learned = State(arrays, {key: state.values[key] for key in ("model", "dtypes") if key in state.values})
            if self._made is not None:
                states.give_weights(state, self._made)
        if isinstance(self.optimizer, torch.optim.Optimizer):
            states.give_memory(state, self.optimizer)

    def refreshed(self, state: State) -> State:
        """The state with the weights that the model has by now: the program may have set them since `absorb`."""
        model = self.model if isinstance(self.model, nn.Module) else self._made
        return state if model is None else state.with_weights(states.take(model).arrays)

    def get_model(self) -> nn.Module:
        """The user's own model object, or the one that the creator makes, with the weights absorbed last."""
        if isinstance(self.model, nn.Module):
            return self.model
        if self._made is None:
            self._made = self._new_model()
        return self._made

    def save(self, url: str, *, entire: bool = False) -> str:
        """Writes the weights, or the entire module; see `weights.save`."""
        return weights.save(self.get_model(), url, entire=entire)

    def load(self, url: str) -> None:
        """Reads weights into the user's own model, or into the one that the creator makes."""
        model = self.get_model()
        weights.load(model, url)
        if model is not self.model:
            self.learned = states.take(model)

    def dumps(self) -> bytes:
        """The spec as it travels. Model and optimizer stay bound to each other.

        Raises:
            NotPicklable: naming the smallest attribute that does not pickle.
        """
        return pack({item.name: getattr(self, item.name) for item in fields(self) if item.init})

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.dumps(),)

    def _scheduler(self) -> tuple[Callable[..., Any] | None, str | None]:
        """(creator, when it steps): the user's, else what an optimizer creator brings with it (`TorchOptim`)."""
        creator = getattr(self.optimizer, "scheduler_creator", None)
        if self.scheduler_creator is not None or creator is None:
            return self.scheduler_creator, self.scheduler_step_freq
        return creator, getattr(self.optimizer, "scheduler_step_freq", "batch")

    def _copy(self) -> TorchSpec:
        """This spec over copies of what training changes; what they share stays shared."""
        things = (self.model, self.optimizer, self.loss)
        try:
            model, optimizer, loss = copy.deepcopy(things)
        except Exception:  # noqa: BLE001  any class may refuse in its own way; pickling says which
            copied = pickle.loads(pack({"model": self.model, "optimizer": self.optimizer, "loss": self.loss}))  # noqa: S301
            model, optimizer, loss = copied.values()
        return replace(self, model=model, optimizer=optimizer, loss=loss)

    def _new_model(self) -> nn.Module:
        model = self.model if isinstance(self.model, nn.Module) else _create(self.model, self.config)
        if not isinstance(model, nn.Module):
            raise UsageError(f"the model creator must return a torch.nn.Module. It returned: {type(model)}")
        if self.learned is not None and not isinstance(self.model, nn.Module):
            states.give_weights(self.learned, model)
        return model

    def _new_loss(self) -> Callable[..., Any] | None:
        loss: Callable[..., Any] | None = self.loss
        if isinstance(loss, type) or (loss is not None and _makes_loss(loss)):
            loss = _create(loss, self.config)
        if isinstance(loss, type):
            loss = loss()
        if loss is not None and not callable(loss):
            raise UsageError(f"the loss creator must return a loss function or module. It returned: {loss!r}")
        return loss

    def _check_model(self) -> None:
        if isinstance(self.model, nn.Module):
            return
        if not callable(self.model):
            raise UsageError(
                f"model must be a torch.nn.Module or a function model_creator(config). Received: {self.model!r}"
            )
        required = _required(self.model)
        if required is not None and len(required) > 1:
            raise UsageError(
                f"a model creator takes one argument, config. {_name(self.model)} needs {', '.join(required)}: "
                "give an instance, or a function model_creator(config)."
            )

    def _check_optimizer(self) -> None:
        if self.optimizer is None:
            return
        check_optimizer(self.optimizer)
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            return
        if not isinstance(self.model, nn.Module):
            raise UsageError(
                f"a torch optimizer is bound to a model's parameters, and model is a creator ({_name(self.model)}). "
                "Give optimizer_creator(model, config), or both as instances."
            )
        known = {id(parameter) for parameter in self.model.parameters()}
        if isinstance(self.loss, nn.Module):
            known |= {id(parameter) for parameter in self.loss.parameters()}
        groups = self.optimizer.param_groups
        if any(id(parameter) not in known for group in groups for parameter in group["params"]):
            raise UsageError(
                "the optimizer was made over parameters that are not the model's: the model was copied, moved or "
                "replaced since. Make it anew: "
                f"torch.optim.{type(self.optimizer).__name__}(model.parameters(), ...)."
            )

    def _check_loss(self) -> None:
        if self.loss is not None and not callable(self.loss):
            raise UsageError(
                f"loss must be a torch loss, a function of (output, target), a loss class or a function "
                f"loss_creator(config). Received: {self.loss!r}"
            )

    def _check_words(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}. Received: {self.precision!r}")
        if self.device not in (None, "cpu", "cuda"):
            raise UsageError(f"device must be 'cpu', 'cuda' or None. Received: {self.device!r}")
        if self.scheduler_step_freq not in FREQUENCIES:
            raise UsageError(
                "scheduler_step_freq must be 'batch', 'epoch', 'manual' or None. "
                f"Received: {self.scheduler_step_freq!r}"
            )
        if not isinstance(self.config, Mapping):
            raise UsageError(f"config must be a dict. Received: {self.config!r}")
        main_callback(self.callbacks)


def _arrive(payload: bytes) -> TorchSpec:
    """The inverse of `dumps`."""
    spec = TorchSpec(**pickle.loads(payload))  # noqa: S301  packed by this job's own driver
    spec._travelled = True
    return spec


def _create(creator: Callable[..., Any], config: Mapping[str, Any]) -> Any:
    """``creator(config)``, or ``creator()`` where it needs no argument and has none called config."""
    required = _required(creator)
    if required is None or required or "config" in inspect.signature(creator).parameters:
        return creator(config)
    return creator()


def _makes_loss(loss: Callable[..., Any]) -> bool:
    """Whether this function is a creator: it has exactly one required parameter. A loss needs output and target."""
    required = None if isinstance(loss, nn.Module) else _required(loss)
    return required is not None and len(required) == 1


def _is_creator(optimizer: Any) -> bool:
    own = isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)
    return not own and not isinstance(optimizer, Optimizer | torch.optim.Optimizer)


def _required(function: Callable[..., Any]) -> list[str] | None:
    """Positional parameters without a default; None where Python cannot tell (some builtins)."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


def _name(thing: Any) -> str:
    return str(getattr(thing, "__name__", repr(thing)))
