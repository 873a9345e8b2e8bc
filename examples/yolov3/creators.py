"""What every rank makes: the data sets and the model, by functions of a `config`.

It is a dict with ``train`` and ``test`` (paths of image sets), ``size`` (pixels), ``classes`` (how many), ``width`` (of
the network), ``anchors`` ((9, 2), sorted by area) and ``cache`` (whether decoded pictures are kept in memory).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from model import ANCHOR_MASKS, YoloLoss, YoloV3
from targets import decoded, flipped, targets_of

from zoo.orca.data import image

LEARNING_RATE = 2e-3


def read(path: str, size: int, config: dict[str, Any] | None = None) -> Any:
    """(picture, boxes) of each record of a set, or of this rank's part of it."""
    records = image.read_parquet(
        "tf_dataset",
        path,
        output_types={"image": tf.string, "label": tf.float32},
        output_shapes={"image": (), "label": (None, 6)},
        config=config,
    )
    return records.map(lambda record: decoded(record, size), num_parallel_calls=tf.data.AUTOTUNE)


def train_data_creator(config: dict[str, Any], batch_size: int) -> Any:
    """Batches of (pictures, targets of each scale), in another order and mirrored otherwise in each epoch."""
    size, anchors = config["size"], config["anchors"]
    train_dataset = read(config["train"], size, config)
    train_dataset = train_dataset.cache() if config["cache"] else train_dataset
    train_dataset = train_dataset.shuffle(buffer_size=512)
    train_dataset = train_dataset.map(flipped)
    train_dataset = train_dataset.map(lambda picture, boxes: (picture, targets_of(boxes, anchors, size)))
    return train_dataset.batch(batch_size).prefetch(2)


def test_data_creator(config: dict[str, Any], batch_size: int) -> Any:
    """Batches of pictures."""
    return read(config["test"], config["size"]).map(lambda picture, boxes: picture).batch(batch_size)


def model_creator(config: dict[str, Any]) -> keras.Model:
    """The model that is trained."""
    model = YoloV3(config["size"], training=True, classes=config["classes"], width=config["width"])
    anchors = np.array(config["anchors"])
    loss = [YoloLoss(anchors[mask], classes=config["classes"]) for mask in ANCHOR_MASKS]
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=LEARNING_RATE), loss=loss)
    return model


def detector_of(weights: list[np.ndarray], config: dict[str, Any]) -> keras.Model:
    """The model that gives boxes, with the weights of the one that was trained."""
    model = YoloV3(
        config["size"], training=False, classes=config["classes"], anchors=config["anchors"], width=config["width"]
    )
    model.set_weights(weights)
    return model
