"""A small set of pictures in the form of Pascal VOC: coloured circles, squares and triangles on noise, with boxes.

    python shapes.py VOCdevkit --train 600 --test 150

writes ``VOCdevkit/VOC2007/{JPEGImages,Annotations,ImageSets/Main}`` with the splits ``trainval`` and ``test``. The same
seed gives the same pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle")
SIDES = (112, 161)  # of a picture, pixels
SHARE = (0.14, 0.45)  # of a shape's side in the shorter side of its picture
MOST = 5  # shapes in a picture
APART = 0.15  # share of the smaller of two boxes that the other may cover


class Shape(NamedTuple):
    """What is drawn, and its box: pixels counted from 1, the last one included, as in VOC."""

    name: str
    xmin: int
    ymin: int
    xmax: int
    ymax: int


def write_shapes(root: Path, train: int, test: int, seed: int = 0) -> Path:
    """Writes the set below `root`, a directory ``VOCdevkit``; returns it.

    Args:
        root: made where it is not there.
        train: pictures of the split ``trainval``.
        test: pictures of the split ``test``.
        seed: of everything.
    """
    year = root / "VOC2007"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (year / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{number:06d}" for number in range(1, train + test + 1)]
    for number, name in enumerate(names):
        image, shapes = picture(np.random.default_rng((seed, number)))
        image.save(year / "JPEGImages" / f"{name}.jpg", quality=92)
        (year / "Annotations" / f"{name}.xml").write_text(annotation(name, image.size, shapes))
    for split, members in (("trainval", names[:train]), ("test", names[train:])):
        (year / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in members))
    return root


def picture(rng: np.random.Generator) -> tuple[Image.Image, list[Shape]]:
    """A picture and what is on it: at least one shape."""
    width, height = (int(side) for side in rng.integers(*SIDES, size=2))
    ground = rng.uniform(40, 215, 3)
    noise = rng.normal(ground, 22, size=(height, width, 3))
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    shapes: list[Shape] = []
    for _ in range(int(rng.integers(1, MOST + 1))):
        shape = placed(rng, width, height)
        if all(covered(shape, other) <= APART for other in shapes):
            paint(ImageDraw.Draw(image), shape, colour(rng, ground))
            shapes.append(shape)
    return image, shapes


def placed(rng: np.random.Generator, width: int, height: int) -> Shape:
    """A shape somewhere, wholly inside; about as wide as high."""
    side = rng.uniform(*SHARE) * min(width, height)
    wide, high = (max(8, int(side * factor)) for factor in rng.uniform(0.8, 1.25, 2))
    x, y = int(rng.integers(1, width - wide + 1)), int(rng.integers(1, height - high + 1))
    return Shape(str(rng.choice(CLASSES)), x, y, x + wide - 1, y + high - 1)


def covered(one: Shape, other: Shape) -> float:
    """Share of the smaller box that lies in the other."""
    wide = min(one.xmax, other.xmax) - max(one.xmin, other.xmin) + 1
    high = min(one.ymax, other.ymax) - max(one.ymin, other.ymin) + 1
    areas = [(s.xmax - s.xmin + 1) * (s.ymax - s.ymin + 1) for s in (one, other)]
    return max(0, wide) * max(0, high) / min(areas)


def colour(rng: np.random.Generator, ground: np.ndarray) -> tuple[int, ...]:
    """One that can be told from the ground."""
    while True:
        found = rng.integers(0, 256, 3)
        if np.abs(found - ground).sum() > 180:
            return tuple(int(value) for value in found)


def paint(canvas: ImageDraw.ImageDraw, shape: Shape, fill: tuple[int, ...]) -> None:
    """Draws the shape so that it touches all sides of its box."""
    left, top, right, bottom = (edge - 1 for edge in shape[1:])
    if shape.name == "circle":
        canvas.ellipse((left, top, right, bottom), fill)
    elif shape.name == "square":
        canvas.rectangle((left, top, right, bottom), fill)
    else:
        canvas.polygon([((left + right) // 2, top), (right, bottom), (left, bottom)], fill)


def annotation(name: str, size: tuple[int, int], shapes: list[Shape]) -> str:
    """The XML that VOC has for a picture."""
    objects = "".join(
        f"  <object>\n    <name>{shape.name}</name>\n    <difficult>0</difficult>\n    <bndbox>"
        + "".join(f"<{edge}>{getattr(shape, edge)}</{edge}>" for edge in shape._fields[1:])
        + "</bndbox>\n  </object>\n"
        for shape in shapes
    )
    return (
        f"<annotation>\n  <folder>VOC2007</folder>\n  <filename>{name}.jpg</filename>\n"
        f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>\n{objects}</annotation>\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--test", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    print("Wrote", write_shapes(**vars(parser.parse_args())))
