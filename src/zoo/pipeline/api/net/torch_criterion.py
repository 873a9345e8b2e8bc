"""`TorchCriterion`: a loss of torch, or one in a file of TorchScript, where a criterion of BigDL is expected.

Owns: the words of the call.
Leaves: TorchScript (zoo.engine.frameworks.torch.programs), what a criterion can do (zoo.pipeline.api.torch).
"""

from __future__ import annotations

from typing import Any

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch import programs
from zoo.pipeline.api.torch import TorchLoss


class TorchCriterion(TorchLoss):
    """A loss as a program of TorchScript: ``(output, target) -> number``.

    Args:
        path: of a file of TorchScript (``torch.jit.save``), or a URL.

    Raises:
        UsageError: another file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(programs.Program(programs.read(path)))

    @staticmethod
    def from_pytorch(loss: Any, input: Any = None, label: Any = None) -> TorchCriterion:  # type: ignore[override]
        """Of a loss module or class, or of a function of (output, target).

        Args:
            loss: any of them.
            input: an output of the model's, with the batch: a shape (a list of ints), a tensor or array. The loss is
                tried on it.
            label: likewise a target; where it is None, one like `input`.

        Raises:
            UsageError: something else; a loss that does not take them, or gives no single number.
        """
        made = TorchLoss.from_pytorch(loss).function
        if input is not None:
            _try(made, programs.examples(input), programs.examples(input if label is None else label))
        criterion: TorchCriterion = TorchCriterion.__new__(TorchCriterion)
        TorchLoss.__init__(criterion, made)
        return criterion


def _try(loss: Any, outputs: Any, labels: Any) -> None:
    (value,) = programs.TorchProgram(loss).compute([*outputs, *labels])
    if value.size != 1:
        raise UsageError(f"the loss must give one number for a batch. It gave an array of shape {value.shape}.")


__all__ = ["TorchCriterion"]
