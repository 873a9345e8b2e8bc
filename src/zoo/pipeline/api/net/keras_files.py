"""Models of Keras from an architecture and weights.

Owns: that. Leaves: formats (engine.frameworks.keras.files).
"""

from __future__ import annotations

import json
from typing import Any

from zoo.engine import storage
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.keras import files
from zoo.pipeline.api.library import library
from zoo.pipeline.api.net.graph_net import GraphNet

keras = library()


def load(json_path: str | None, hdf5_path: str | None, by_name: bool) -> Any:
    """See `Net.load_keras`."""
    if json_path is None:
        assert hdf5_path is not None
        return _as_graph(files.load_model(hdf5_path))
    model = _of_json(json_path)
    if hdf5_path is not None:
        files.load_weights(model, hdf5_path, by_name=by_name)
    return _as_graph(model)


def _of_json(path: str) -> Any:
    text = storage.read_bytes(path)
    try:
        version = json.loads(text).get("keras_version", "3")
        if not str(version).startswith("3"):
            raise UsageError(
                f"{storage.masked(path)} was written by Keras {version}; Keras 3 cannot read it. Load it with "
                "tf_keras, and save it as ONNX or as a SavedModel (Net.load_onnx, Net.load_tf)."
            )
        return keras.models.model_from_json(text.decode())
    except UsageError:
        raise
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UsageError(f"{storage.masked(path)} is no architecture of Keras (model.to_json()): {first}") from error


def _as_graph(model: Any) -> Any:
    """A functional model with the words of `GraphNet`, around the same layers."""
    if isinstance(model, GraphNet) or not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        return model
    made = GraphNet(_alone(model.inputs), _alone(model.outputs), name=model.name)
    if getattr(model, "compiled", False):
        made.compile_from_config(model.get_compile_config())
    return made


def _alone(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors
