"""Steps over plain values: what they give, what they refuse, how they are called and chained."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from zoo.engine.errors import DataError, StorageFailed, UsageError
from zoo.feature.common import (
    ArrayToTensor,
    BigDLAdapter,
    ChainedPreprocessing,
    FeatureLabelPreprocessing,
    FeatureToTupleAdapter,
    MLlibVectorToTensor,
    Preprocessing,
    Relation,
    Relations,
    SampleToMiniBatch,
    ScalarToTensor,
    SeqToMultipleTensors,
    SeqToTensor,
    TensorToSample,
    ToTuple,
)
from zoo.feature.draws import Draws
from zoo.feature.samples import Sample, as_pair


class Noise(Preprocessing):
    """Adds a random number."""

    def step(self, value: Any, draws: Draws) -> Any:
        return value + draws.over(value).random()


@given(arrays(np.float64, array_shapes(), elements=st.floats(-1e6, 1e6)))
def test_arrays_keep_their_numbers(array: np.ndarray) -> None:
    made = ArrayToTensor(list(array.shape)).apply(array.ravel().tolist())
    assert made.dtype == np.float32 and np.array_equal(made, array.astype(np.float32))


@pytest.mark.parametrize(
    ("step", "value", "wanted"),
    [
        (ScalarToTensor(), 3, [3.0]),
        (ScalarToTensor(), np.float64(2.5), [2.5]),
        (SeqToTensor(), [1, 2], [1.0, 2.0]),
        (SeqToTensor(), 7, [7.0]),
        (SeqToTensor([2, 2]), [1, 2, 3, 4], [[1.0, 2.0], [3.0, 4.0]]),
        (SeqToTensor([1]), 5, [5.0]),
        (MLlibVectorToTensor([3]), type("Vector", (), {"toArray": lambda self: np.array([0, 4, 0])})(), [0, 4, 0]),
    ],
)
def test_numbers_become_arrays(step: Preprocessing, value: Any, wanted: Any) -> None:
    assert np.array_equal(step.apply(value), np.array(wanted, np.float32))


def test_ml_vectors(spark: Any) -> None:
    from pyspark.ml.linalg import Vectors

    for vector in (Vectors.dense([1, 0, 2]), Vectors.sparse(3, {0: 1.0, 2: 2.0})):
        assert MLlibVectorToTensor([3]).apply(vector).tolist() == [1, 0, 2]


def test_a_sequence_becomes_several_arrays() -> None:
    first, second = SeqToMultipleTensors([[2], [2, 2]]).apply(range(6))
    assert first.tolist() == [0, 1] and second.tolist() == [[2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("step", "value", "words"),
    [
        (SeqToTensor([2]), [1, 2, 3], r"shape \(2,\), 2 numbers. Received: list of 3"),
        (SeqToTensor([2]), None, "a null"),
        (SeqToTensor(), ["a"], "takes numbers. Received: list"),
        (SeqToMultipleTensors([[2], [3]]), [1, 2], "takes 5 numbers. Received: 2"),
        (FeatureLabelPreprocessing(ScalarToTensor(), ScalarToTensor()), (1, 2, 3), "pairs"),
        (TensorToSample(), "text", "arrays of numbers"),
        (SampleToMiniBatch(2), 3, "made of samples"),
    ],
)
def test_values_that_do_not_fit(step: Preprocessing, value: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        step.apply(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SeqToTensor([0]),
        lambda: SeqToTensor("3"),
        lambda: SeqToMultipleTensors([]),
        lambda: SampleToMiniBatch(0),
        lambda: ChainedPreprocessing([]),
        lambda: ChainedPreprocessing([3]),
        lambda: ChainedPreprocessing([ScalarToTensor]),
        lambda: BigDLAdapter(3),
        lambda: ScalarToTensor().seeded(-1),
        lambda: Preprocessing().apply(1),
    ],
)
def test_mistakes(make: Any) -> None:
    with pytest.raises(UsageError, match="Received|defines neither"):
        make()


def test_chains() -> None:
    chain = ScalarToTensor() >> (lambda array: array * 2) >> TensorToSample()
    assert len(chain.transformers) == 3
    assert chain.apply(4) == Sample.of(np.float32([8]))
    assert chain([1, 2]) == [chain.apply(1), chain.apply(2)]
    lazy = chain(iter([5]))
    assert next(lazy) == chain.apply(5)
    assert ChainedPreprocessing([ScalarToTensor(), SeqToTensor()]) == ScalarToTensor() >> SeqToTensor()
    steps = [SeqToTensor([2]), SeqToMultipleTensors([[1], [1]]), ScalarToTensor() >> TensorToSample()]
    assert pickle.loads(pickle.dumps(steps)) == steps
    assert hash(steps[2]) == hash(pickle.loads(pickle.dumps(steps[2])))


def test_pairs_and_samples() -> None:
    both = FeatureLabelPreprocessing(SeqToTensor([2]), ScalarToTensor())
    sample = (both >> TensorToSample()).apply(([1, 2], 3))
    assert sample == Sample.of(np.float32([1, 2]), np.float32([3]))
    assert sample.feature.tolist() == [1, 2] and sample.label.tolist() == [3]
    assert FeatureToTupleAdapter(both).apply([1, 2]).tolist() == [1, 2]
    assert (ToTuple() >> both).apply([1, 2]).tolist() == [1, 2]
    assert BigDLAdapter(lambda value: value + 1).apply(2) == 3
    several = TensorToSample().apply(([np.zeros(2), np.ones(3)], 1))
    x, y = as_pair(several)
    assert [len(one) for one in x] == [2, 3] and y == 1


def test_samples_become_batches() -> None:
    samples = [Sample.of(np.full(3, at), at) for at in range(5)]
    batches = SampleToMiniBatch(2)(samples)
    assert [batch.size for batch in batches] == [2, 2, 1]
    assert np.concatenate([batch.features[0] for batch in batches])[:, 0].tolist() == list(range(5))
    assert next(SampleToMiniBatch(4)(iter(samples))).labels[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match="shapes"):
        SampleToMiniBatch(2)([Sample.of(np.zeros(2)), Sample.of(np.zeros(3))])


@given(st.integers(0, 5), st.integers(0, 5), st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_draws_follow_from_seed_epoch_and_content_alone(seed: int, epoch: int, row: list[int]) -> None:
    chain = ArrayToTensor([len(row)]) >> Noise() >> Noise()
    asked = chain.seeded(seed, epoch)
    once = asked.apply(row)
    assert np.array_equal(once, pickle.loads(pickle.dumps(asked)).apply(list(row)))
    assert not np.array_equal(once, chain.seeded(seed, epoch + 1).apply(row))
    assert not np.array_equal(once, asked.seeded(seed + 1, epoch).apply(row))
    assert np.array_equal(chain.apply(row), chain.seeded(0, 0).apply(row))


def test_relations(tmp_path: Any) -> None:
    path = tmp_path / "relations.csv"
    path.write_text("q1,a1,1\nq1, a2 ,0\n\n")
    found = Relations.read(str(path))
    assert found == [Relation("q1", "a1", 1), Relation("q1", "a2", 0)]
    assert found[1].to_tuple() == ("q1", "a2", 0)
    path.write_text("q1,a1,one\n")
    with pytest.raises(DataError, match="q1,a1,one"):
        Relations.read(str(path))
    with pytest.raises(StorageFailed):
        Relations.read(str(tmp_path / "nothing"))


def test_relations_on_spark(on_spark: Any, tmp_path: Any) -> None:
    (tmp_path / "r.txt").write_text("q1,a1,1\nq1,a2,0\n")
    read = Relations.read(str(tmp_path / "r.txt"), on_spark.sparkContext, 2).collect()
    assert read == [Relation("q1", "a1", 1), Relation("q1", "a2", 0)]
    frame = on_spark.createDataFrame([("q", "a", 1)], "id1 string, id2 string, label int")
    frame.write.parquet(str(tmp_path / "r.parquet"))
    assert Relations.read_parquet(str(tmp_path / "r.parquet"), None).collect() == [Relation("q", "a", 1)]
