"""The seed's network: a body that has learnt from photographs, cut before its classes, with a new head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo.bigdl.optim.optimizer import L2Regularizer
from zoo.pipeline.api.keras.layers import Dense, Dropout, GlobalAveragePooling2D, Input, Permute
from zoo.pipeline.api.keras.models import Model
from zoo.pipeline.api.net import Net

RANDOM = "random"
KERAS = (".keras", ".h5", ".hdf5")
CUTS = {True: "conv5_block3_out", False: "pool5"}  # of keras.applications.ResNet50, and of Caffe's and BigDL's


def get_resnet_model(
    model_path: str, label_length: int, side: int = 224, *, cut: str | None = None, frozen: bool = False,
    penalty: float = 1e-1,
) -> Any:  # fmt: skip
    """The network: pictures (rows, 3, side, side) to probabilities (rows, label_length).

    Args:
        model_path: path or URL of a body: a BigDL file, or one of Keras 3 (``.keras``, ``.h5``).
        label_length: how many findings.
        side: of the pictures, pixels. A body that ends in a pooling of 7 x 7 wants 224.
        cut: the name of the layer whose output goes to the head; None for `CUTS`.
        frozen: whether the body stays as it is.
        penalty: L2, of the head.
    """
    keras_file = model_path.lower().endswith(KERAS)
    full_model = Net.load_keras(hdf5_path=model_path) if keras_file else Net.load_bigdl(model_path)
    names = {layer.name for layer in full_model.layers}
    model = full_model.new_graph([cut or CUTS[keras_file and CUTS[True] in names]])
    if frozen:
        model.freeze()
    last = model.inputs[0].shape[-1] == 3  # Keras' own models have the channels last
    inputNode = Input(name="input", shape=(3, side, side))
    resnet = model.to_keras()(Permute((2, 3, 1))(inputNode) if last else inputNode)
    flatten = GlobalAveragePooling2D(dim_ordering="tf" if last else "th")(resnet)
    dropout = Dropout(0.2)(flatten)
    logits = Dense(
        label_length, W_regularizer=L2Regularizer(penalty), b_regularizer=L2Regularizer(penalty), activation="sigmoid"
    )(dropout)  # fmt: skip
    return Model(inputNode, logits)


def random_body(folder: Path, side: int, width: int) -> str:
    """Writes a ResNet-50 with random weights; returns its path."""
    from resnet import resnet50

    path = folder / f"resnet50-random-{side}-{width}.keras"
    resnet50(side, width).save(path)
    return str(path)
