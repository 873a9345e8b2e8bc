"""The parts of `examples/yolov3` are right, and the whole of it finds shapes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from examplemodules import imported

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "yolov3"
ANCHORS = np.array([[1, 1], [1, 2], [2, 1], [2, 2], [3, 2], [2, 3], [4, 4], [5, 4], [4, 5]], np.float32) / 10
SIZE = 96


@pytest.fixture(scope="module")
def yolo() -> Any:
    """The example's modules."""
    with imported(FOLDER, ("detection", "model", "shapes", "targets")) as modules:
        yield modules


# --- non-max suppression and mAP -------------------------------------------------------------------------------------

CORNERS = arrays.arrays(np.float64, st.tuples(st.integers(1, 8), st.just(4)), elements=st.floats(0, 1))


def detections(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, float).reshape(-1, 6)


def test_overlaps_of_hand_made_boxes(yolo: Any) -> None:
    one, half = [0, 0, 1, 1], [0.5, 0, 1.5, 1]
    found = yolo.detection.overlaps(np.array([one]), np.array([one, half, [2, 2, 3, 3], [1, 1, 0, 0]], float))
    np.testing.assert_allclose(found, [[1, 1 / 3, 0, 0]])


def test_of_boxes_that_overlap_the_best_of_each_class_stays(yolo: Any) -> None:
    candidates = np.array(
        [
            [0.1, 0.1, 0.5, 0.5, 0.6, 0.0],
            [0.1, 0.1, 0.5, 0.52, 0.9, 0.1],  # nearly the same, better: and class 1 keeps it too
            [0.6, 0.6, 0.9, 0.9, 0.3, 0.0],
            [0.0, 0.0, 0.1, 0.1, 0.01, 0.04],  # too unsure
        ]
    )
    found = yolo.detection.non_max_suppression(candidates)
    assert found[:, 4:].tolist() == [[0, 0.9], [0, 0.3], [1, 0.1]]
    np.testing.assert_array_equal(found[:2, :4], candidates[[1, 2], :4])
    assert yolo.detection.non_max_suppression(candidates[3:]).shape == (0, 6)


@given(CORNERS, st.floats(0.1, 0.9))
def test_what_stays_does_not_overlap_and_what_goes_overlaps_a_better_one(
    yolo: Any, boxes: np.ndarray, overlap: float
) -> None:
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    scores = np.linspace(0.2, 0.9, len(boxes))[:, None]
    found = yolo.detection.non_max_suppression(np.concatenate([boxes, scores], axis=1), overlap=overlap)
    between = yolo.detection.overlaps(found[:, :4], found[:, :4]) - np.eye(len(found))
    assert not (between * (1 - np.eye(len(found))) >= overlap).any()
    for box, score in zip(boxes, scores[:, 0], strict=True):
        better = found[found[:, 5] >= score]
        assert (found[:, 5] == score).any() or (yolo.detection.overlaps(box[None], better[:, :4]) >= overlap).any()


def test_average_precision_by_hand(yolo: Any) -> None:
    truth = detections((0, 0, 1, 1, 0, 0), (2, 2, 3, 3, 0, 0))
    found = detections(
        (0, 0, 1, 1, 0, 0.9),  # right
        (0, 0, 1, 0.9, 0, 0.8),  # the same object again: wrong
        (2, 2, 3, 3, 0, 0.7),  # right
        (5, 5, 6, 6, 0, 0.6),  # nothing there
    )
    (precision,) = yolo.detection.average_precisions([found], [truth]).values()
    assert precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    (precision,) = yolo.detection.average_precisions([found[1:]], [truth]).values()
    assert precision == pytest.approx(1.0)  # the second one is the best now
    (precision,) = yolo.detection.average_precisions([found[3:]], [truth]).values()
    assert precision == 0


def test_scores_are_ranked_over_all_pictures(yolo: Any) -> None:
    truths = [detections((0, 0, 1, 1, 0, 0)), detections((0, 0, 1, 1, 0, 0))]
    wrong, right = detections((4, 4, 5, 5, 0, 0.9)), detections((0, 0, 1, 1, 0, 0.5))
    (precision,) = yolo.detection.average_precisions([wrong, right], truths).values()
    assert precision == pytest.approx(0.5 * 0.5)


def test_difficult_objects_count_neither_way_and_classes_are_apart(yolo: Any) -> None:
    truth = detections((0, 0, 1, 1, 0, 0), (2, 2, 3, 3, 0, 1), (4, 4, 5, 5, 2, 0), (6, 6, 7, 7, 3, 1))
    found = detections((2, 2, 3, 3, 0, 0.9), (0, 0, 1, 1, 0, 0.5), (4, 4, 5, 5, 1, 0.9))
    assert yolo.detection.average_precisions([found], [truth]) == {0: pytest.approx(1.0), 2: 0.0}
    assert yolo.detection.average_precisions([detections()], [truth]) == {0: 0.0, 2: 0.0}


# --- targets ---------------------------------------------------------------------------------------------------------


def test_objects_land_in_the_cell_of_their_centre_at_the_anchor_of_their_size(yolo: Any) -> None:
    small, wide = [0.70, 0.30, 0.80, 0.40, 2, 0], [0.1, 0.5, 0.6, 0.9, 1, 0]
    coarse, middle, fine = (
        scale.numpy() for scale in yolo.targets.targets_of(np.array([small, wide], "float32"), ANCHORS, SIZE)
    )
    assert [scale.shape for scale in (coarse, middle, fine)] == [(3, 3, 3, 6), (6, 6, 3, 6), (12, 12, 3, 6)]
    assert np.argwhere(coarse[..., 4]).tolist() == [[2, 1, 1]]  # centre (0.35, 0.7): row 2, column 1; anchor 7
    assert np.argwhere(fine[..., 4]).tolist() == [[4, 9, 0]]  # centre (0.75, 0.35) of 12 cells; anchor 0
    np.testing.assert_allclose(coarse[2, 1, 1], [*wide[:4], 1, 1], rtol=1e-6)
    np.testing.assert_allclose(fine[4, 9, 0], [*small[:4], 1, 2], rtol=1e-6)
    assert not middle.any()


def test_two_objects_of_one_place_difficult_and_empty_ones(yolo: Any) -> None:
    boxes = np.array(
        [
            [0.10, 0.10, 0.20, 0.20, 1, 1],  # difficult
            [0.51, 0.51, 0.61, 0.61, 0, 0],
            [0.515, 0.51, 0.615, 0.61, 2, 0],  # the same cell and anchor
            [0.3, 0.3, 0.3, 0.4, 1, 0],  # no width
        ],
        "float32",
    )
    scales = [scale.numpy() for scale in yolo.targets.targets_of(boxes, ANCHORS, SIZE)]
    assert sum(scale[..., 4].sum() for scale in scales) == 1
    np.testing.assert_allclose(scales[2][6, 6, 0], [*boxes[1, :4], 1, 0])
    none = yolo.targets.targets_of(np.zeros((0, 6), "float32"), ANCHORS, SIZE)
    assert not any(scale.numpy().any() for scale in none)


def test_a_mirrored_picture_has_mirrored_boxes(yolo: Any) -> None:
    import tensorflow as tf

    picture = np.zeros((10, 10, 3), "float32")
    picture[2:4, 1:5] = 1
    boxes = np.array([[0.1, 0.2, 0.5, 0.4, 1, 0]], "float32")
    tf.random.set_seed(3)
    seen = set()
    for _ in range(20):
        image, found = (part.numpy() for part in yolo.targets.flipped(tf.constant(picture), tf.constant(boxes)))
        ys, xs = np.nonzero(image[..., 0])
        np.testing.assert_allclose(found[0, :4] * 10, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], rtol=1e-5)
        seen.add(round(float(found[0, 0]), 3))
    assert seen == {0.1, 0.5}


def test_anchors_are_the_middles_of_clusters(yolo: Any) -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[0.1, 0.1], [0.2, 0.6], [0.7, 0.3]])
    sides = np.concatenate([middle * rng.uniform(0.97, 1.03, (50, 2)) for middle in middles])
    found = yolo.targets.anchors_of(sides, count=3, seed=1)
    np.testing.assert_allclose(found, middles, rtol=0.02)
    with pytest.raises(ValueError, match="9 anchors need as many different sizes of boxes. The set has: 1"):
        yolo.targets.anchors_of(np.full((20, 2), 0.5))


# --- model and loss --------------------------------------------------------------------------------------------------


def answer(target: np.ndarray, anchors: np.ndarray, classes: int) -> np.ndarray:
    """What a network that knows the targets would say, (G, G, A, 5 + C)."""
    cells = len(target)
    said = np.zeros((*target.shape[:3], 5 + classes), "float32")
    said[..., 4:] = -30
    for y, x, a in np.argwhere(target[..., 4]):
        box = target[y, x, a]
        centre = (box[:2] + box[2:4]) / 2 * cells - [x, y]
        said[y, x, a, :2] = np.log(centre / (1 - centre))
        said[y, x, a, 2:4] = np.log((box[2:4] - box[:2]) / anchors[a])
        said[y, x, a, [4, 5 + int(box[5])]] = 30
    return said


@pytest.fixture(scope="module")
def scene(yolo: Any) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """(boxes, targets, perfect answers) of a picture with an object at each scale."""
    boxes = np.array([[0.71, 0.31, 0.8, 0.4, 2, 0], [0.1, 0.5, 0.6, 0.9, 1, 0], [0.2, 0.1, 0.4, 0.4, 0, 0]], "float32")
    targets = [scale.numpy() for scale in yolo.targets.targets_of(boxes, ANCHORS, SIZE)]
    masks = yolo.model.ANCHOR_MASKS
    return boxes, targets, [answer(t, ANCHORS[m], 3) for t, m in zip(targets, masks, strict=True)]


def losses(yolo: Any, targets: list[np.ndarray], said: list[np.ndarray]) -> list[float]:
    masks = yolo.model.ANCHOR_MASKS
    made = [yolo.model.YoloLoss(ANCHORS[mask], classes=3) for mask in masks]
    return [float(loss(t[None], s[None])) for loss, t, s in zip(made, targets, said, strict=True)]


def test_perfect_predictions_cost_nothing_and_every_fault_does(yolo: Any, scene: Any) -> None:
    _, targets, said = scene
    assert losses(yolo, targets, said) == pytest.approx([0, 0, 0], abs=1e-6)
    place = tuple(np.argwhere(targets[2][..., 4])[0])
    box = targets[2][place]
    small = 2 - (box[2] - box[0]) * (box[3] - box[1])
    for part, cost in ((0, None), (1, None), (2, 0.25 * small), (3, 0.25 * small)):
        moved = [scale.copy() for scale in said]
        raw = moved[2][(*place, part)]
        moved[2][(*place, part)] += 0.5
        shifted = (1 / (1 + np.exp(-raw - 0.5)) - 1 / (1 + np.exp(-raw))) ** 2 * small
        assert losses(yolo, targets, moved)[2] == pytest.approx(shifted if cost is None else cost, rel=1e-3)
    for part in (4, 5 + 2):  # not seen; of another class
        moved = [scale.copy() for scale in said]
        moved[2][(*place, part)] = -3
        assert losses(yolo, targets, moved)[2] == pytest.approx(np.log1p(np.exp(3)), rel=1e-4)


def test_a_prediction_that_overlaps_an_object_is_not_called_wrong(yolo: Any, scene: Any) -> None:
    _, targets, said = scene
    y, x, a = np.argwhere(targets[2][..., 4])[0]
    near, far = [scale.copy() for scale in said], [scale.copy() for scale in said]
    near[2][y, x, a + 1] = near[2][y, x, a]  # another anchor says the same box
    near[2][y, x, a + 1, 2:4] += np.log(ANCHORS[a] / ANCHORS[a + 1])
    far[2][0, 0, 0, 4] = 3
    assert losses(yolo, targets, near)[2] == pytest.approx(0, abs=1e-6)
    assert losses(yolo, targets, far)[2] == pytest.approx(np.log1p(np.exp(3)), rel=1e-4)


def test_raw_answers_become_the_boxes_that_they_were_made_of(yolo: Any, scene: Any) -> None:
    boxes, _, said = scene
    candidates = yolo.model.Candidates(ANCHORS)([scale[None] for scale in said])
    assert candidates.shape == (1, yolo.model.CANDIDATES, 7)
    found = yolo.detection.non_max_suppression(keras.ops.convert_to_numpy(candidates)[0])
    found = found[np.argsort(found[:, 4])]
    np.testing.assert_allclose(found[:, :5], boxes[np.argsort(boxes[:, 4]), :5], atol=1e-5)
    assert found[:, 5].min() > 0.99
    truth = boxes
    assert set(yolo.detection.average_precisions([found], [truth]).values()) == {1.0}


def test_the_network_has_three_scales_and_learns_a_picture_by_heart(yolo: Any, scene: Any) -> None:
    _, targets, _ = scene
    keras.utils.set_random_seed(0)
    network = yolo.model.YoloV3(SIZE, training=True, classes=3, width=4)
    assert [tuple(output.shape[1:]) for output in network.outputs] == [(3, 3, 3, 8), (6, 6, 3, 8), (12, 12, 3, 8)]
    masks = yolo.model.ANCHOR_MASKS
    loss = [yolo.model.YoloLoss(ANCHORS[mask], 3) for mask in masks]
    network.compile(
        keras.optimizers.Adam(1e-2), loss, jit_compile=keras.config.backend() == "jax"
    )  # JAX: else op by op
    image = np.random.default_rng(0).uniform(size=(2, SIZE, SIZE, 3)).astype("float32")
    labels = [np.stack([scale, np.zeros_like(scale)]) for scale in targets]  # the other picture is empty
    lost = network.fit(image, labels, epochs=60, batch_size=2, verbose=0).history["loss"]
    assert lost[-1] < 0.05 * lost[0]


def test_sizes_and_anchors_that_cannot_be(yolo: Any) -> None:
    with pytest.raises(ValueError, match="size must be a multiple of 32. Received: 100"):
        yolo.model.YoloV3(100, training=True)
    with pytest.raises(ValueError, match="needs the anchors"):
        yolo.model.YoloV3(96)


def test_loss_and_layer_are_made_again_from_their_config(yolo: Any) -> None:
    loss = yolo.model.YoloLoss(ANCHORS[:3], 3, ignore=0.7)
    assert yolo.model.YoloLoss.from_config(loss.get_config()).get_config() == loss.get_config()
    layer = yolo.model.Candidates(ANCHORS)
    assert yolo.model.Candidates.from_config(layer.get_config()).anchors == layer.anchors


# --- the pictures ----------------------------------------------------------------------------------------------------


def test_the_generated_set_is_shaped_like_voc(yolo: Any, tmp_path: Path) -> None:
    from zoo.orca.data.image import VOCDatasets

    for folder in ("one", "two"):
        yolo.shapes.write_shapes(tmp_path / folder, train=5, test=2, seed=1)
    files = [sorted(p.relative_to(tmp_path / f) for p in (tmp_path / f).rglob("*.*")) for f in ("one", "two")]
    assert files[0] == files[1] and len(files[0]) == 2 * 7 + 2
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files[0])

    trained, tested = (
        VOCDatasets(str(tmp_path / "one"), [(2007, split)], list(yolo.shapes.CLASSES)) for split in ("trainval", "test")
    )
    assert (len(trained), len(tested)) == (5, 2)
    for number in range(5):
        pixels, label = trained[number]
        assert len(label) >= 1 and (label[:, 5] == 0).all()
        assert (label[:, :2] >= 1).all() and (label[:, 2:4] <= pixels.shape[1::-1]).all()
        size = ET.parse(tmp_path / "one/VOC2007/Annotations" / f"{number + 1:06d}.xml").find("size")  # noqa: S314
        assert [int(size.findtext(side)) for side in ("width", "height")] == [*pixels.shape[1::-1]]


def test_drawn_boxes_are_where_they_were_found(yolo: Any) -> None:
    found = detections((0.25, 0.25, 0.75, 0.75, 1, 0.9), (-0.5, 0.5, 2, 0.4, 0, 0.5))
    image = np.asarray(yolo.detection.drawn(np.zeros((50, 60, 3)), found, ["a", "b"], zoom=2))
    assert image.shape == (100, 120, 3)
    assert image[60, 30].tolist() == image[74, 60].tolist() == [0x3C, 0xB4, 0x4B]
    assert not image[60, 60].any()


# --- the whole -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.program
@pytest.mark.one_backend  # the loss and the layers, in which backends differ, are trained above
def test_the_program_finds_shapes(tmp_path: Path) -> None:
    """An untrained model finds nothing: its mAP is below 0.001."""
    command = [sys.executable, str(FOLDER / "yolov3.py"), "--cluster-mode", "python", "--workers", "1",
               "--pictures", "480", "--epochs", "18"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parents[1] / "src")}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=280)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
    assert process.returncode == 0, output
    score = re.search(r"^mAP@0.5 (\d\.\d+)$", output, re.MULTILINE)
    assert score is not None and float(score[1]) > 0.05, output
    assert len(list((tmp_path / "yolov3" / "pictures").glob("*.png"))) == 12
