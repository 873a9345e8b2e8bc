"""A torch criterion as the loss of a Keras-style model, on the torch backend.

Owns: that, and its trip to other processes.
Leaves: the criterion (zoo.bigdl.nn.criterion, torch.nn), losses of every backend (objectives).
"""

from __future__ import annotations

import base64
import pickle
from typing import Any

import cloudpickle

from zoo.engine.errors import UsageError
from zoo.pipeline.api.keras.objectives import LossFunction
from zoo.pipeline.api.library import library

keras = library()


@keras.saving.register_keras_serializable("zoo")
class TorchObjective(LossFunction):
    """Calls ``criterion(output, target)``.

    A file keeps it as the user's own code (a pickle), which Keras reads on explicit trust only (``safe_mode=False``).

    Args:
        criterion: a ``torch.nn.Module``.
        name: of the loss.

    Raises:
        UsageError: Keras computes with another backend than torch.
    """

    def __init__(self, criterion: Any, name: str | None = None) -> None:
        if keras.backend.backend() != "torch":
            raise UsageError(
                f"{type(criterion).__name__} computes with torch, and Keras here with {keras.backend.backend()}: start "
                "the program with KERAS_BACKEND=torch, or give a loss of zoo.pipeline.api.keras.objectives."
            )
        super().__init__(name=name or type(criterion).__name__.lower())
        self._criterion = criterion

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The criterion's value."""
        return self._criterion(y_pred, y_true)

    def check(self, y_true: Any, y_pred: Any) -> str:
        """Nothing is known of the criterion."""
        return ""

    def to_torch(self) -> Any:
        """The criterion."""
        return self._criterion

    def get_config(self) -> dict[str, Any]:
        """For Keras' files, and for other processes."""
        return {"name": self.name, "user_code": base64.b64encode(cloudpickle.dumps(self._criterion)).decode()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TorchObjective:
        """The inverse of `get_config`.

        Raises:
            UsageError: the file is not trusted.
        """
        if keras.src.saving.serialization_lib.in_safe_mode() is not False:
            raise UsageError(
                f"the model was compiled with the criterion '{config['name']}', which is kept as code. Where you trust "
                "the file's author: load_model(path, trust=True); else load_model(path, compile=False)."
            )
        return cls(pickle.loads(base64.b64decode(config["user_code"])), config["name"])  # noqa: S301  trusted
