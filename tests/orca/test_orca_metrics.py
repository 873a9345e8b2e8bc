"""Orca's metrics are the engine's, under Orca's names; the PyTorch ones remember their batches."""

import pickle

import numpy as np
import pytest
import torch

from zoo.engine import metrics as engine
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.torch.metrics import adapt
from zoo.orca.learn import metrics as orca
from zoo.orca.learn.metrics import AUC, MSE, Accuracy, BinaryAccuracy, Metric, Top5Accuracy
from zoo.orca.learn.pytorch import pytorch_metrics

NAMES = [made.__name__ for made in engine.CLASSES]


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_there_in_all_three_places(name):
    metric = getattr(orca, name)()
    assert isinstance(metric, Metric)
    assert isinstance(metric, getattr(engine, name))
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert metric.get_name() == name
    assert adapt(metric) is metric
    stateful = metric.get_metric("pytorch")
    assert type(stateful) is getattr(pytorch_metrics, name)
    assert adapt(stateful) is metric


def test_constructors():
    assert AUC(20) == AUC(threshold_num=20) != AUC()
    assert Accuracy() == Accuracy(zero_based_label=True)
    assert Top5Accuracy(zero_based_label=False).zero_based_label is False


def test_conversion_to_a_backend():
    assert Metric.convert_metrics_list(None) == []
    assert Metric.convert_metrics_list(MSE()) == [MSE()]
    assert Metric.convert_metrics_dict([MSE(), AUC()], "bigdl") == {"MSE": MSE(), "AUC": AUC()}
    converted = Metric.convert_metrics_dict([MSE()], backend="pytorch")
    converted["MSE"](torch.ones(2), torch.zeros(2))
    assert converted["MSE"].compute() == 1
    with pytest.raises(UsageError, match="not supported for backend 'mxnet'"):
        MSE().get_metric("mxnet")
    with pytest.raises(UsageError, match="Received: 'mse'"):
        Metric.convert_metrics_list(["mse"])


def test_summary_tags():
    tags = {name: getattr(orca, name)().summary_tag for name in NAMES[:7]}
    assert tags == {
        "Accuracy": "Top1Accuracy",
        "SparseCategoricalAccuracy": "Top1Accuracy",
        "CategoricalAccuracy": "Top1Accuracy",
        "BinaryAccuracy": "Top1Accuracy",
        "Top5Accuracy": "Top5Accuracy",
        "AUC": "AucScore",
        "MAE": "MAE",
    }


def test_results_are_pooled_over_batches_of_tensors():
    metric = pytorch_metrics.SparseCategoricalAccuracy()
    assert np.isnan(metric.compute())
    metric(torch.tensor([[0.1, 0.9], [0.8, 0.2]], requires_grad=True), torch.tensor([1, 1]))
    metric(torch.tensor([[0.1, 0.9]], dtype=torch.bfloat16), torch.tensor([1]))
    assert metric.compute() == pytest.approx(2 / 3)
    assert np.isnan(metric.reset().compute())


def test_binary_accuracy_takes_a_threshold_with_each_call():
    metric = pytorch_metrics.BinaryAccuracy()
    metric(torch.tensor([0.6, 0.4]), torch.tensor([1, 1]))
    assert metric.compute() == 0.5
    metric(torch.tensor([0.6, 0.4]), torch.tensor([1, 1]), threshold=0.3)
    assert metric.compute() == 0.75
    assert BinaryAccuracy(0.3) == BinaryAccuracy(threshold=0.3)


@pytest.mark.parametrize(
    "name, preds, targets, value",
    [
        ("BinaryCrossEntropy", [[0.6, 0.4], [0.4, 0.6]], [[0, 1], [0, 0]], 0.81492424),
        ("CategoricalCrossEntropy", [[0.05, 0.95, 0], [0.1, 0.8, 0.1]], [[0, 1, 0], [0, 0, 1]], 1.1769392),
        ("KLDivergence", [[0.6, 0.4], [0.4, 0.6]], [[0, 1], [0, 0]], 0.45814306),
        ("Poisson", [[1, 1], [0, 0]], [[0, 1], [0, 0]], 0.5),
        ("MSE", [[1, -2], [1, 1]], [[0, 1], [0, 1]], 2.75),
        ("MAE", [[1, -2], [1, 1]], [[0, 1], [0, 1]], 1.25),
    ],
)
def test_check_values_on_tensors(name, preds, targets, value):
    metric = getattr(pytorch_metrics, name)()
    metric(torch.tensor(preds, dtype=torch.float32), torch.tensor(targets))
    assert metric.compute() == pytest.approx(value, abs=1e-6)
