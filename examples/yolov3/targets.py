"""From a record of the image set to what YOLOv3 is trained with: operations of tf.data, and the anchors.

Boxes are (xmin, ymin, xmax, ymax) in shares of the picture's width and height, anchors (width, height) likewise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from model import ANCHOR_MASKS, STRIDES


def decoded(record: dict[str, Any], size: int) -> tuple[Any, Any]:
    """A record's picture and boxes.

    Args:
        record: ``image``, an encoded picture; ``label`` (n, 6): xmin, ymin, xmax, ymax in pixels counted from 1, class,
            difficult.
        size: pixels of a side to which the picture is stretched.

    Returns:
        (size, size, 3) in [0, 1], and (n, 6): the box in shares, class, difficult.
    """
    pixels = tf.io.decode_image(record["image"], channels=3, expand_animations=False)
    shape = tf.cast(tf.shape(pixels), tf.float32)
    label = tf.reshape(record["label"], (-1, 6))
    edges = tf.stack([label[:, 0] - 1, label[:, 1] - 1, label[:, 2], label[:, 3]], axis=1)
    boxes = edges / tf.stack([shape[1], shape[0], shape[1], shape[0]])
    image = tf.image.resize(pixels, (size, size)) / 255.0
    return tf.ensure_shape(image, (size, size, 3)), tf.concat([boxes, label[:, 4:]], axis=1)


def flipped(image: Any, boxes: Any) -> tuple[Any, Any]:
    """Picture and boxes, mirrored from left to right every other time."""
    if tf.random.uniform(()) < 0.5:
        mirrored = tf.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
        return tf.reverse(image, [1]), tf.concat([mirrored, boxes[:, 4:]], axis=1)
    return image, boxes


def targets_of(boxes: Any, anchors: Any, size: int) -> tuple[Any, ...]:
    """For each scale (G, G, A, 6): the box, 1 and the class at the cell of its centre and the anchor most like it.

    Each object has one place, of the scale that has its anchor. Where two have the same, the first one stays. Difficult
    ones are left out.

    Args:
        boxes: (n, 6): the box in shares, class, difficult.
        anchors: (9, 2), sorted by area.
        size: pixels of the picture's side.
    """
    boxes = tf.boolean_mask(boxes, boxes[:, 5] == 0)
    sides = boxes[:, 2:4] - boxes[:, :2]
    boxes = tf.boolean_mask(boxes, tf.reduce_min(sides, axis=1) > 0)
    sides, centres = boxes[:, 2:4] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:4]) / 2
    likest = tf.argmax(likeness(sides, tf.constant(anchors, tf.float32)), axis=1, output_type=tf.int32)
    values = tf.concat([boxes[:, :4], tf.ones_like(boxes[:, :1]), boxes[:, 4:5]], axis=1)
    made = []
    for stride, mask in zip(STRIDES, ANCHOR_MASKS, strict=True):
        cells = size // stride
        at = tf.clip_by_value(tf.cast(centres * cells, tf.int32), 0, cells - 1)
        places = tf.stack([at[:, 1], at[:, 0], likest - int(mask[0])], axis=1)
        own = (likest >= int(mask[0])) & (likest <= int(mask[-1])) & first_of_each(places)
        kept = tf.boolean_mask(places, own), tf.boolean_mask(values, own)
        made.append(tf.scatter_nd(*kept, (cells, cells, len(mask), 6)))
    return tuple(made)


def likeness(sides: Any, anchors: Any) -> Any:
    """(n, k): intersection over union of boxes (n, 2) and anchors (k, 2) that share their centre."""
    common = tf.reduce_prod(tf.minimum(sides[:, None], anchors[None]), axis=-1)
    return common / (tf.reduce_prod(sides, axis=-1)[:, None] + tf.reduce_prod(anchors, axis=-1)[None] - common)


def first_of_each(rows: Any) -> Any:
    """(n,): False for a row of (n, k) that an earlier one equals."""
    same = tf.reduce_all(rows[:, None] == rows[None], axis=-1)
    earlier = tf.linalg.band_part(tf.cast(same, tf.int32), -1, 0) - tf.linalg.band_part(tf.cast(same, tf.int32), 0, 0)
    return tf.reduce_sum(earlier, axis=1) == 0


def anchors_of(sides: np.ndarray, count: int = 9, seed: int = 0) -> np.ndarray:
    """Anchors for boxes of these sizes: k-means, where near means a large intersection over union.

    Args:
        sides: (n, 2), width and height in shares.
        count: of the anchors.
        seed: of the boxes to begin with.

    Returns:
        (count, 2) float32, sorted by area.

    Raises:
        ValueError: there are fewer different sizes than anchors.
    """
    different = np.unique(sides, axis=0)
    if len(different) < count:
        raise ValueError(f"{count} anchors need as many different sizes of boxes. The set has: {len(different)}")
    means = np.random.default_rng(seed).choice(different, count, replace=False).astype(np.float32)
    nearest = np.full(len(sides), -1)
    for _ in range(300):
        before, nearest = nearest, likeness(np.asarray(sides, np.float32), means).numpy().argmax(axis=1)
        if (before == nearest).all():
            break
        for one in np.unique(nearest):
            means[one] = sides[nearest == one].mean(axis=0)
    return means[np.argsort(means.prod(axis=1))]
