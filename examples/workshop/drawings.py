"""Pictures for the notebooks: drawn shapes, cats and dogs, in front of parts of real photographs.

Colours, sizes, places, angles and backgrounds are drawn at random for all classes alike, so that only the form tells
one class from another. The photographs are the two that come with scikit-learn.

    drawings.write(folder, ["cat", "dog"], each=100, seed=0)       # folder/cat/000.jpg, ...
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_sample_images

SIDE = 96  # pixels of a picture
_FINE = 2  # a drawing has so many times the side at first; made small, its edges are smooth
_INK = (25, 25, 30)
_WHITE = (250, 250, 250)

Point = tuple[float, float]
Colour = tuple[int, int, int]


class Pen:
    """Draws on a canvas of its own; coordinates reach from -1 to 1, y downwards."""

    def __init__(self) -> None:
        self.side = SIDE * _FINE
        self.colours = np.zeros((self.side, self.side, 3), np.uint8)
        self.covered = np.zeros((self.side, self.side), np.uint8)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled polygon."""
        corners = np.array([[self._at(point) for point in points]], np.int32)
        cv2.fillPoly(self.colours, corners, colour)
        cv2.fillPoly(self.covered, corners, 255)

    def ellipse(self, centre: Point, radii: Point, colour: Colour, turn: float = 0.0) -> None:
        """A filled ellipse; `turn` in degrees."""
        axes = tuple(round(radius * self.side / 2) for radius in radii)
        for canvas, ink in ((self.colours, colour), (self.covered, 255)):
            cv2.ellipse(canvas, self._at(centre), axes, turn, 0, 360, ink, cv2.FILLED)

    def line(self, first: Point, last: Point, colour: Colour, width: float = 0.03) -> None:
        """A straight line."""
        for canvas, ink in ((self.colours, colour), (self.covered, 255)):
            cv2.line(canvas, self._at(first), self._at(last), ink, max(round(width * self.side / 2), 1))

    def erase(self, centre: Point, radius: float) -> None:
        """A round hole."""
        cv2.circle(self.covered, self._at(centre), round(radius * self.side / 2), 0, cv2.FILLED)

    def _at(self, point: Point) -> tuple[int, int]:
        return round((point[0] + 1) * self.side / 2), round((point[1] + 1) * self.side / 2)


# --- what is drawn ---------------------------------------------------------------------------------------------------


def _round(count: int, radii: Sequence[float], turn: float = 0.0) -> list[Point]:
    """Points around the middle, at one radius after the other."""
    angles = [2 * math.pi * at / count - math.pi / 2 + turn for at in range(count)]
    return [(radii[at % len(radii)] * math.cos(a), radii[at % len(radii)] * math.sin(a)) for at, a in enumerate(angles)]


def _circle(pen: Pen, colour: Colour) -> None:
    pen.ellipse((0, 0), (0.75, 0.75), colour)


def _ring(pen: Pen, colour: Colour) -> None:
    pen.ellipse((0, 0), (0.8, 0.8), colour)
    pen.erase((0, 0), 0.45)


def _moon(pen: Pen, colour: Colour) -> None:
    pen.ellipse((0, 0), (0.8, 0.8), colour)
    pen.erase((0.4, -0.2), 0.65)


def _triangle(pen: Pen, colour: Colour) -> None:
    pen.polygon(_round(3, [0.9]), colour)


def _square(pen: Pen, colour: Colour) -> None:
    pen.polygon(_round(4, [0.9], math.pi / 4), colour)


def _star(pen: Pen, colour: Colour) -> None:
    pen.polygon(_round(10, [0.95, 0.4]), colour)


def _cross(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.8, -0.25), (0.8, -0.25), (0.8, 0.25), (-0.8, 0.25)], colour)
    pen.polygon([(-0.25, -0.8), (0.25, -0.8), (0.25, 0.8), (-0.25, 0.8)], colour)


def _heart(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.ellipse((side * 0.36, -0.3), (0.42, 0.42), colour)
    pen.polygon([(-0.73, -0.09), (0, -0.3), (0.73, -0.09), (0, 0.85)], colour)


def _cat(pen: Pen, colour: Colour) -> None:
    inner = _mixed(colour, (180, 160, 235), 0.6)
    for side in (-1, 1):
        pen.polygon([(side * 0.72, -0.92), (side * 0.68, 0.0), (side * 0.1, -0.45)], colour)
        pen.polygon([(side * 0.64, -0.72), (side * 0.58, -0.2), (side * 0.26, -0.42)], inner)
    pen.ellipse((0, 0.12), (0.74, 0.62), colour)
    for side in (-1, 1):
        pen.ellipse((side * 0.3, 0.0), (0.17, 0.15), (150, 230, 200))
        pen.ellipse((side * 0.3, 0.0), (0.05, 0.14), _INK)
        for lift in (-0.08, 0.05, 0.18):
            pen.line((side * 0.2, 0.36), (side * 0.95, 0.3 + lift), _WHITE, 0.025)
    pen.polygon([(-0.09, 0.26), (0.09, 0.26), (0, 0.38)], (140, 120, 230))
    pen.line((0, 0.38), (-0.12, 0.5), _INK)
    pen.line((0, 0.38), (0.12, 0.5), _INK)


def _dog(pen: Pen, colour: Colour) -> None:
    dark = _mixed(colour, _INK, 0.45)
    pen.ellipse((0, 0.0), (0.62, 0.72), colour)
    for side in (-1, 1):
        pen.ellipse((side * 0.66, -0.05), (0.2, 0.58), dark, -side * 14)
        pen.ellipse((side * 0.24, -0.18), (0.12, 0.13), _WHITE)
        pen.ellipse((side * 0.24, -0.16), (0.08, 0.09), _INK)
    pen.ellipse((0, 0.7), (0.14, 0.22), (120, 110, 230))
    pen.ellipse((0, 0.38), (0.38, 0.32), _mixed(colour, _WHITE, 0.6))
    pen.ellipse((0, 0.2), (0.19, 0.13), _INK)
    pen.line((0, 0.3), (0, 0.5), _INK)
    pen.line((0, 0.5), (-0.2, 0.56), _INK)
    pen.line((0, 0.5), (0.2, 0.56), _INK)


SHAPES = {
    "circle": _circle, "cross": _cross, "heart": _heart, "moon": _moon,
    "ring": _ring, "square": _square, "star": _star, "triangle": _triangle,
}  # fmt: skip
ANIMALS = {"cat": _cat, "dog": _dog}


# --- pictures --------------------------------------------------------------------------------------------------------


def picture(kind: str, random: np.random.Generator) -> np.ndarray:
    """One picture, uint8, (96, 96, 3), BGR.

    Args:
        kind: of `SHAPES` or `ANIMALS`.
        random: of all that is drawn at random.
    """
    pen = Pen()
    (SHAPES | ANIMALS)[kind](pen, _colour(random))
    placed = _placing(pen.side, random)
    colours = cv2.warpAffine(pen.colours, placed, (pen.side, pen.side))
    covered = cv2.warpAffine(pen.covered, placed, (pen.side, pen.side))
    colours, covered = (cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in (colours, covered))
    share = covered[..., np.newaxis] / 255.0
    return (colours * share + _background(random) * (1 - share)).astype(np.uint8)


def write(folder: str | Path, kinds: Sequence[str], each: int, seed: int) -> None:
    """Writes pictures as JPEG: ``folder/<kind>/000.jpg`` and so on, `each` of every kind."""
    random = np.random.default_rng(seed)
    for kind in kinds:
        Path(folder, kind).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            encoded = cv2.imencode(".jpg", picture(kind, random))[1]
            Path(folder, kind, f"{number:03}.jpg").write_bytes(encoded.tobytes())


def _placing(side: int, random: np.random.Generator) -> np.ndarray:
    """Turned by up to 25 degrees, made smaller, moved."""
    scale = random.uniform(0.65, 0.9)
    placed = cv2.getRotationMatrix2D((side / 2, side / 2), random.uniform(-25, 25), scale)
    placed[:, 2] += random.uniform(-1, 1, 2) * (0.95 - scale) * side / 2
    return placed


def _background(random: np.random.Generator) -> np.ndarray:
    photograph = _photographs()[random.integers(2)]
    size = int(random.integers(SIDE, 3 * SIDE))
    top, left = (int(random.integers(whole - size)) for whole in photograph.shape[:2])
    part = np.ascontiguousarray(photograph[top : top + size, left : left + size, ::-1])
    return cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


@cache
def _photographs() -> list[np.ndarray]:
    return load_sample_images().images


def _colour(random: np.random.Generator) -> Colour:
    hsv = np.array([[[random.integers(180), random.integers(60, 220), random.integers(120, 240)]]], np.uint8)
    return tuple(map(int, cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]))


def _mixed(first: Colour, other: Colour, share: float) -> Colour:
    return tuple(round(a * (1 - share) + b * share) for a, b in zip(first, other, strict=True))
