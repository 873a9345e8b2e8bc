"""A drawn set of chest radiographs in the form of NIH's ChestX-ray14, to try the program with.

    python chests.py chests --patients 400

writes ``chests/images/00000001_000.png`` and so on, grey, and ``chests/Data_Entry.csv`` with the columns ``Image
Index`` and ``Finding Labels``. A patient has one to five images and keeps most findings from one to the next. About
half of the images have none; how often each is seen follows NIH's counts, to the power of `EVENNESS`. The same seed
gives the same images.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
from findings import LOOKS, Canvas
from labels import COUNTS, NO_FINDING

EVENNESS = 0.6  # 1: Hernia would be on 0.2 % of the images, 0: on as many as any other finding
MOST_IMAGES = 5  # of a patient
STAYS = 0.85  # the probability that a finding is on the next image, too
TABLE = "Data_Entry.csv"


def write_chests(root: Path, patients: int, side: int = 160, seed: int = 0) -> Path:
    """Writes the set below `root`; returns it.

    Args:
        root: made where it is not there.
        patients: how many.
        side: of the images, pixels.
        seed: of everything.
    """
    (root / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(1, patients + 1):
        draw = np.random.default_rng((seed, patient))
        body, ill = draw.uniform(-1, 1, 5), drawn_findings(draw)
        for number in range(int(draw.integers(1, MOST_IMAGES + 1))):
            name = f"{patient:08d}_{number:03d}.png"
            seen = [finding for finding in ill if draw.random() < STAYS]
            if not cv2.imwrite(str(root / "images" / name), chest(body, seen, side, draw)):
                raise OSError(f"{root / 'images' / name} could not be written.")
            rows.append((name, "|".join(seen) or NO_FINDING, number, patient))
    with (root / TABLE).open("w", newline="") as file:
        csv.writer(file).writerows([("Image Index", "Finding Labels", "Follow-up #", "Patient ID"), *rows])
    return root


def drawn_findings(draw: np.random.Generator) -> list[str]:
    """What a patient has: each finding by its own frequency."""
    weights = np.array([COUNTS[name] for name in LOOKS], dtype=float) ** EVENNESS
    odds = weights / weights.sum() * 0.85
    return sorted(name for name, odd in zip(LOOKS, odds, strict=True) if draw.random() < odd)


def chest(body: np.ndarray, seen: list[str], side: int, draw: np.random.Generator) -> np.ndarray:
    """An image, (side, side) uint8.

    Args:
        body: five numbers in [-1, 1]: the patient's build.
        seen: the findings.
        side: pixels.
        draw: of this image.
    """
    canvas = healthy(body + draw.normal(0, 0.15, 5), side)
    for name, look in LOOKS.items():
        if name in seen:
            look(canvas, draw)
    return exposed(ribbed(canvas), draw)


def healthy(body: np.ndarray, side: int) -> Canvas:
    """A chest without findings and ribs."""
    wide, high, far, size, low = body
    lungs = tuple(
        (0.5 + sign * (0.19 + 0.01 * far), 0.46 + 0.02 * low, 0.145 + 0.01 * wide, 0.30 + 0.02 * high)
        for sign in (-1, 1)
    )
    heart = (0.54, 0.62 + 0.02 * low, 0.10 + 0.01 * size, 0.13 + 0.01 * size)
    canvas = Canvas(np.full((side, side), 0.15, np.float32), lungs, heart)
    canvas.lighten(canvas.ellipse(0.5, 0.6, 0.46 + 0.02 * wide, 0.58), 0.6)
    for lung in (0, 1):
        canvas.lighten(canvas.inside(lung), 0.22)
    canvas.lighten(canvas.ellipse(0.5, 0.4, 0.05, 0.5), 0.7)
    canvas.lighten(canvas.ellipse(*heart, -20), 0.7)
    return canvas


def ribbed(canvas: Canvas) -> Canvas:
    """With ribs and collarbones, which are seen through everything."""
    ribs, side = np.zeros_like(canvas.pixels), canvas.side
    for x, y, width, height in canvas.lungs:
        outward = 1 if x > 0.5 else -1
        for down in np.linspace(-0.95, 0.85, 8):
            centre = round((x - outward * 0.3 * width) * side), round((y + down * height + 0.06) * side)
            axes = round(1.25 * width * side), round(0.09 * side)
            cv2.ellipse(ribs, centre, axes, outward * 12, 190, 350, 1.0, max(1, side // 50))
    canvas.pixels += 0.12 * canvas.soft(ribs, 0.004)
    return canvas


def exposed(canvas: Canvas, draw: np.random.Generator) -> np.ndarray:
    """The picture that is taken: shifted, turned a little, lighter or darker, with noise; uint8."""
    side = canvas.side
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), draw.normal(0, 2), draw.uniform(0.97, 1.03))
    turn[:, 2] += draw.normal(0, 0.012, 2) * side
    taken = cv2.warpAffine(canvas.pixels, turn, (side, side), borderMode=cv2.BORDER_REPLICATE).clip(0, 1)
    taken = taken ** draw.uniform(0.8, 1.25) * draw.uniform(0.85, 1.0) + draw.normal(0, 0.03, taken.shape)
    return (taken.clip(0, 1) * 255).round().astype(np.uint8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    print("Wrote", write_chests(**vars(parser.parse_args())))
