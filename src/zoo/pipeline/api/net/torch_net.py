"""`TorchNet`: a program of TorchScript, or a module of torch, where a layer of BigDL is expected.

Owns: the words of the call.
Leaves: TorchScript (zoo.engine.frameworks.torch.programs), what a layer can do (zoo.pipeline.api.torch).
"""

from __future__ import annotations

from typing import Any

from zoo.bigdl.nn import activities
from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch import programs
from zoo.pipeline.api.net.computing import ComputingNet
from zoo.pipeline.api.torch import TorchModel


class TorchNet(TorchModel):
    """A torch module as a layer of BigDL; one from a file of TorchScript needs no class of Python.

    Args:
        path: of a file of TorchScript (``torch.jit.save``), or a URL.

    Attributes:
        module: a ``torch.nn.Module``; training changes its weights.
        example: inputs that it takes, with a batch; None where none are known.

    Raises:
        UsageError: another file.
    """

    def __init__(self, path: str) -> None:
        self._take(programs.Program(programs.read(path)), None)

    @staticmethod
    def from_pytorch(module: Any, input: Any = None) -> TorchNet:  # type: ignore[override]
        """Of a module, or of what makes one (a class), or of a function of tensors.

        Args:
            module: any of them.
            input: what it takes, with the batch: a shape (a list of ints), a tensor or array, or a tuple of such for
                several inputs. The module is tried on it, and `savePytorch` needs it.

        Raises:
            UsageError: something else; an input that the module does not take.
        """
        made = module() if isinstance(module, type) else module
        if callable(made) and not hasattr(made, "state_dict"):
            made = programs.Function(made)
        net: TorchNet = TorchNet.__new__(TorchNet)
        net._take(made, None if input is None else programs.examples(input))
        if net.example is not None:
            programs.TorchProgram(net.module).compute(net.example)
        return net

    def predict(self, x: Any, batch_per_thread: int = 32, distributed: bool = True) -> Any:
        """The outputs in evaluation mode.

        Args:
            x: an array, or a list of arrays for several inputs, rows first: computed in this process. An RDD, a
                DataFrame, XShards: where they lie, on the current cluster.
            batch_per_thread: rows computed at once.
            distributed: accepted for older programs.

        Raises:
            UsageError: arrays of a shape that the module does not take, or of different numbers of rows.
        """
        if hasattr(x, "columns") or not all(hasattr(one, "__array__") for one in activities.flat(x)):
            return super().predict(x, batch_per_thread)
        return ComputingNet(programs.TorchProgram(self.module)).predict(x, batch_per_thread)

    def savePytorch(self, path: str, over_write: bool = False) -> str:
        """Writes the module as TorchScript, which ``TorchNet(path)`` and `Net.load_torch` read; returns the path.

        Args:
            path: or URL.
            over_write: whether a file there may be replaced.

        Raises:
            UsageError: a file is there already; the module is none of TorchScript and no input is known to trace it.
        """
        if not over_write and storage.exists(path):
            raise UsageError(f"{storage.masked(path)} is there already. Say over_write=True to replace it.")
        return programs.write(self.module, self.example, path)

    def _take(self, module: Any, example: Any) -> None:
        TorchModel.__init__(self, module)
        self.example = example


__all__ = ["TorchNet"]
