"""Distributed training of YOLOv3 from images in Parquet, as in the CVPR 2021 tutorial: write, read, train, detect.

    python examples/yolov3/yolov3.py                          generated pictures of coloured shapes, in minutes
    python examples/yolov3/yolov3.py --voc VOCdevkit --size 416 --width 32 --epochs 100
    python examples/yolov3/yolov3.py --cluster-mode standalone

It prints the mean average precision (mAP@0.5) on pictures that the model has not seen, and writes some of them with
the boxes that were found.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from detection import average_precisions, drawn, non_max_suppression
from shapes import CLASSES, write_shapes

from zoo.orca import init_orca_context, stop_orca_context
from zoo.orca.data import image
from zoo.orca.learn.tf.estimator import Estimator

GOAL = 0.5  # mAP@0.5 of the generated pictures
SHOWN = 12  # pictures that are drawn
PICTURES_OF_CHUNK = 50  # each rank reads its own chunks
HERE = Path(__file__).resolve().parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", metavar="DIR", help="a VOCdevkit; without, pictures of shapes are generated")
    parser.add_argument("--train", default="2007:trainval", metavar="SPLITS", help="e.g. 2007:trainval,2012:trainval")
    parser.add_argument("--test", default="2007:test", metavar="SPLITS", help="splits that are held back")
    parser.add_argument("--pictures", type=int, default=1500, help="generated for training; a tenth more for the test")
    parser.add_argument("--output", type=Path, default=Path("yolov3"), help="for the sets and the drawn pictures")
    parser.add_argument("--size", type=int, default=96, help="pixels of a picture's side in the model")
    parser.add_argument("--width", type=int, default=16, help="channels of the model's first layer")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16, help="pictures of a step, over all ranks")
    parser.add_argument("--workers", type=int, default=2, help="ranks on each node")
    parser.add_argument("--cluster-mode", default="local", help="of init_orca_context; 'python' for local processes")
    parser.add_argument("--backend", default="tensorflow", choices=["tensorflow", "jax", "torch"], help="of Keras")
    return parser.parse_args()


def splits_of(text: str) -> list[tuple[int, str]]:
    """``"2007:trainval,2012:trainval"`` as write_parquet wants it."""
    pairs = [part.partition(":") for part in text.split(",")]
    if not all(year.isdigit() and split for year, _, split in pairs):
        raise SystemExit(f"splits are written as 2007:trainval,2012:trainval. Received: {text}")
    return [(int(year), split) for year, _, split in pairs]


def write(options: argparse.Namespace) -> dict[str, Any]:
    """Writes the pictures as two sets of Parquet files; returns what the creators need to know."""
    root, classes = options.voc, None
    if root is None:
        root, classes = options.output / "VOCdevkit", list(CLASSES)
        write_shapes(root, options.pictures, max(1, options.pictures // 10))
    paths = {}
    for part, splits in (("train", options.train), ("test", options.test)):
        paths[part] = str((options.output / part).resolve())
        image.write_parquet(
            "voc", paths[part], voc_root_path=str(root), splits_names=splits_of(splits), classes=classes,
            block_size=PICTURES_OF_CHUNK,
        )  # fmt: skip
    names = image.VOCDatasets(str(root), splits_of(options.test), classes).classes_label
    return {**paths, "names": names, "classes": len(names), "cache": options.voc is None}


def main(options: argparse.Namespace) -> float:
    """The mAP@0.5."""
    from creators import detector_of, model_creator, read, test_data_creator, train_data_creator
    from targets import anchors_of

    config = {**write(options), "size": options.size, "width": options.width}
    boxes = np.concatenate([found for _, found in read(config["train"], options.size).as_numpy_iterator()])
    config["anchors"] = anchors_of(boxes[:, 2:4] - boxes[:, :2]).tolist()

    trainer = Estimator.from_keras(model_creator=model_creator, config=config, workers_per_node=options.workers)
    trainer.fit(train_data_creator, epochs=options.epochs, batch_size=options.batch_size)

    detector = detector_of(trainer.get_model().get_weights(), config)
    finder = Estimator.from_keras(keras_model=detector, config=config, workers_per_node=options.workers)
    candidates = finder.predict(test_data_creator, batch_size=64)
    detections = [non_max_suppression(of_one) for of_one in candidates]

    test = read(config["test"], options.size)
    found = average_precisions(detections, [truth for _, truth in test.as_numpy_iterator()])
    for kind, precision in found.items():
        print(f"{config['names'][kind]:<12} AP@0.5 {precision:.3f}")
    shown = [picture for picture, _ in test.take(SHOWN).as_numpy_iterator()]
    draw(options.output / "pictures", shown, detections, config["names"])
    return float(np.mean(list(found.values())))


def draw(folder: Path, pictures: Any, detections: Any, names: list[str]) -> None:
    """Some pictures with what was found on them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (picture, found) in enumerate(zip(pictures, detections, strict=False)):
        sure = found[found[:, 5] >= 0.3]
        drawn(picture, sure, names, zoom=max(1, 384 // len(picture))).save(folder / f"{number:02d}.png")
    print(f"Pictures with boxes: {folder.resolve()}")


if __name__ == "__main__":
    options = arguments()
    os.environ["KERAS_BACKEND"] = options.backend  # before `main` imports Keras
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.cluster_mode == "python":
        init_orca_context(runtime="python", cores=2)
    else:
        init_orca_context(options.cluster_mode, cores=2, extra_python_lib=",".join(map(str, HERE.glob("*.py"))))
    score = main(options)
    stop_orca_context()
    print(f"mAP@0.5 {score:.3f}")
    if options.voc is None and options.epochs >= 20 and score < GOAL:
        sys.exit(f"The mAP@0.5 is {score:.3f}; {GOAL} was to be reached. Please report this, with your versions.")
