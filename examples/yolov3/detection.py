"""What is done with a detector's boxes: one for each object, how good they are, drawing them. numpy and Pillow.

A picture's detections are (k, 6): xmin, ymin, xmax, ymax, class, score; its truth is (n, 6): xmin, ymin, xmax, ymax,
class, difficult. Boxes are in shares of the picture's width and height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    common = (high - low).clip(0).prod(axis=-1)
    areas = [(boxes[:, 2:4] - boxes[:, :2]).clip(0).prod(axis=-1) for boxes in (a, b)]
    return common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-12)


def non_max_suppression(candidates: np.ndarray, least: float = 0.05, overlap: float = 0.45) -> np.ndarray:
    """One box for each object: in each class the best ones that do not overlap a better one.

    Args:
        candidates: (k, 4 + classes): boxes, with a score for each class.
        least: score of what is kept.
        overlap: intersection over union from which two boxes are one object.

    Returns:
        (n, 6) detections, the best first.
    """
    found = []
    for kind, scores in enumerate(candidates[:, 4:].T):
        places = np.flatnonzero(scores >= least)
        order = places[np.argsort(-scores[places], kind="stable")]
        boxes = candidates[order, :4]
        alike = overlaps(boxes, boxes) >= overlap
        kept: list[int] = []
        for place in range(len(order)):
            if not alike[place, kept].any():
                kept.append(place)
        extra = np.stack([np.full(len(kept), kind), scores[order[kept]]], axis=1)
        found.append(np.concatenate([boxes[kept], extra], axis=1))
    detections = np.concatenate([np.empty((0, 6)), *found])
    return detections[np.argsort(-detections[:, 5], kind="stable")]


def average_precisions(
    detections: Sequence[np.ndarray], truths: Sequence[np.ndarray], overlap: float = 0.5
) -> Mapping[int, float]:
    """For each class that occurs, the area under its curve of precision over recall, as Pascal VOC has it since 2010.

    A detection is right if the object of its class that it overlaps most is overlapped by at least `overlap`, and no
    better detection has found that one. Difficult objects are neither asked for nor held against a detection.

    Args:
        detections: of each picture, (k, 6).
        truths: of each picture, (n, 6).
        overlap: intersection over union.
    """
    classes = sorted({int(kind) for truth in truths for kind in truth[truth[:, 5] == 0, 4]})
    return {kind: _average_precision(kind, detections, truths, overlap) for kind in classes}


def _average_precision(
    kind: int, detections: Sequence[np.ndarray], truths: Sequence[np.ndarray], overlap: float
) -> float:
    judged, wanted = [np.empty((0, 2))], 0
    for found, truth in zip(detections, truths, strict=True):
        mine = truth[truth[:, 4] == kind]
        wanted += int((mine[:, 5] == 0).sum())
        judged.append(judge(found[found[:, 4] == kind], mine, overlap))
    scores, right = np.concatenate(judged).T
    right = right[np.argsort(-scores, kind="stable")]
    hits = right.cumsum()
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / wanted
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best_from_here))


def judge(found: np.ndarray, truth: np.ndarray, overlap: float) -> np.ndarray:
    """(k, 2): score and 1 for right or 0 for wrong, of one picture and class; difficult ones left out."""
    found = found[np.argsort(-found[:, 5], kind="stable")]
    if not len(truth):
        return np.stack([found[:, 5], np.zeros(len(found))], axis=1)
    common = overlaps(found, truth)
    taken, judged = set(), []
    for row, object_ in enumerate(common.argmax(axis=1)):
        hit = common[row, object_] >= overlap
        if hit and truth[object_, 5]:
            continue
        judged.append((found[row, 5], float(hit and object_ not in taken)))
        if hit:
            taken.add(object_)
    return np.array(judged, dtype=float).reshape(-1, 2)


def drawn(image: np.ndarray, detections: np.ndarray, names: Sequence[str], zoom: int = 1) -> Image.Image:
    """The picture with its detections' boxes, names and scores.

    Args:
        image: (height, width, 3) in [0, 1].
        detections: (k, 6).
        names: of the classes.
        zoom: pixels for each of the picture's.
    """
    made = Image.fromarray((np.asarray(image) * 255).round().astype(np.uint8))
    made = made.resize((made.width * zoom, made.height * zoom))
    canvas = ImageDraw.Draw(made)
    for *box, kind, score in detections[::-1]:
        colour = COLOURS[int(kind) % len(COLOURS)]
        left, top, right, bottom = np.array(box).clip(0, 1) * (made.size * 2) - np.array([0, 0, 1, 1])
        canvas.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=2)
        text = f"{names[int(kind)]} {score:.2f}"
        place = (left, max(0, top - 12))
        canvas.rectangle(canvas.textbbox(place, text), fill=colour)
        canvas.text(place, text, fill="white")
    return made
