"""Image sets as tf.data: elements, ranks, the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imagesets
from zoo.engine.errors import UsageError
from zoo.orca.data.image import ParquetDataset
from zoo.orca.data.image.reading import read_parquet

tf = pytest.importorskip("tensorflow")

TYPES = {"image": tf.string, "label": tf.float32, "mask": tf.uint8, "number": tf.int32, "image_id": tf.string}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return imagesets.write(tmp_path_factory.mktemp("set") / "set", [5, 5, 3])


def load(path: str, types: Any = TYPES, **arguments: Any) -> Any:
    return read_parquet("tf_dataset", path, output_types=types, **arguments)


def check(elements: list[dict[str, Any]], count: int) -> None:
    assert [int(element["number"]) for element in elements] == list(range(count))
    for number, element in enumerate(elements):
        assert element["image"].numpy() == imagesets.encoded(imagesets.picture(number))
        assert element["image_id"].numpy() == f"id-{number}".encode()
        np.testing.assert_array_equal(element["label"], imagesets.boxes(number))
    assert elements[0]["label"].dtype == tf.float32 and elements[0]["number"].dtype == tf.int32


def test_every_record_comes_as_it_was_written(path: str) -> None:
    dataset = load(path)
    assert dataset.element_spec["label"].shape.as_list() == [None, 6]
    assert dataset.element_spec["mask"].shape.as_list() == [2, 3]
    for _ in range(2):  # it can be read again
        elements = list(dataset)
        check(elements, 13)
        for number, element in enumerate(elements):
            np.testing.assert_array_equal(element["mask"], imagesets.mask(number))


def test_upstreams_layout_is_read(tmp_path: Path) -> None:
    path = imagesets.write_upstream(tmp_path / "set", [4, 3])
    shapes = {"label": (None, 6), "image": ()}
    dataset = load(path, {name: kind for name, kind in TYPES.items() if name != "mask"}, output_shapes=shapes)
    assert dataset.element_spec["label"].shape.as_list() == [None, 6]
    check(list(dataset), 7)


def test_tensorflow_decodes_images(path: str) -> None:
    decoded = tf.autograph.experimental.do_not_convert(lambda record: tf.io.decode_png(record["image"], 3))
    images = load(path, {"image": tf.string}).map(decoded).batch(5)
    np.testing.assert_array_equal(next(iter(images))[3], imagesets.picture(3))


def test_numbers_are_cast_and_batched_where_asked(path: str) -> None:
    batches = list(load(path, {"number": tf.float32}, batch_size=5))
    assert [batch["number"].numpy().tolist() for batch in batches] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12]]


def test_transforms_make_the_elements(path: str) -> None:
    dataset = load(
        path,
        {"boxes": tf.int64},
        transforms=lambda record: {"boxes": len(record["label"])},
        output_shapes={"boxes": ()},
    )
    assert [int(element["boxes"]) for element in dataset] == [number % 4 for number in range(13)]


def test_ranks_read_chunks_of_their_own(path: str) -> None:
    ranks = [
        [int(element["number"]) for element in load(path, {"number": tf.int32}, config={"num_shards": 2, "rank": r})]
        for r in range(2)
    ]
    assert ranks == [[0, 1, 2, 3, 4, 10, 11, 12], [5, 6, 7, 8, 9]]
    with pytest.raises(UsageError, match="num_shards should be not larger than partitions"):
        load(path, config={"num_shards": 4, "rank": 0})


def test_the_plan_goes_on_where_it_is_told(path: str) -> None:
    def steps(**arguments: Any) -> Any:
        return load(path, {"number": tf.int32}, order="plan", batch_size=5, **arguments)

    def numbers(dataset: Any) -> list[list[int]]:
        return [batch["number"].numpy().tolist() for batch in dataset]

    dataset = steps()
    first, second = numbers(dataset), numbers(dataset)
    assert first != second and sorted(number for step in second for number in step) == list(range(13))
    assert numbers(steps(start=(1, 1))) == second[1:]
    with pytest.raises(UsageError, match="tf.data cannot cut a step's rows where ranks share it"):
        steps(config={"num_shards": 2, "rank": 0})


def test_mistakes_are_told(path: str) -> None:
    with pytest.raises(UsageError, match="(?s)no column 'imag' .*Did you mean 'image'"):
        load(path, {"imag": tf.string})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"output_types": "image"}, "output_types must be a dict by column. Received: 'image'"),
        ({"output_types": {"image": "float32"}}, "'image' must be tf.string, .* encoded images. Received: float32"),
        ({"output_types": {"number": "string"}}, "'number' must be a type of numbers, as tf.int32.*Received: string"),
        ({"output_types": {"number": "foo"}}, "'number' must be a TensorFlow dtype. Received: 'foo'"),
        ({"output_types": {"numbr": "int32"}}, r"(?s)no column 'numbr' .*output_types=.*mean 'number'"),
        (
            {"output_types": {"number": "int32"}, "output_shapes": {"numbr": ()}},
            "(?s)no column 'numbr' .*output_shapes",
        ),
        ({"output_types": {"number": "int32"}, "transforms": 3}, "transforms must be a function. Received: 3"),
        (
            {"output_types": {"number": "int32"}, "transform": 3},
            "no argument 'transform'. Did you mean 'transforms'",
        ),
    ],
)
def test_a_call_that_cannot_be_is_refused_before_anything_is_read(path: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_parquet("tf_dataset", path, **given)


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        (lambda record: None, "must return a dict with the keys of output_types: .'number'.. Got NoneType"),
        (lambda record: {"x": 1}, "must return a dict .*Got a dict with .'x'."),
        (lambda record: {"number": 1.5}, "gave 'number' as float64, and output_types say int32"),
    ],
)
def test_what_transforms_return_is_told(path: str, transforms: Any, words: str) -> None:
    dataset = read_parquet("tf_dataset", path, {"number": tf.int32}, transforms=transforms)
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        list(dataset)


def test_estimators_data_are_read_where_the_cluster_is(path: str, inline: None) -> None:
    dataset = ParquetDataset.read_as_tf(path, ["number", "mask"])
    halved = dataset.map(lambda record: {"x": record["mask"], "y": record["number"]})
    shards = halved.get_xshards().collect()
    assert np.concatenate([shard["y"] for shard in shards]).tolist() == list(range(13))
    assert shards[0]["x"].shape == (5, 2, 3)


def test_images_go_straight_into_keras(path: str, inline: None) -> None:
    import keras

    from zoo.orca.learn.tf.estimator import Estimator

    def means(image: Any) -> Any:
        return image.mean((0, 1)).astype("float32") / 255

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    asked = {"feature_cols": ["image"], "transform": means}
    est = Estimator.from_keras(model)
    (stats,) = est.fit(path, batch_size=5, label_cols=["number"], **asked)
    assert stats["num_samples"] == 13
    means_X = np.stack([means(imagesets.picture(number)) for number in range(13)])
    predicted = np.array(est.predict(path, **asked)["prediction"].to_pylist()).reshape(-1)
    np.testing.assert_allclose(predicted, model.predict(means_X, verbose=0)[:, 0], rtol=1e-4)
