"""Spark ML stages that train and apply neural networks, and DataFrames of images."""

import importlib
from typing import Any

_HOMES = {
    "NNEstimator": "nn_classifier", "NNModel": "nn_classifier", "NNModelWriter": "nn_classifier",
    "NNClassifier": "nn_classifier", "NNClassifierModel": "nn_classifier",
    "XGBClassifier": "xgb", "XGBClassifierModel": "xgb", "XGBRegressor": "xgb", "XGBRegressorModel": "xgb",
    "NNImageReader": "nn_image_reader", "NNImageSchema": "nn_image_schema", "with_origin_column": "nn_image_schema",
    "trusting": "files",
}  # fmt: skip
"""Name -> its module, which is imported when the name is first asked for: pyspark is an extra."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
