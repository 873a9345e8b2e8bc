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
pytestmark = pytest.mark.one_backend

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


def plan_of(path: str, world: int, **arguments: Any) -> list[list[Any]]:
    """The elements of each step, by rank."""
    ranks = [
        list(load(path, order="plan", config={"num_shards": world, "rank": rank} if world > 1 else None, **arguments))
        for rank in range(world)
    ]
    return [list(step) for step in zip(*ranks, strict=True)]


NARROW = {"number": tf.int32, "mask": tf.uint8, "image": tf.string}


@pytest.mark.parametrize("transforms", [None, lambda record: {name: record[name] for name in NARROW}])
def test_ranks_share_each_step_of_the_plan(path: str, transforms: Any) -> None:
    how = {"types": NARROW, "transforms": transforms, "output_shapes": {"mask": (2, 3)}, "batch_size": 4}
    read = {world: plan_of(path, world, start=(1, 0), **how) for world in (1, 2, 3)}
    for steps in read.values():
        numbers = [sorted(int(n) for part in step for n in part["number"]) for step in steps]
        assert numbers == [sorted(step[0]["number"].numpy().tolist()) for step in read[1]]
        for part in (part for step in steps for part in step):
            assert part["mask"].shape == (len(part["number"]), 2, 3)
            for row, number in enumerate(part["number"].numpy()):
                np.testing.assert_array_equal(part["mask"][row], imagesets.mask(number))
                assert part["image"][row].numpy() == imagesets.encoded(imagesets.picture(number))
    later = plan_of(path, 3, start=(1, 2), **how)
    assert [[part["number"].numpy().tolist() for part in step] for step in later] == [
        [part["number"].numpy().tolist() for part in step] for step in read[3][2:]
    ]


@pytest.mark.parametrize("transforms", [None, lambda record: {name: record[name] for name in NARROW}])
def test_a_rank_without_rows_in_a_step_has_tensors_without_rows(path: str, transforms: Any) -> None:
    how = {"types": NARROW, "transforms": transforms, "output_shapes": {"mask": (2, 3)}, "batch_size": 2}
    parts = [part for step in plan_of(path, 3, **how) for part in step]
    empty = [part for part in parts if len(part["number"]) == 0]
    assert empty and sum(len(part["number"]) for part in parts) == 13
    for part in empty:
        assert (part["mask"].shape, part["mask"].dtype) == ((0, 2, 3), tf.uint8)
        assert (part["image"].shape, part["image"].dtype, part["number"].dtype) == ((0,), tf.string, tf.int32)


def test_arrays_of_different_shapes_make_no_step(path: str) -> None:
    boxes = {"types": {"label": tf.float32}, "transforms": lambda record: {"label": record["label"]}}
    with pytest.raises(tf.errors.OpError, match="'label' has the shapes .* in one step"):
        plan_of(path, 1, batch_size=4, **boxes)


def test_a_creator_trains_on_the_steps_of_the_plan(path: str) -> None:
    from zoo.engine.contracts import FeedRequest
    from zoo.engine.data.adapters import adapt
    from zoo.engine.events.sinks import MemorySink
    from zoo.engine.values import Rank

    def create(config: dict[str, Any], batch_size: int) -> Any:
        records = load(path, {"number": tf.int32, "mask": tf.uint8}, config=config, order="plan", batch_size=4)
        return records.map(lambda record: (record["mask"], record["number"]))

    def read(world: int, epoch: int, start: int = 0) -> list[list[int]]:
        feeds = [
            adapt(create).shards.feed(
                FeedRequest(rank=Rank(r, world), features=(), labels=(), batch_size=4, sink=MemorySink())
            )
            for r in range(world)
        ]
        for feed in feeds:
            next(iter(feed.epoch(0)))  # what was read before does not matter
        ranks = [[batch for batch, _ in zip(feed.epoch(epoch, start), range(5), strict=False)] for feed in feeds]
        for feed in feeds:
            feed.close()
        return [sorted(n for b in step if b.weight for n in b.labels[0].tolist()) for step in zip(*ranks, strict=True)]

    alone = read(1, 2)
    assert sorted(n for step in alone for n in step) == list(range(13)) and list(map(len, alone)) == [4, 4, 4, 1, 0]
    assert read(2, 2) == alone != read(1, 1)
    assert read(2, 2, start=1)[:4] == alone[1:]


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
