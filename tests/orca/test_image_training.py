"""Columns of images straight into training: from image sets, tables and Spark's image source."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import imagesets
from zoo.engine.data.pictures import encoded, picture
from zoo.engine.errors import DataError, UsageError, WorkerFailed
from zoo.engine.jobs import ImageTransform

torch = pytest.importorskip("torch")


def halves(image: np.ndarray) -> np.ndarray:
    """Mean red and blue of an image, in [0, 1]."""
    return (image[..., [0, 2]].mean((0, 1)) / 255).astype(np.float32)


def plain(number: int) -> np.ndarray:
    """An image of one colour whose sizes differ from row to row: red for even numbers, else blue."""
    made = np.zeros((4 + number % 3, 6, 3), np.uint8)
    made[..., number % 2 * 2] = 200
    return made


def estimator() -> Any:
    from zoo.orca.learn.pytorch import Estimator

    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    loss = torch.nn.CrossEntropyLoss()
    return Estimator.from_torch(model=model, loss=loss, optimizer=torch.optim.SGD(model.parameters(), lr=1.0))


def table(rows: int = 32, broken: Sequence[int] = ()) -> pa.Table:
    whole = [imagesets.encoded(plain(k)) for k in range(rows)]
    files = [{"bytes": image[: 40 if k in broken else None], "path": f"a/{k}.png"} for k, image in enumerate(whole)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({"image": pa.array(files, kind), "label": pa.array([k % 2 for k in range(rows)], pa.int64())})


ASKED: dict[str, Any] = {"feature_cols": ["image"], "label_cols": ["label"], "transform": halves}


def trained_on(data: Any, **more: Any) -> Any:
    est = estimator()
    stats = est.fit(data, epochs=20, batch_size=8, **ASKED, **more)
    assert stats[-1]["train_loss"] < 0.2 < stats[0]["train_loss"]
    return est


def test_an_image_set_trains_evaluates_and_predicts(tmp_path: Path, inline: None) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table(), tmp_path / "set.parquet", row_group_size=8)
    path = str(tmp_path / "set.parquet")
    est = trained_on(path, validation_data=path)
    assert est.evaluate(path, **ASKED)["val_loss"] < 0.2
    predicted = est.predict(path, feature_cols=["image"], transform=halves)
    assert (np.array(predicted["prediction"].to_pylist()).argmax(1) == np.arange(32) % 2).all()
    on_disk = estimator()
    on_disk.fit(path, epochs=1, batch_size=8, memory=4000, **ASKED)


def test_the_same_steps_on_two_processes() -> None:
    from zoo.engine import session
    from zoo.engine.clusters.inline import InlineCluster
    from zoo.engine.clusters.local import LocalCluster

    losses = []
    for cluster, workers in ((InlineCluster(), 1), (LocalCluster(2), 2)):
        session.begin(cluster)
        try:
            stats = estimator().fit(table(), epochs=3, batch_size=8, workers=workers, **ASKED)
            losses.append([epoch["train_loss"] for epoch in stats])
        finally:
            session.end()
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_sparks_frames_and_sparks_image_source(on_spark: Any) -> None:
    from pyspark.sql.types import BinaryType, IntegerType, StringType, StructField, StructType

    source = StructType([
        StructField("origin", StringType()), StructField("height", IntegerType()), StructField("width", IntegerType()),
        StructField("nChannels", IntegerType()), StructField("mode", IntegerType()), StructField("data", BinaryType()),
    ])  # fmt: skip
    rows = [
        (
            (f"{k}.png", *plain(k).shape, 16, plain(k)[..., ::-1].tobytes()),
            {"bytes": imagesets.encoded(plain(k))},
            k % 2,
        )
        for k in range(32)
    ]
    files = StructType([StructField("bytes", BinaryType())])
    kinds = [StructField("pixels", source), StructField("image", files), StructField("label", IntegerType())]
    frame = on_spark.createDataFrame(rows, StructType(kinds))
    est = trained_on(frame)
    predicted = est.predict(frame, feature_cols=["pixels"], transform=halves).collect()
    assert [int(np.argmax(row.prediction)) for row in predicted] == [row.label for row in predicted]


def test_pixels_of_sparks_image_source_become_rgb() -> None:
    names = ("origin", "height", "width", "nChannels", "mode", "data")
    bgr = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    found = encoded(
        pa.array([
            dict(zip(names, ("a", 2, 4, 3, 16, bgr.tobytes()), strict=True)),
            dict(zip(names, ("b", 2, 4, 1, 0, bgr[..., 0].tobytes()), strict=True)),
            dict(zip(names, ("c", 3, 4, 3, 16, b"12"), strict=True)),
        ])
    )  # fmt: skip
    colour, grey, short = found.to_pylist()
    np.testing.assert_array_equal(picture(colour, "x"), bgr[..., ::-1])
    np.testing.assert_array_equal(picture(grey, "x"), np.repeat(bgr[..., :1], 3, 2))
    with pytest.raises(DataError, match="c should have 3 x 4 pixels of 1, 3 or 4 bytes. Received: 3 channels, 2 bytes"):
        picture(short, "x")


def test_mistakes_are_told(inline: None) -> None:
    rows = table(4)
    numbers = pa.table({"x": [1.0, 2.0], "label": [0, 1]})
    with pytest.raises(UsageError, match="transform is for columns of images, and none of x holds any"):
        estimator().fit(numbers, feature_cols=["x"], label_cols=["label"], transform=halves)
    with pytest.raises(UsageError, match="label column 'image' holds images; only features may"):
        estimator().fit(rows, feature_cols=["label"], label_cols=["image"])
    with pytest.raises(UsageError, match="transform must be a function"):
        estimator().fit(rows, feature_cols=["image"], label_cols=["label"], transform="halves")
    with pytest.raises(UsageError, match="cannot travel to other processes"):
        estimator().fit(rows, feature_cols=["image"], label_cols=["label"], transform=partial(halves, threading.Lock()))
    both = r"'image' have the shapes \(\d, 6, 3\) \(a/\d.png\) and \(\d, 6, 3\) \(a/\d.png\) in one batch"
    with pytest.raises((DataError, WorkerFailed), match=both):
        estimator().fit(rows, feature_cols=["image"], label_cols=["label"], batch_size=4)
    broken = pa.table({"image": [{"bytes": b"none", "path": "a/0.png"}] * 2, "label": [0, 1]})
    with pytest.raises((DataError, WorkerFailed), match="a/0.png cannot be decoded: it begins with b'none'"):
        estimator().fit(broken, batch_size=2, **ASKED)


def test_an_image_set_of_chunks_trains_and_one_that_is_not_whole_is_refused(tmp_path: Path, inline: None) -> None:
    path = imagesets.write(tmp_path / "set", [6, 6])
    asked = {"feature_cols": ["image"], "label_cols": ["number"], "transform": halves, "batch_size": 4}
    est = estimator()
    (stats,) = est.fit(path, **asked | {"label_cols": ["chunk"]})
    assert stats["num_samples"] == 12
    (tmp_path / "set" / "_orca_metadata").unlink()
    with pytest.raises(UsageError, match="is not whole: it has no _orca_metadata"):
        estimator().fit(path, **asked)


def test_weights_are_equal_to_the_bit_for_any_order_of_rows(inline: None) -> None:
    rows = table(16)
    found = []
    for data in (rows, rows.take(pa.array(range(15, -1, -1)))):
        est = estimator()
        est.fit(data, epochs=2, batch_size=8, reproducible=True, **ASKED)
        found.append(est.get_model().weight.detach().numpy())
    assert (found[0] == found[1]).all()


BROKEN = (3, 8, 17, 18)
SKIPPING = ASKED | {"transform": ImageTransform(halves, on_error="skip")}


def test_broken_images_are_left_out_before_rows_are_counted(inline: None, capsys: pytest.CaptureFixture[str]) -> None:
    est = estimator()
    whole = table().take(pa.array([k for k in range(32) if k not in BROKEN]))
    stats = est.fit(table(broken=BROKEN), epochs=2, batch_size=8, validation_data=table(broken=[5]), **SKIPPING)
    assert [(epoch["num_samples"], epoch["batch_count"]) for epoch in stats] == [(28, 4)] * 2
    clean = estimator().fit(whole, epochs=2, batch_size=8, validation_data=table().slice(6), **ASKED)
    assert clean[0]["num_samples"] == 28
    told = capsys.readouterr().err
    assert "4 rows of the training data left out on rank 0: a/3.png cannot be decoded: this PNG is cut off" in told
    assert "; and 1 more" in told
    assert "1 row of the validation data left out on rank 0: a/5.png cannot be decoded" in told
    lines = est.report().lines
    assert ("left out", "4 rows of the training data, whose images cannot be decoded") in lines
    found = est.evaluate(table(broken=BROKEN), **SKIPPING)
    assert found["num_samples"] == 28
    assert "4 rows of the evaluation data left out: a/3.png" in capsys.readouterr().err


def test_rows_are_left_out_of_files_and_on_several_ranks_alike(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from zoo.engine import session
    from zoo.engine.clusters.inline import InlineCluster
    from zoo.engine.clusters.local import LocalCluster

    path = str(tmp_path / "set.parquet")
    pq.write_table(table(broken=BROKEN), path, row_group_size=4)
    losses = []
    for cluster, workers in ((InlineCluster(), 1), (LocalCluster(2), 2)):
        session.begin(cluster)
        try:
            est = estimator()
            stats = est.fit(path, epochs=2, batch_size=8, workers=workers, **SKIPPING)
            assert stats[-1]["num_samples"] == 28
            assert ("left out", "4 rows of the training data, whose images cannot be decoded") in est.report().lines
            losses.append([epoch["train_loss"] for epoch in stats])
        finally:
            session.end()
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_rows_are_left_out_of_sparks_frames(on_spark: Any) -> None:
    from pyspark.sql.types import BinaryType, IntegerType, StringType, StructField, StructType

    rows = [
        ((cell["image"]["bytes"], cell["image"]["path"]), cell["label"]) for cell in table(broken=BROKEN).to_pylist()
    ]
    rows += [(None, 0), ((None, "null.png"), 1)]
    file = StructType([StructField("bytes", BinaryType()), StructField("path", StringType())])
    schema = StructType([StructField("image", file), StructField("label", IntegerType())])
    frame = on_spark.createDataFrame(rows, schema).repartition(3)
    est = estimator()
    (stats,) = est.fit(frame, epochs=1, batch_size=8, **SKIPPING)
    assert stats["num_samples"] == 28
    assert ("left out", "6 rows of the training data, whose images cannot be decoded") in est.report().lines
    assert est.evaluate(frame, **SKIPPING)["num_samples"] == 28


def test_only_broken_images_are_no_rows(inline: None) -> None:
    with pytest.raises((DataError, WorkerFailed), match="the training data has no rows"):
        estimator().fit(table(4, broken=range(4)), **SKIPPING)


def together(images: list[np.ndarray]) -> np.ndarray:
    return np.stack([halves(image) for image in images])


def as_tensors(images: list[np.ndarray]) -> list[Any]:
    return [torch.from_numpy(halves(image)) for image in images]


@pytest.mark.parametrize("function", [together, as_tensors])
def test_a_transform_of_whole_batches_gives_what_one_of_images_gives(inline: None, function: Any) -> None:
    one, all_ = estimator(), estimator()
    asked = ASKED | {"transform": ImageTransform(function, batched=True)}
    first = one.fit(table(), epochs=2, batch_size=8, **ASKED)
    second = all_.fit(table(), epochs=2, batch_size=8, **asked)
    assert [epoch["train_loss"] for epoch in first] == [epoch["train_loss"] for epoch in second]
    predicted = all_.predict(table(), feature_cols=["image"], transform=asked["transform"])
    assert len(predicted["prediction"]) == 32


def test_mistakes_of_a_transform_are_told(inline: None) -> None:
    def fitted(**given: Any) -> None:
        estimator().fit(table(8), batch_size=8, **ASKED | {"transform": ImageTransform(**given)})

    with pytest.raises(UsageError, match="on_error must be 'raise' or 'skip'. Received: 'ignore'"):
        fitted(on_error="ignore")
    with pytest.raises(UsageError, match="batched=True is for a function"):
        fitted(batched=True)
    errors = (DataError, WorkerFailed)
    with pytest.raises(errors, match="got 8 images of column 'image' as a list, and must give as many arrays"):
        fitted(function=lambda images: together(images)[1:], batched=True)
    with pytest.raises(errors, match="array of numbers for an image of column 'image'. Received: NoneType"):
        fitted(function=lambda images: None, batched=True)
    with pytest.raises(errors, match="Received: tuple"):
        fitted(function=lambda image: (image, 1))
    with pytest.raises(errors, match="have the shapes"):
        fitted(function=list, batched=True)
    with pytest.raises(UsageError, match="predict gives one prediction for each row, so it leaves none out"):
        estimator().predict(table(4), feature_cols=["image"], transform=ImageTransform(halves, on_error="skip"))
