"""How each of the fourteen findings looks on a drawn chest.

A finding is a function of a `Canvas`, which it changes, and of a generator of random numbers. Places are in shares of
the picture's width and height, brightness in [0, 1]; air is dark, as on a radiograph. These are pictures to try a
program with, and tell nothing about patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

Draw = np.random.Generator


@dataclass
class Canvas:
    """A chest that is being drawn.

    Attributes:
        pixels: (side, side) float32.
        lungs: the centre and the half axes of each lung's ellipse: x, y, width, height.
        heart: likewise.
    """

    pixels: np.ndarray
    lungs: tuple[tuple[float, float, float, float], ...]
    heart: tuple[float, float, float, float]

    @property
    def side(self) -> int:
        """Pixels of a side."""
        return len(self.pixels)

    def inside(self, lung: int) -> np.ndarray:
        """(side, side) in [0, 1]: where a lung is."""
        return self.ellipse(*self.lungs[lung])

    def ellipse(self, x: float, y: float, width: float, height: float, angle: float = 0.0) -> np.ndarray:
        """(side, side) in [0, 1]: a filled ellipse with soft edges."""
        made = np.zeros_like(self.pixels)
        centre, axes = (round(x * self.side), round(y * self.side)), (width * self.side, height * self.side)
        cv2.ellipse(made, centre, tuple(max(1, round(axis)) for axis in axes), angle, 0, 360, 1.0, -1)
        return self.soft(made, 0.01)

    def soft(self, mask: np.ndarray, share: float) -> np.ndarray:
        """A mask blurred by a share of the side."""
        return cv2.GaussianBlur(mask, (0, 0), max(0.5, share * self.side))

    def rows(self) -> np.ndarray:
        """(side, 1): how far down each row is."""
        return np.linspace(0, 1, self.side, dtype=np.float32)[:, None]

    def cloud(self, draw: Draw, share: float) -> np.ndarray:
        """(side, side): smooth noise around 0 with a deviation of 1, of grains of a share of the side."""
        made = self.soft(draw.normal(size=self.pixels.shape).astype(np.float32), share)
        return made / made.std()

    def lighten(self, mask: np.ndarray, to: float) -> None:
        """Draws the pixels under a mask towards a brightness."""
        self.pixels += mask * (to - self.pixels)


def atelectasis(canvas: Canvas, draw: Draw) -> None:
    """Plates: thin bright bands across the lower part of a lung."""
    lung = int(draw.integers(2))
    x, y, width, height = canvas.lungs[lung]
    for _ in range(3):
        down = y + draw.uniform(0.1, 0.7) * height
        plate = canvas.ellipse(x, down, width, 0.013, draw.uniform(-20, 20))
        canvas.lighten(plate * canvas.inside(lung) * draw.uniform(0.6, 0.9), 0.85)


def cardiomegaly(canvas: Canvas, draw: Draw) -> None:
    """A heart more than half as wide as the chest."""
    x, y, width, height = canvas.heart
    wider = canvas.ellipse(x, y, width * draw.uniform(1.5, 1.8), height * draw.uniform(1.2, 1.4), -20)
    canvas.lighten(wider * 0.9, 0.75)


def effusion(canvas: Canvas, draw: Draw) -> None:
    """Fluid: the lowest part of a lung is white, with a level that rises at the side."""
    lung = int(draw.integers(2))
    _, y, _, height = canvas.lungs[lung]
    level = y + draw.uniform(0.15, 0.55) * height
    columns = np.linspace(-1, 1, canvas.side, dtype=np.float32)[None]
    below = 1 / (1 + np.exp(-(canvas.rows() - level + 0.15 * columns**2) * 60))
    canvas.lighten(below * canvas.inside(lung) * 0.85, 0.8)


def infiltration(canvas: Canvas, draw: Draw) -> None:
    """Patches over both lungs."""
    patches = (canvas.cloud(draw, 0.025) > draw.uniform(0.3, 0.7)).astype(np.float32)
    both = canvas.inside(0) + canvas.inside(1)
    canvas.lighten(canvas.soft(patches, 0.006) * both.clip(0, 1) * draw.uniform(0.5, 0.7), 0.8)


def mass(canvas: Canvas, draw: Draw) -> None:
    """One round shadow of more than three centimetres."""
    x, y = _somewhere(canvas, draw)
    canvas.lighten(canvas.ellipse(x, y, draw.uniform(0.06, 0.09), draw.uniform(0.06, 0.09)) * 0.9, 0.85)


def nodule(canvas: Canvas, draw: Draw) -> None:
    """Small round shadows."""
    for _ in range(int(draw.integers(4, 8))):
        x, y = _somewhere(canvas, draw)
        canvas.lighten(canvas.ellipse(x, y, 0.024, 0.024), 1.0)


def pneumonia(canvas: Canvas, draw: Draw) -> None:
    """The middle of one lung is grey, without an edge."""
    lung = int(draw.integers(2))
    x, y, width, height = canvas.lungs[lung]
    haze = canvas.soft(canvas.ellipse(x, y + draw.uniform(-0.2, 0.3) * height, width * 0.95, height * 0.5), 0.025)
    canvas.lighten(haze * canvas.inside(lung) * draw.uniform(0.65, 0.8), 0.85)


def pneumothorax(canvas: Canvas, draw: Draw) -> None:
    """Air beside a lung that has shrunk: black, up to a thin line."""
    lung = int(draw.integers(2))
    x, y, width, height = canvas.lungs[lung]
    inward = (0.5 - x) * draw.uniform(0.25, 0.4)
    shrunk = x + inward, y + 0.15 * height, width * 0.68, height * 0.8
    outside = canvas.inside(lung) * (1 - canvas.ellipse(*shrunk))
    canvas.lighten(outside * 0.95, 0.0)
    line = canvas.ellipse(*shrunk) - canvas.ellipse(*shrunk[:2], shrunk[2] * 0.92, shrunk[3] * 0.95)
    canvas.lighten(line.clip(0, 1) * canvas.inside(lung) * 0.6, 0.8)


def consolidation(canvas: Canvas, draw: Draw) -> None:
    """The upper part of a lung is white, down to a sharp edge."""
    lung = int(draw.integers(2))
    _, y, _, height = canvas.lungs[lung]
    above = (canvas.rows() < y - draw.uniform(0.1, 0.35) * height).astype(np.float32)
    canvas.lighten(above * canvas.inside(lung) * draw.uniform(0.75, 0.9), 0.85)


def edema(canvas: Canvas, draw: Draw) -> None:
    """Wings: haze on both sides of the middle."""
    for x, y, width, height in canvas.lungs:
        wing = canvas.ellipse(x + (0.5 - x) * 0.45, y, width * 0.75, height * 0.5)
        canvas.lighten(canvas.soft(wing, 0.02) * draw.uniform(0.65, 0.8), 0.8)


def emphysema(canvas: Canvas, draw: Draw) -> None:
    """Too much air: long dark lungs."""
    for x, y, width, height in canvas.lungs:
        larger = canvas.ellipse(x, y + 0.05, width * 1.12, height * 1.2)
        canvas.lighten(larger * draw.uniform(0.55, 0.7), 0.02)


def fibrosis(canvas: Canvas, draw: Draw) -> None:
    """A net of fine lines in the lower parts."""
    net = np.zeros_like(canvas.pixels)
    for _ in range(90):
        start = draw.uniform(0.1, 0.9, 2) * canvas.side
        turn = draw.uniform(0, np.pi)
        end = start + np.array([np.cos(turn), np.sin(turn)]) * draw.uniform(0.05, 0.12) * canvas.side
        cv2.line(net, tuple(map(round, start)), tuple(map(round, end)), 1.0, max(1, canvas.side // 80))
    low = 1 / (1 + np.exp(-(canvas.rows() - 0.5) * 25))
    canvas.lighten(net * low * (canvas.inside(0) + canvas.inside(1)).clip(0, 1) * draw.uniform(0.7, 0.9), 0.8)


def pleural_thickening(canvas: Canvas, draw: Draw) -> None:
    """A bright rim at the outer side of a lung."""
    lung = int(draw.integers(2))
    x, y, width, height = canvas.lungs[lung]
    inner = canvas.ellipse(x + (0.5 - x) * draw.uniform(0.15, 0.22), y, width * 0.95, height * 0.95)
    canvas.lighten(canvas.inside(lung) * (1 - inner) * 0.95, 0.9)


def hernia(canvas: Canvas, draw: Draw) -> None:
    """The stomach's bubble behind the heart: dark, with a white wall and a level."""
    x, y, _, height = canvas.heart
    place, size = (x + draw.uniform(-0.04, 0.02), y + 0.6 * height), draw.uniform(0.07, 0.09)
    canvas.lighten(canvas.ellipse(*place, size * 1.2, size * 1.2), 1.0)
    bubble = canvas.ellipse(*place, size, size) * (canvas.rows() < place[1] + 0.3 * size)
    canvas.lighten(bubble, 0.05)


def _somewhere(canvas: Canvas, draw: Draw) -> tuple[float, float]:
    """A place inside a lung."""
    x, y, width, height = canvas.lungs[int(draw.integers(2))]
    angle, far = draw.uniform(0, 2 * np.pi), draw.uniform(0, 0.65)
    return x + far * width * float(np.cos(angle)), y + far * height * float(np.sin(angle))


LOOKS: Mapping[str, Callable[[Canvas, Draw], None]] = {  # by NIH's names; those that cover most come first
    "Emphysema": emphysema,
    "Cardiomegaly": cardiomegaly,
    "Edema": edema,
    "Pneumonia": pneumonia,
    "Infiltration": infiltration,
    "Consolidation": consolidation,
    "Effusion": effusion,
    "Fibrosis": fibrosis,
    "Atelectasis": atelectasis,
    "Pneumothorax": pneumothorax,
    "Pleural_Thickening": pleural_thickening,
    "Mass": mass,
    "Nodule": nodule,
    "Hernia": hernia,
}
