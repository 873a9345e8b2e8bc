"""Recurrent layers: cells, and what runs them over the steps of (B, T, F).

Owns: the cells' formulas, BigDL's order of gates.
Leaves: other containers (containers).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bigdl.nn.containers import Container
from zoo.bigdl.nn.definition import LAYERS, Defined, layer
from zoo.engine.errors import UsageError

LSTM_GATES = (0, 2, 1, 3)
"""torch: input, forget, candidate, output; BigDL: input, candidate, forget, output."""


@layer
def RnnCell(
    input_size, hidden_size, activation=None, isInputWithBias=True, isHiddenWithBias=True,
    wRegularizer=None, uRegularizer=None, bRegularizer=None,
):  # fmt: skip
    """H = a(W x + b + U h + c).

    Args:
        input_size: features of a step.
        hidden_size: of the state, and of the output.
        activation: a layer; Tanh() by default.
        isInputWithBias: whether there is b.
        isHiddenWithBias: whether there is c.
        wRegularizer: a penalty on W.
        uRegularizer: likewise on U.
        bRegularizer: likewise on b.
    """
    cell = _Rnn(input_size, hidden_size, 1, isInputWithBias)
    cell.activation = torch.tanh if activation is None else activation
    bias = nn.Parameter(cell.recurrent.new_empty(hidden_size).uniform_(-1, 1) / hidden_size**0.5)
    cell.register_parameter("recurrent_bias", bias if isHiddenWithBias else None)
    return cell


@layer
def LSTM(
    input_size, hidden_size, p=0.0, activation=None, inner_activation=None,
    wRegularizer=None, uRegularizer=None, bRegularizer=None,
):  # fmt: skip
    """Source: Hochreiter and Schmidhuber, Neural Computation 1997, with forget gates.

    Args:
        input_size: features of a step.
        hidden_size: of the state, and of the output.
        p: share of the inputs and of the state that is dropped in training; one draw for all steps of a sequence.
        activation: a layer; Tanh() by default.
        inner_activation: of the gates; Sigmoid() by default.
        wRegularizer: a penalty on the weight of the inputs.
        uRegularizer: likewise of the state.
        bRegularizer: likewise on the bias.
    """
    return _activated(_Lstm(input_size, hidden_size, 4), p, activation, inner_activation)


@layer
def LSTMPeephole(input_size, hidden_size, p=0.0, wRegularizer=None, uRegularizer=None, bRegularizer=None):
    """`LSTM` whose gates see the memory, too. Source: Gers and Schmidhuber, IJCNN 2000."""
    cell = _activated(_Peephole(input_size, hidden_size, 4), p, None, None)
    bound = hidden_size**-0.5
    cell.peephole = nn.Parameter(torch.empty(3, hidden_size).uniform_(-bound, bound))
    return cell


@layer
def GRU(
    input_size, hidden_size, p=0.0, activation=None, inner_activation=None,
    wRegularizer=None, uRegularizer=None, bRegularizer=None,
):  # fmt: skip
    """H = (1 - z) * a(W x + U (r * h)) + z * h. Source: Cho et al., EMNLP 2014; arguments as of `LSTM`.

    Weights: (3 hidden, input), (3 hidden,), gates in the order reset, update, candidate; of the state (2 hidden,
    hidden) for both gates, (hidden, hidden) for the candidate.
    """
    return _activated(_Gru(input_size, hidden_size, 3), p, activation, inner_activation)


class Recurrent(Container):
    """Runs a cell over the steps: (B, T, F) -> (B, T, hidden_size)."""

    def __init__(self, bigdl_type: str = "float") -> None:
        super().__init__()

    def compute(self, x: Any) -> Any:
        return _scanned(_cell(self, self.layers), x)


class BiRecurrent(Container):
    """A cell over the steps, and a copy with weights of its own over the steps from the end.

    Args:
        merge: a layer of a table of both outputs; CAddTable() by default.
    """

    def __init__(self, merge: Any = None, bigdl_type: str = "float") -> None:
        super().__init__()
        self.arguments = {"merge": merge}
        self.merge = merge

    def add(self, model: nn.Module) -> Any:
        """The cell; returns self."""
        _cell(self, [model])
        self.add_module("0", model)
        self.add_module("1", type(model)(**model.arguments))
        return self

    def compute(self, x: Any) -> Any:
        there, back = self._modules.get("0"), self._modules.get("1")
        ahead = _scanned(_cell(self, [there] if there else []), x)
        behind = _scanned(_cell(self, [back]), x.flip(1)).flip(1)
        return ahead + behind if self.merge is None else self.merge((ahead, behind))


class RecurrentDecoder(Container):
    """Runs a cell for so many steps from one input (B, F); each output is the next input.

    Args:
        seq_length: steps.
    """

    def __init__(self, seq_length: int, bigdl_type: str = "float") -> None:
        super().__init__()
        self.arguments = {"seq_length": seq_length}

    def compute(self, x: Any) -> Any:
        cell, outputs = _cell(self, self.layers), []
        state, masks = cell.start(x), cell.masks(x)
        for _ in range(self.arguments["seq_length"]):
            x, state = cell.step(x, state, masks)
            outputs.append(x)
        return torch.stack(outputs, 1)


LAYERS.update({one.__name__: one for one in (Recurrent, BiRecurrent, RecurrentDecoder)})


# --- what they are made of -------------------------------------------------------------------------------------------


class _Cell(nn.Module):
    """Weights (gates * hidden, input), bias, and recurrent weights (gates * hidden, hidden)."""

    def __init__(self, inputs: int, hidden: int, gates: int, with_bias: bool = True) -> None:
        super().__init__()
        plain, recurrent = nn.Linear(inputs, gates * hidden, with_bias), nn.Linear(hidden, gates * hidden, False)
        self.weight = plain.weight
        self.register_parameter("bias", plain.bias)
        self.recurrent, self.hidden, self.p = recurrent.weight, hidden, 0.0
        self.activation: Any = torch.tanh
        self.inner: Any = torch.sigmoid

    def start(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.new_zeros(x.shape[0], self.hidden),)

    def masks(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What inputs and states of a sequence are multiplied by, in training."""
        if not (self.training and self.p):
            return None, None
        shapes = ((x.shape[0], x.shape[-1]), (x.shape[0], self.hidden))
        return tuple(F.dropout(x.new_ones(shape), self.p) for shape in shapes)

    def step(self, x: Tensor, state: tuple[Tensor, ...], masks: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        """Of a table (one step, *state): (output, *state)."""
        output, state = self.step(x[0], tuple(x[1:]), (None, None))
        return (output, *state)

    def scan(self, x: Tensor) -> Tensor:
        state, masks, outputs = self.start(x[:, 0]), self.masks(x), []
        for step in x.unbind(1):
            output, state = self.step(step, state, masks)
            outputs.append(output)
        return torch.stack(outputs, 1)


class _Rnn(_Cell):
    def step(self, x: Tensor, state: tuple[Tensor, ...], masks: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        h = self.activation(
            F.linear(x, self.weight, self.bias) + F.linear(state[0], self.recurrent, self.recurrent_bias)
        )
        return h, (h,)


class _Gru(_Cell):
    def __init__(self, inputs: int, hidden: int, gates: int) -> None:
        super().__init__(inputs, hidden, gates)
        both, candidate = self.recurrent.detach().split((2 * hidden, hidden))
        self.recurrent, self.candidate = nn.Parameter(both.clone()), nn.Parameter(candidate.clone())

    def step(self, x: Tensor, state: tuple[Tensor, ...], masks: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        h = state[0]
        given = F.linear(_masked(x, masks[0]), self.weight, self.bias)
        r, z = self.inner(given[:, : 2 * self.hidden] + F.linear(_masked(h, masks[1]), self.recurrent)).chunk(2, 1)
        new = self.activation(given[:, 2 * self.hidden :] + F.linear(_masked(r * h, masks[1]), self.candidate))
        h = (1 - z) * new + z * h
        return h, (h,)


class _Lstm(_Cell):
    def start(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.new_zeros(x.shape[0], self.hidden), x.new_zeros(x.shape[0], self.hidden))

    def step(self, x: Tensor, state: tuple[Tensor, ...], masks: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, c = state
        given = F.linear(_masked(x, masks[0]), self.weight, self.bias)
        i, f, g, o = (given + F.linear(_masked(h, masks[1]), self.recurrent)).chunk(4, 1)
        return self.remembered((i, f, g, o), c)

    def remembered(self, gates: tuple[Tensor, ...], c: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        i, f, g, o = gates
        c = self.inner(f) * c + self.inner(i) * self.activation(g)
        h = self.inner(o) * self.activation(c)
        return h, (h, c)

    def scan(self, x: Tensor) -> Tensor:
        plain = type(self) is _Lstm and self.inner is torch.sigmoid and self.activation is torch.tanh
        if not plain or (self.p and self.training):
            return super().scan(x)
        h, c = (one[None] for one in self.start(x))
        weights = [self.weight, self.recurrent, self.bias, torch.zeros_like(self.bias)]
        return torch.lstm(x, (h, c), weights, True, 1, 0.0, self.training, False, True)[0]  # one call for all steps

    def to_bigdl(self, name: str, array: np.ndarray) -> np.ndarray:
        return array if name == "peephole" else np.concatenate([np.split(array, 4)[gate] for gate in LSTM_GATES])

    from_bigdl = to_bigdl  # the exchange of two gates is its own way back


class _Peephole(_Lstm):
    def remembered(self, gates: tuple[Tensor, ...], c: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        i, f, g, o = gates
        to_i, to_f, to_o = self.peephole
        c = self.inner(f + to_f * c) * c + self.inner(i + to_i * c) * self.activation(g)
        h = self.inner(o + to_o * c) * self.activation(c)
        return h, (h, c)


def _activated(cell: _Cell, p: float, activation: Any, inner: Any) -> Any:
    cell.p = p
    if activation is not None:
        cell.activation = activation
    if inner is not None:
        cell.inner = inner
    return cell


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _cell(owner: Container, layers: list[Any]) -> Any:
    core = layers[0].core if len(layers) == 1 and isinstance(layers[0], Defined) else None
    if not isinstance(core, _Cell):
        raise UsageError(f"{owner.name()} takes one cell: RnnCell, LSTM, LSTMPeephole or GRU. Received: {layers!r}")
    layers[0].penalise()
    return core


def _scanned(cell: _Cell, x: Any) -> Tensor:
    if not isinstance(x, Tensor) or x.ndim != 3:
        raise UsageError(f"recurrent layers take (B, T, F). Received: {getattr(x, 'shape', x)}")
    return cell.scan(x if x.dtype == cell.weight.dtype else x.to(cell.weight.dtype))
