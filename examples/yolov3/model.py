"""YOLOv3 in small: a residual backbone, three scales with three anchors each, its loss, and the boxes it means.

After Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018. Only `keras.ops`: any backend of Keras will do.
Boxes are (xmin, ymin, xmax, ymax) in shares of the picture's width and height; anchors (width, height) likewise.

Axes of arrays: B pictures, G cells of a grid's side, A anchors of a scale, C classes, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

STRIDES = (32, 16, 8)  # pixels that a cell of each scale's grid is wide, the coarsest first
ANCHOR_MASKS = np.array([[6, 7, 8], [3, 4, 5], [0, 1, 2]])  # the anchors of each scale; they are sorted by area
DEFAULT_IMAGE_SIZE = 96
CANDIDATES = 100  # boxes of a picture that a model for detection gives
MOST_OBJECTS = 100  # of a picture and scale that the loss compares predictions with
SAFE = 4.0  # log of the largest factor between an anchor and a predicted side


def YoloV3(  # noqa: N802  the seed's spelling
    size: int = DEFAULT_IMAGE_SIZE,
    *,
    training: bool = False,
    classes: int = 80,
    anchors: Any = None,
    width: int = 16,
) -> keras.Model:
    """The network, on pictures (B, size, size, 3) in [0, 1].

    Args:
        size: pixels, a multiple of 32.
        training: what comes out. True: for each scale (B, G, G, A, 5 + C), raw: centre in its cell, log size over the
            anchor's, objectness, classes. False: the CANDIDATES best boxes (B, K, 4 + C), with a score for each class.
        classes: how many.
        anchors: (9, 2), sorted by area; needed for ``training=False``.
        width: channels of the first layer; each of the four halvings that follow doubles them.

    Raises:
        ValueError: a size that the strides do not divide, or no anchors for boxes.
    """
    if size % STRIDES[0]:
        raise ValueError(f"size must be a multiple of {STRIDES[0]}. Received: {size}")
    if not training and anchors is None:
        raise ValueError("training=False gives boxes, and needs the anchors that the model was trained with.")
    pictures = keras.Input((size, size, 3))
    raw = heads(backbone(pictures, width), width, classes)
    if training:
        return keras.Model(pictures, raw, name="yolov3")
    return keras.Model(pictures, Candidates(anchors)(raw), name="yolov3")


def backbone(x: Any, width: int) -> list[Any]:
    """Features of each stride of STRIDES, the coarsest first."""
    x = convolved(x, width, 3, strides=2)
    found = []
    for stage in range(1, 5):
        channels = width << stage
        x = convolved(x, channels, 3, strides=2)
        x = layers.add([x, convolved(convolved(x, channels // 2, 1), channels, 3)])
        found.append(x)
    return found[:0:-1]


def heads(features: Sequence[Any], width: int, classes: int) -> list[Any]:
    """Raw predictions of each scale; a finer one also sees what the coarser one has seen."""
    made, seen = [], None
    for level, feature in enumerate(features):
        channels = (width << 3) >> level
        if seen is not None:
            wider = layers.UpSampling2D()(convolved(seen, channels, 1))
            feature = layers.concatenate([wider, feature])
        seen = convolved(convolved(feature, channels, 1), 2 * channels, 3)
        per_scale = len(ANCHOR_MASKS[level])
        flat = layers.Conv2D(per_scale * (5 + classes), 1)(seen)
        made.append(layers.Reshape((*flat.shape[1:3], per_scale, 5 + classes), name=f"scale_{level}")(flat))
    return made


def convolved(x: Any, channels: int, kernel: int, strides: int = 1) -> Any:
    """Convolution, batch normalisation, leaky ReLU."""
    x = layers.Conv2D(channels, kernel, strides, "same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.LeakyReLU(negative_slope=0.1)(x)


@keras.saving.register_keras_serializable("yolov3")
class Candidates(layers.Layer):
    """Boxes with a score for each class out of the raw predictions: the best ones of all scales.

    Args:
        anchors: (9, 2).
    """

    def __init__(self, anchors: Any, **words: Any) -> None:
        super().__init__(**words)
        self.anchors = [[float(side) for side in anchor] for anchor in anchors]

    def call(self, raw: Sequence[Any]) -> Any:
        """(B, K, 4 + C)."""
        every = []
        for scale, mask in zip(raw, ANCHOR_MASKS, strict=True):
            boxes = boxes_of(scale, np.asarray(self.anchors)[mask])
            scores = ops.sigmoid(scale[..., 4:5]) * ops.sigmoid(scale[..., 5:])
            found = ops.concatenate([boxes, scores], axis=-1)
            every.append(ops.reshape(found, (-1, found.shape[1] * found.shape[2] * found.shape[3], found.shape[4])))
        everything = ops.concatenate(every, axis=1)
        best = ops.max(everything[..., 4:], axis=-1)
        _, places = ops.top_k(best, min(CANDIDATES, best.shape[1]))
        return ops.take_along_axis(everything, places[..., None], axis=1)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "anchors": self.anchors}


def boxes_of(raw: Any, anchors: Any) -> Any:
    """The boxes (B, G, G, A, 4) that raw predictions of one scale mean."""
    cells = raw.shape[1]
    centres = (ops.sigmoid(raw[..., 0:2]) + corners(cells)) / cells
    halves = ops.exp(ops.clip(raw[..., 2:4], -SAFE, SAFE)) * ops.cast(anchors, raw.dtype) / 2
    return ops.concatenate([centres - halves, centres + halves], axis=-1)


def corners(cells: int) -> Any:
    """The upper left corner (x, y) of each cell, (G, G, 1, 2), counted in cells; rows are y."""
    line = ops.arange(cells, dtype="float32")
    x, y = ops.meshgrid(line, line)
    return ops.stack([x, y], axis=-1)[:, :, None]


def overlap(a: Any, b: Any) -> Any:
    """Intersection over union of boxes (..., 4), by the rules of broadcasting; 0 where both are empty."""
    sides = ops.maximum(ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2]), 0.0)
    common = sides[..., 0] * sides[..., 1]
    areas = [ops.prod(ops.maximum(box[..., 2:] - box[..., :2], 0.0), axis=-1) for box in (a, b)]
    return common / ops.maximum(areas[0] + areas[1] - common, 1e-9)


@keras.saving.register_keras_serializable("yolov3")
class YoloLoss(keras.losses.Loss):
    """The loss of one scale: where the objects are, how large, whether there is one, which.

    Targets are (B, G, G, A, 6): the box, 1 where there is an object, its class; see `targets.targets_of`. A prediction
    without a target that overlaps some object by more than `ignore` is not told that it is wrong.

    Args:
        anchors: (A, 2), of this scale.
        classes: how many.
        ignore: intersection over union.
    """

    def __init__(self, anchors: Any, classes: int, ignore: float = 0.5, name: str = "yolo_loss") -> None:
        super().__init__(name=name)
        self.anchors = [[float(side) for side in anchor] for anchor in anchors]
        self.classes, self.ignore = classes, ignore

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B,): the sum over a picture's cells and anchors."""
        boxes, there = y_true[..., :4], y_true[..., 4]
        kinds = ops.one_hot(ops.cast(y_true[..., 5], "int32"), self.classes)
        objectness = _cross_entropy(there, y_pred[..., 4]) * ops.maximum(there, self._blamed(boxes, there, y_pred))
        which = there * ops.sum(_cross_entropy(kinds, y_pred[..., 5:]), axis=-1)
        return ops.sum(there * self._misplaced(boxes, there, y_pred) + objectness + which, axis=(1, 2, 3))

    def _misplaced(self, boxes: Any, there: Any, y_pred: Any) -> Any:
        """Squared errors of centre and log size, (B, G, G, A); those of small objects count up to twice."""
        cells = y_pred.shape[1]
        sides = ops.where(there[..., None] > 0, boxes[..., 2:] - boxes[..., :2], ops.cast(self.anchors, boxes.dtype))
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2 * cells - corners(cells)
        off = ops.square(ops.sigmoid(y_pred[..., 0:2]) - centres)
        off = off + ops.square(y_pred[..., 2:4] - ops.log(sides / ops.cast(self.anchors, boxes.dtype)))
        return (2 - sides[..., 0] * sides[..., 1]) * ops.sum(off, axis=-1)

    def _blamed(self, boxes: Any, there: Any, y_pred: Any) -> Any:
        """1 where a prediction overlaps no object of its picture by more than `ignore`, (B, G, G, A)."""
        cells, places = y_pred.shape[1], y_pred.shape[1] ** 2 * y_pred.shape[3]
        found, order = ops.top_k(ops.reshape(there, (-1, places)), min(places, MOST_OBJECTS))
        objects = ops.take_along_axis(ops.reshape(boxes, (-1, places, 4)), order[..., None], axis=1)
        predicted = ops.reshape(ops.stop_gradient(boxes_of(y_pred, self.anchors)), (-1, places, 1, 4))
        best = ops.max(overlap(predicted, objects[:, None]) * found[:, None], axis=-1)
        return ops.reshape(ops.cast(best <= self.ignore, y_pred.dtype), (-1, cells, cells, y_pred.shape[3]))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"anchors": self.anchors, "classes": self.classes, "ignore": self.ignore, "name": self.name}


def _cross_entropy(truth: Any, logits: Any) -> Any:
    return ops.maximum(logits, 0.0) - logits * truth + ops.log1p(ops.exp(-ops.abs(logits)))
