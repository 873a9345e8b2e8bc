"""The parts of `examples/xray` are right; the whole of it is in test_examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from bigdlfiles import GOLDEN
from examplemodules import imported
from zoo.engine.errors import UsageError

pytest.importorskip("pyspark")
pytest.importorskip("cv2")

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "xray"
NAMES = ("findings", "labels", "chests", "resnet", "model", "scores")


@pytest.fixture(scope="module")
def xray() -> Any:
    """The example's modules."""
    with imported(FOLDER, NAMES) as modules:
        yield modules


def computed(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(x)))


def test_the_same_seed_draws_the_same_chests(xray: Any, tmp_path: Path):
    roots = [xray.chests.write_chests(tmp_path / name, 3, side=32, seed=5) for name in ("one", "two")]
    files = [{path.name: path.read_bytes() for path in root.glob("**/*.*")} for root in roots]
    assert files[0] == files[1] and len(files[0]) > 3
    other = xray.chests.write_chests(tmp_path / "three", 3, side=32, seed=6)
    assert {path.name: path.read_bytes() for path in other.glob("**/*.*")} != files[0]


def test_every_finding_changes_what_is_seen(xray: Any):
    for name in xray.labels.FINDINGS:
        plain, ill = (
            xray.chests.chest(np.zeros(5), seen, 64, np.random.default_rng(0)).astype(int) for seen in ([], [name])
        )
        assert np.abs(plain - ill).max() > 30, name


def test_findings_are_as_unequal_as_nihs_and_half_of_the_patients_have_none(xray: Any):
    drawn = [xray.chests.drawn_findings(np.random.default_rng(number)) for number in range(4000)]
    counts = {name: sum(name in one for one in drawn) for name in xray.labels.FINDINGS}
    assert sorted(counts, key=counts.get)[0] == "Hernia" and sorted(counts, key=counts.get)[-1] == "Infiltration"
    assert 0.35 < sum(not one for one in drawn) / len(drawn) < 0.6


def test_nihs_table_becomes_labels(xray: Any, spark: Any, tmp_path: Path):
    table = tmp_path / "table.csv"
    table.write_text(
        "Image Index,Finding Labels,Follow-up #\n"
        "00000013_005.png,Emphysema | Infiltration | Pleural_Thickening,5\n"
        "00000013_008.png,No Finding,8\n"
    )
    rows = {row.Image_Index: row.label for row in xray.labels.read_labels(spark, str(table)).collect()}
    assert [name for name, has in zip(xray.labels.FINDINGS, rows["00000013_005.png"], strict=True) if has] == [
        "Infiltration", "Emphysema", "Pleural_Thickening",
    ]  # fmt: skip
    assert rows["00000013_008.png"] == [0.0] * 14


@pytest.mark.parametrize(
    "text, problem",
    [
        ("Image Index,Finding Labels\n1.png,Mass|Hernea\n", r"1\.png has \['Mass', 'Hernea'\]"),
        ("Image Index,Finding Labels\n1.png,\n", r"1\.png has None"),
        ("image,labels\n1.png,Mass\n", "no column"),
    ],
)
def test_a_table_of_another_form_ends_the_program(xray: Any, spark: Any, tmp_path: Path, text: str, problem: str):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(SystemExit, match=problem):
        xray.labels.read_labels(spark, str(tmp_path / "table.csv"))


def test_nobody_is_in_both_parts(xray: Any, spark: Any):
    rows = [(f"{patient:08d}_{number:03d}.png",) for patient in range(200) for number in range(3)]
    parts = xray.labels.split_by_patient(spark.createDataFrame(rows, ["Image_Index"]), held_back=0.25)
    patients = [{row.Image_Index[:8] for row in part.collect()} for part in parts]
    assert not patients[0] & patients[1] and len(patients[0] | patients[1]) == 200
    assert 30 <= len(patients[1]) <= 70
    assert sum(part.count() for part in parts) == len(rows)


def test_a_bigdl_file_is_cut_at_pool5_and_gets_a_head(xray: Any):
    path = str(GOLDEN / "resnet_graph.bigdl")
    made = xray.model.get_resnet_model(path, 14, 32)
    assert made.output_shape == (None, 14)
    outputs = computed(made, np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype("float32"))
    assert outputs.shape == (2, 14) and np.ptp(outputs) > 0
    frozen = xray.model.get_resnet_model(path, 14, 32, frozen=True)
    assert len(frozen.trainable_weights) == 2 < len(made.trainable_weights)
    with pytest.raises(UsageError, match="no layer 'pool6'.*Did you mean 'pool5'"):
        xray.model.get_resnet_model(path, 14, 32, cut="pool6")


def test_a_file_with_channels_last_as_keras_applications_have_it(xray: Any, tmp_path: Path):
    pictures = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(4, 3, name="conv5_block3_out")(pictures)
    keras.Model(pictures, keras.layers.GlobalAveragePooling2D()(features)).save(tmp_path / "body.keras")
    made = xray.model.get_resnet_model(str(tmp_path / "body.keras"), 14, 16)
    x = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype("float32")
    body = keras.saving.load_model(tmp_path / "body.keras")
    weights, bias = made.get_weights()[-2:]
    pooled = computed(body, x.transpose(0, 2, 3, 1))
    wanted = 1 / (1 + np.exp(-(pooled @ weights.T + bias)))
    np.testing.assert_allclose(computed(made, x), wanted, atol=1e-5)


def test_random_weights_have_the_names_of_caffes_resnet_50(xray: Any):
    made = xray.resnet.resnet50(32, width=2)
    convolutions = [layer.name for layer in made.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 1 + 3 * 16 + 4  # and the dense layer: 50 without the shortcuts
    assert {"conv1", "res2a_branch1", "res4f_branch2c", "res5c_branch2b"} <= set(convolutions)
    assert made.get_layer("pool5").output.shape == (None, 64, 1, 1)


def test_scores_are_those_of_scikit_learn(xray: Any, spark: Any, tmp_path: Path):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels, values = rng.random((60, 3)) < [0.4, 0.1, 0.0], rng.integers(0, 9, (60, 3)) / 8
    rows = [(label.astype(float).tolist(), value.tolist()) for label, value in zip(labels, values, strict=True)]
    frame = spark.createDataFrame(rows, "label array<float>, prediction array<float>")
    scores = xray.scores.scores_of(frame, ["a", "b", "c"])
    assert [score.positives for score in scores] == labels.sum(0).tolist()
    wanted = [metrics.roc_auc_score(labels[:, number], values[:, number]) for number in (0, 1)]
    assert [score.auc for score in scores] == [*map(pytest.approx, wanted), None]
    assert np.trapezoid(*xray.scores.curve(labels[:, 0], values[:, 0])[::-1]) == pytest.approx(wanted[0])
    assert "c                           0       -  (few)" in xray.scores.table(scores)
    pytest.importorskip("matplotlib")
    xray.scores.plot(tmp_path / "auc.png", frame, scores)
    assert (tmp_path / "auc.png").read_bytes().startswith(b"\x89PNG")
