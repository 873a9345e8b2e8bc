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
    with pytest.raises(UsageError, match="no argument 'imag'. Did you mean 'image'"):
        load(path, {"imag": tf.string})


def test_estimators_data_are_read_where_the_cluster_is(path: str, inline: None) -> None:
    dataset = ParquetDataset.read_as_tf(path, ["number", "mask"])
    halved = dataset.map(lambda record: {"x": record["mask"], "y": record["number"]})
    shards = halved.get_xshards().collect()
    assert np.concatenate([shard["y"] for shard in shards]).tolist() == list(range(13))
    assert shards[0]["x"].shape == (5, 2, 3)
