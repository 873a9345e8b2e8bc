"""Boxes of annotations: which cannot be.

Owns: what is wrong with a box. Leaves: where its numbers come from (voc_dataset, coco).
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def flaw_of_box(corners: Sequence[float], size: tuple[float, float]) -> str:
    """What is wrong with a box; empty when nothing is.

    One that sticks out of its picture is no error: annotators and roundings make many such.

    Args:
        corners: xmin, ymin, xmax, ymax in pixels.
        size: width and height of its picture; infinite where they are not known.
    """
    left, top, right, bottom = corners
    if not all(map(math.isfinite, corners)):
        return "which is not of finite numbers"
    if left > right or top > bottom:
        return "whose maximum is below its minimum"
    if right < 0 or bottom < 0 or left > size[0] or top > size[1]:
        known = ["?" if math.isinf(side) else f"{side:g}" for side in size]
        return f"which lies outside of its picture of {' x '.join(known)}"
    return ""
