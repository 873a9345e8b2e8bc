"""BigDL's words train as the plain torch loop does: Optimizer, from_bigdl, Samples, torch in their places."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from zoo.bigdl.nn.criterion import ClassNLLCriterion, CrossEntropyCriterion, MSECriterion
from zoo.bigdl.nn.layer import JoinTable, Linear, LogSoftMax, LookupTable, Mean, ParallelTable, ReLU, Sequential
from zoo.bigdl.optim.optimizer import (
    LBFGS,
    MAE,
    SGD,
    Adam,
    EveryEpoch,
    L2Regularizer,
    LocalOptimizer,
    Loss,
    MaxEpoch,
    MaxIteration,
    NaturalExp,
    Optimizer,
    Plateau,
    SeveralIteration,
    Top1Accuracy,
    Top5Accuracy,
    TrainSummary,
    ValidationSummary,
)
from zoo.bigdl.util.common import JTensor, Sample
from zoo.engine import optim, session
from zoo.engine.errors import UsageError
from zoo.orca.learn.bigdl import Estimator
from zoo.pipeline.api.torch import TorchLoss, TorchModel, TorchOptim, zoo_pickle_module

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype(np.float32)
Y = (X[:, :1] > 0) + 1.0  # classes from 1


def classifier(**words):
    torch.manual_seed(0)
    return Sequential().add(Linear(4, 8, **words)).add(ReLU()).add(Linear(8, 2)).add(LogSoftMax())


def plain_loop(model, epochs, penalty=0.0):
    """Full batches: no order of rows."""
    x, y = torch.from_numpy(X), torch.from_numpy(Y[:, 0]).long() - 1
    for _ in range(epochs):
        model.zero_grad()
        nn.functional.nll_loss(model(x), y).backward()
        with torch.no_grad():
            for number, weight in enumerate(model.parameters()):
                weight -= 0.5 * (weight.grad + (penalty * weight if number == 0 else 0))
    return model


def near(model, other):
    return all(map(lambda a, b: np.allclose(a, b, atol=1e-5), model.get_weights(), other.get_weights()))


def trained(*, epochs=5, **words):
    model = classifier(**words)
    return Optimizer(model, (X, Y), ClassNLLCriterion(), MaxEpoch(epochs), 64, SGD(0.5)).optimize()


def test_an_optimizer_trains_as_the_plain_loop(inline):
    assert near(trained(), plain_loop(classifier(), 5))


@pytest.fixture
def two_ranks():
    session.begin_local(2)
    yield
    session.end()


def test_a_penalty_is_the_same_on_two_ranks(two_ranks):
    words = {"wRegularizer": L2Regularizer(0.3)}
    wanted = plain_loop(classifier(), 5, penalty=0.3)
    model = classifier(**words)
    est = Estimator.from_bigdl(model=model, loss=ClassNLLCriterion(), optimizer=SGD(0.5), workers_per_node=2)
    est.fit((X, Y), 5, 64)
    assert near(model, wanted) and not near(model, plain_loop(classifier(), 5))


@pytest.mark.parametrize("sync", ["allreduce", "sharded"])
def test_a_bounded_table_is_the_same_on_two_ranks(two_ranks, sync):
    """A rank looks up its own rows only; what it does to their weights must be what all do."""
    words = RNG.integers(1, 61, (64, 3)).astype(np.float32)

    def table(ranks):
        torch.manual_seed(0)
        model = Sequential().add(LookupTable(60, 3, max_norm=0.5)).add(Mean(2)).add(Linear(3, 2)).add(LogSoftMax())
        optimizer = SGD(0.5, momentum=0.9, dampening=0.0)
        est = Estimator.from_bigdl(model=model, loss=ClassNLLCriterion(), optimizer=optimizer, workers_per_node=ranks)
        est.fit((words, Y), 3, 16, sync=sync)
        return model

    assert near(table(2), table(1))


def test_validation_checkpoints_and_summaries(inline, tmp_path):
    optimizer = Optimizer.create(classifier(), (X, Y), ClassNLLCriterion(), MaxEpoch(3), 16, Adam(0.01))
    optimizer.set_validation(16, (X, Y), EveryEpoch(), [Top1Accuracy(), Loss(ClassNLLCriterion())])
    optimizer.set_checkpoint(SeveralIteration(6), str(tmp_path / "checkpoints"))
    summary = TrainSummary(str(tmp_path), "app").set_summary_trigger("LearningRate", SeveralIteration(1))
    validation = ValidationSummary(str(tmp_path), "app")
    optimizer.set_train_summary(summary)
    optimizer.set_val_summary(validation)
    optimizer.set_gradclip_l2norm(1.0)
    model = optimizer.optimize()
    assert len(summary.read_scalar("Loss")) == 12
    right = np.mean(model.predict_class(X) == Y[:, 0])
    assert validation.read_scalar("Top1Accuracy")[-1][1] == pytest.approx(right)
    loss = ClassNLLCriterion().forward(model.predict(X), Y)
    assert validation.read_scalar("Loss")[-1][1] == pytest.approx(loss, abs=1e-5)
    assert len(list((tmp_path / "checkpoints").glob("*/checkpoint-*"))) == 2
    found = model.evaluate((X, Y), 16, [Top1Accuracy(), Top5Accuracy(), Loss()])
    assert [one.method for one in found] == ["Top1Accuracy", "Top5Accuracy", "Loss"]
    assert [one.result for one in found] == pytest.approx([right, 1.0, loss], abs=1e-5)
    assert found[0].total_num in (0, 64)


def test_a_second_call_goes_on(inline):
    model = classifier()
    optimizer = LocalOptimizer(X, Y, model, ClassNLLCriterion(), MaxEpoch(2), 64, SGD(0.5))
    optimizer.set_validation(32, X, Y, EveryEpoch())
    optimizer.optimize()
    optimizer.set_end_when(MaxIteration(5))
    optimizer.optimize()
    assert near(model, plain_loop(classifier(), 5))


def test_top1_of_one_output(inline):
    model = Sequential().add(Linear(4, 1, init_weight=np.array([[9.0, 0, 0, 0]]), init_bias=np.zeros(1)))
    (found,) = model.evaluate((X, Y - 1), 16, [Top1Accuracy()])
    assert found.result == np.mean((9 * X[:, 0] > 0.5) == (Y[:, 0] == 2))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: Optimizer(lambda x: x, (X, Y), MSECriterion()), "trains layers of zoo.bigdl.nn.layer"),
        (lambda: Optimizer(classifier(), (X, Y), None), "needs a criterion"),
        (lambda: Optimizer(classifier(), (X, Y), MSECriterion(), "3 epochs"), "not a trigger"),
        (lambda: Optimizer(classifier(), (X, Y), MSECriterion(), optim_method={"fc": SGD()}), "one optim_method"),
        (lambda: Optimizer(classifier(), (X, Y), MSECriterion(), optim_method=LBFGS()).optimize(), "LBFGS evaluates"),
        (lambda: TrainSummary("/tmp", "a").set_summary_trigger("Parameters", EveryEpoch()), "Received: 'Parameters'"),
        (lambda: classifier().evaluate((X, Y), 4, ["Top2Accuracy"]), "no metric is called 'Top2Accuracy'"),
        (lambda: Estimator.from_bigdl(model=3), "a torch module, or a Keras-style model. Received: builtins.int"),
        (lambda: Estimator.from_bigdl(model=classifier(), feature_preprocessing="x"), "feature_preprocessing must be"),
    ],
)
def test_mistakes_are_named(wrong, told):
    with pytest.raises(UsageError, match=told):
        wrong()


def test_bigdl_s_spelling_of_optimizers():
    plateau = Plateau("score", 0.5)
    largest = 1.7976931348623157e308
    made = SGD(0.1, 0.0, 0.1, 0.9, largest, False, plateau, bigdl_type="float")
    assert made == optim.SGD(0.1, weightdecay=0.1, momentum=0.9, learningrate_schedule=plateau)
    assert NaturalExp(2, 0.5).rate(1.0, 5) == pytest.approx(np.exp(-1.0))


# --- data ---


def test_samples_and_tensors():
    sample = Sample.from_ndarray([np.ones((2, 3)), np.arange(2)], 4.0)
    assert [one.to_ndarray().shape for one in sample.features] == [(2, 3), (2,)]
    assert sample.feature.storage.dtype == np.float32 and float(np.asarray(sample.label)) == 4.0
    copied = zoo_pickle_module.loads(zoo_pickle_module.dumps(sample))
    assert type(copied) is Sample and np.array_equal(copied[0][1], sample[0][1])
    sparse = JTensor.sparse(np.array([5.0, 6.0]), np.array([[0, 1], [2, 0]]), np.array([2, 3]))
    assert np.array_equal(sparse.to_ndarray(), [[0, 0, 5], [6, 0, 0]])
    assert Sample.from_jtensor(sparse, JTensor.from_ndarray(np.ones(1))).feature.to_ndarray().sum() == 11
    with pytest.raises(UsageError, match="3 numbers for 4 places"):
        JTensor([1, 2, 3], [2, 2])
    with pytest.raises(UsageError, match="hold numbers"):
        Sample.from_ndarray("text", 1)


def test_an_rdd_of_samples_trains_and_predicts(on_spark):
    from zoo.bigdl.util.common import create_spark_conf, get_node_and_core_number, init_engine

    context = on_spark.sparkContext
    assert init_engine() is context and get_node_and_core_number() == (1, 2)
    assert create_spark_conf().get("spark.pyspark.python")
    rows = context.parallelize([(x.tolist(), y.tolist()) for x, y in zip(X, Y, strict=True)], 2)
    samples = rows.map(lambda row: Sample.from_ndarray(np.array(row[0]), np.array(row[1])))
    model = Optimizer(classifier(), samples, ClassNLLCriterion(), MaxEpoch(5), 64, SGD(0.5)).optimize()
    assert near(model, plain_loop(classifier(), 5))
    assert np.allclose(model.predict(samples).collect(), model.predict(X), atol=1e-5)


def test_from_bigdl_on_a_data_frame(on_spark, tmp_path):
    from pyspark.ml.linalg import Vectors

    rows = [(Vectors.dense(x.astype(float).tolist()), float(y[0])) for x, y in zip(X, Y, strict=True)]
    frame = on_spark.createDataFrame(rows, ["features", "label"])
    model = Sequential().add(ParallelTable().add(Linear(2, 4)).add(Linear(2, 4))).add(JoinTable(2)).add(Linear(8, 2))
    est = Estimator.from_bigdl(
        model=model, loss=CrossEntropyCriterion(), optimizer=Adam(0.1), metrics=[Top1Accuracy()],
        feature_preprocessing=[[2], [2]], model_dir=str(tmp_path / "run"),
    )  # fmt: skip
    est.fit(frame, 8, 16, validation_data=frame, validation_trigger=EveryEpoch())
    scores = est.evaluate(frame)
    assert scores["Top1Accuracy"] > 0.9
    found = est.predict(frame).collect()
    outputs = model.predict([X[:, :2], X[:, 2:]])
    assert np.allclose([row["prediction"].toArray() for row in found], outputs, atol=1e-4)
    assert np.mean(outputs.argmax(1) + 1 == Y[:, 0]) == pytest.approx(scores["Top1Accuracy"])
    assert len(est.get_train_summary("Loss")) == 32 and est.get_validation_summary("Top1Accuracy")
    est.save(str(tmp_path / "weights"))
    other = Estimator.from_bigdl(model=copy.deepcopy(model)).load(
        str(tmp_path / "run"), loss=CrossEntropyCriterion(), optimizer=Adam(0.1), is_checkpoint=True,
        feature_preprocessing=[[2], [2]],
    )  # fmt: skip
    assert other.evaluate(frame)["val_loss"] == pytest.approx(scores["val_loss"])


class Doubled:
    """As a `Preprocessing` of zoo.feature."""

    def apply(self, value):
        return np.asarray(value, np.float32) * 2


def test_preprocessing_of_arrays_and_xshards(inline):
    from zoo.orca.data import XShards

    doubled = Sequential().add(Linear(4, 1, with_bias=False, init_weight=np.ones((1, 4))))
    est = Estimator.from_bigdl(model=doubled, loss=MSECriterion(), metrics=[MAE()], feature_preprocessing=Doubled())
    wanted = 2 * X.sum(1, keepdims=True)
    assert np.allclose(est.predict(X), wanted, atol=1e-5)
    assert np.allclose(est.predict(X, sample_preprocessing=lambda x: 3 * x), 1.5 * wanted, atol=1e-5)
    assert est.evaluate((X, wanted))["MAE"] == pytest.approx(0, abs=1e-5)
    twice = Estimator.from_bigdl(
        model=doubled, loss=MSECriterion(), feature_preprocessing=Doubled(), label_preprocessing=Doubled()
    )
    assert twice.evaluate((X, wanted / 2))["val_loss"] == pytest.approx(0, abs=1e-5)
    shards = XShards.partition({"x": X, "y": wanted})
    assert est.evaluate(shards)["MAE"] == pytest.approx(0, abs=1e-5)
    single = Estimator.from_bigdl(model=Linear(1, 1, with_bias=False, init_weight=np.array([[2.0]])))
    assert np.allclose(single.predict(X[:, 0]), 2 * X[:, :1])


def test_the_estimator_of_pipelines(inline, tmp_path):
    from zoo.pipeline.estimator import Estimator as PipelineEstimator

    model, criterion = classifier(), ClassNLLCriterion()
    est = PipelineEstimator(model, {"all": SGD(0.5)}, str(tmp_path))
    est.set_l2_norm_gradient_clipping(1e9)
    assert est.evaluate((X, Y), [Loss()])["Loss"] == pytest.approx(criterion.forward(model.predict(X), Y), abs=1e-5)
    est.train((X, Y), criterion, MaxEpoch(2), validation_set=(X, Y), validation_method=[Top1Accuracy()], batch_size=64)
    est.train((X, Y), criterion, MaxEpoch(5), validation_set=(X, Y), validation_method=[Top1Accuracy()], batch_size=64)
    assert near(model, plain_loop(classifier(), 5))
    assert est.get_train_summary("Loss").shape == (5, 3)
    assert est.get_validation_summary("Top1Accuracy")[-1, 1] == est.evaluate((X, Y), Top1Accuracy())["Top1Accuracy"]
    with pytest.raises(UsageError, match="one optimizer trains the whole model"):
        PipelineEstimator(model, {"a": SGD(), "b": SGD()})


# --- torch in their places ---


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def test_torch_in_bigdl_s_places(inline, tmp_path):
    wrapped = TorchModel.from_pytorch(network)
    module = wrapped.to_pytorch()
    assert np.allclose(wrapped.forward(X), module(torch.from_numpy(X)).detach())
    model = Sequential().add(wrapped).add(Linear(1, 1))
    loss = TorchLoss.from_pytorch(nn.MSELoss)
    before = loss.forward(model.predict(X), Y)
    assert loss.backward(X, X + 1).shape == X.shape
    Optimizer(model, (X, Y), loss, MaxEpoch(5), 16, TorchOptim.from_pytorch(torch.optim.SGD(module.parameters(), 0.1)))
    method = TorchOptim.from_pytorch(torch.optim.SGD(model.parameters(), 0.1))
    Optimizer(model, (X, Y), loss, MaxEpoch(5), 16, method).optimize()
    assert loss.forward(model.predict(X), Y) < before / 2 and wrapped.to_pytorch() is module
    path = wrapped.saveModel(str(tmp_path / "net.pt"))
    assert np.allclose(TorchModel.from_pytorch(network()).load(path).forward(X), wrapped.forward(X))
    with pytest.raises(UsageError, match="over_write=True"):
        wrapped.saveModel(path)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("decay", "steps"), [("EpochDecay", 3), ("IterationDecay", 12)])
def test_a_torch_scheduler_steps_as_asked(inline, own, decay, steps):
    rates = []

    class Watched(torch.optim.lr_scheduler.ExponentialLR):
        def step(self, *args):
            super().step(*args)
            rates.append(self.get_last_lr()[0])

    model = network()
    parameters = model.parameters() if own else [nn.Parameter(torch.ones(1))]
    scheduler = Watched(torch.optim.SGD(parameters, 0.1, momentum=0.9), 0.5)
    rates.clear()
    method = TorchOptim.from_pytorch(scheduler, decay)
    Optimizer(model, (X, Y), nn.MSELoss(), MaxEpoch(3), 16, method).optimize()
    assert rates == pytest.approx([0.1 * 0.5**n for n in range(1, steps + 1)])
    assert scheduler.get_last_lr() == [0.1]


def test_plateau_hears_the_score(inline):
    model = network()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD(model.parameters(), 1e-9), patience=0)
    optimizer = Optimizer(
        model, (X, Y), nn.MSELoss(), MaxEpoch(3), 64, TorchOptim.from_pytorch(plateau, "EpochDecayByScore")
    )
    optimizer.set_validation(64, (X, Y), EveryEpoch(), [MAE()])
    optimizer.optimize()


def test_zoo_pickle_module_serves_torch():
    file = io.BytesIO()
    torch.save({"made": lambda x: x + 1, "weights": torch.ones(2)}, file, pickle_module=zoo_pickle_module)
    file.seek(0)
    found = torch.load(file, pickle_module=zoo_pickle_module, weights_only=False)
    assert found["made"](2) == 3 and found["weights"].sum() == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: TorchModel.from_pytorch(lambda: 3), "made of a torch.nn.Module"),
        (lambda: TorchLoss.from_pytorch(3), "made of a loss of torch"),
        (lambda: TorchOptim.from_pytorch(3), "made of a torch optimizer"),
        (lambda: TorchOptim.from_pytorch(torch.optim.SGD([torch.ones(1)], 0.1), "Decay"), "Received: 'Decay'"),
    ],
)
def test_mistakes_with_torch(wrong, told):
    with pytest.raises(UsageError, match=told):
        wrong()
