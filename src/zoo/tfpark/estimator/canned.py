"""Models that are ready made: linear models, networks, and both together.

Owns: the classes and arguments of ``tf.estimator``, and the model function of each.
Leaves: what they are made of (networks, heads, optimizers), running them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.tensorflow import process
from zoo.tfpark.estimator import optimizers
from zoo.tfpark.estimator.columns import check_features, listed
from zoo.tfpark.estimator.heads import Classes, Head, Numbers
from zoo.tfpark.estimator.networks import Deep, Linear, Part
from zoo.tfpark.estimator.specs import EstimatorSpec, ModeKeys, RunConfig, check_mode

Activation = Callable[[Any], Any]


class Canned:
    """A head on one or more parts whose logits are added up.

    Args:
        head: what is done with logits.
        parts: what makes them.
        model_dir: where checkpoints go.
        config: further settings.

    Attributes:
        model_dir: where checkpoints go; None: nowhere yet.
        config: the settings, with `model_dir`.
        params: none; for those who call `model_fn` of any estimator.

    Raises:
        UsageError: arguments that cannot work; all problems are listed.
    """

    def __init__(self, head: Head, parts: Sequence[Part], model_dir: Any, config: RunConfig | None) -> None:
        problems = [problem for part in parts for problem in part.problems()] + head.problems()
        problems += UsageError.found_by(lambda: _settings(model_dir, config))
        if problems:
            raise UsageError.listing(problems)
        self._head = head
        self._parts = tuple(parts)
        self.config = _settings(model_dir, config)
        self.model_dir = self.config.model_dir
        self.params: dict[str, Any] = {}

    def model_fn(
        self, features: Mapping[str, Any], labels: Any, mode: str, params: Any = None, config: Any = None
    ) -> EstimatorSpec:
        """Builds the model in the current graph.

        Args:
            features: name -> tensor, one row an example.
            labels: (batch,) or (batch, 1); None to predict.
            mode: one of `ModeKeys`.
            params: not used.
            config: not used.

        Raises:
            UsageError: features or labels that the model cannot read.
        """
        check_mode(mode)
        check_features(features, [column for part in self._parts for column in part.columns])
        made = [part.logits(features, self._head.units, mode == ModeKeys.TRAIN) for part in self._parts]
        logits = process.library().add_n([logits for logits, _ in made])

        def train(loss: Any) -> Any:
            steps = [
                (optimizers.made(part.optimizer, part.learning_rate), variables)
                for part, (_, variables) in zip(self._parts, made, strict=True)
            ]
            return optimizers.train_op(loss, steps)

        return self._head.spec(mode, features, labels, logits, train)


class LinearClassifier(Canned):
    """Classes by a linear model.

    Args:
        feature_columns: of ``tf.feature_column``, numeric and categorical.
        model_dir: where checkpoints go.
        n_classes: how many.
        weight_column: the feature that says how much an example counts.
        label_vocabulary: the classes' names, where labels are strings.
        optimizer: a name, an object with ``minimize(loss, global_step=...)``, or a function that makes one.
        config: further settings.
        loss_reduction: how the examples' losses become one number.
        sparse_combiner: what becomes of several categories in one example: "sum", "mean" or "sqrtn".

    Raises:
        UsageError: arguments that cannot work; all problems are listed.
    """

    def __init__(
        self,
        feature_columns: Iterable[Any],
        model_dir: Any = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Sequence[str] | None = None,
        optimizer: Any = "Ftrl",
        config: RunConfig | None = None,
        *,
        loss_reduction: str = "sum_over_batch_size",
        sparse_combiner: str = "sum",
    ) -> None:
        head = Classes(weight_column, loss_reduction, n_classes, label_vocabulary)
        super().__init__(head, [Linear(listed(feature_columns), optimizer, sparse_combiner)], model_dir, config)


class LinearRegressor(Canned):
    """Numbers by a linear model, with the squared error.

    Args:
        feature_columns: see `LinearClassifier`, like all others but one.
        model_dir: as there.
        label_dimension: numbers for each example.
        weight_column: as there.
        optimizer: as there.
        config: as there.
        loss_reduction: as there.
        sparse_combiner: as there.

    Raises:
        UsageError: arguments that cannot work; all problems are listed.
    """

    def __init__(
        self,
        feature_columns: Iterable[Any],
        model_dir: Any = None,
        label_dimension: int = 1,
        weight_column: Any = None,
        optimizer: Any = "Ftrl",
        config: RunConfig | None = None,
        *,
        loss_reduction: str = "sum_over_batch_size",
        sparse_combiner: str = "sum",
    ) -> None:
        head = Numbers(weight_column, loss_reduction, label_dimension)
        super().__init__(head, [Linear(listed(feature_columns), optimizer, sparse_combiner)], model_dir, config)


class DNNClassifier(Canned):
    """Classes by a network of dense layers.

    Args:
        hidden_units: the hidden layers' widths.
        feature_columns: of ``tf.feature_column``; categorical ones in an indicator or embedding column.
        model_dir: where checkpoints go.
        n_classes: how many.
        weight_column: the feature that says how much an example counts.
        label_vocabulary: the classes' names, where labels are strings.
        optimizer: a name, an object with ``minimize(loss, global_step=...)``, or a function that makes one.
        activation_fn: of the hidden layers; relu by default.
        dropout: the share of a hidden layer's outputs that a training step leaves out.
        config: further settings.
        loss_reduction: how the examples' losses become one number.
        batch_norm: whether hidden layers' outputs are normalized over the batch.

    Raises:
        UsageError: arguments that cannot work; all problems are listed.
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        feature_columns: Iterable[Any],
        model_dir: Any = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Sequence[str] | None = None,
        optimizer: Any = "Adagrad",
        activation_fn: Activation | None = None,
        dropout: float | None = None,
        config: RunConfig | None = None,
        *,
        loss_reduction: str = "sum_over_batch_size",
        batch_norm: bool = False,
    ) -> None:
        head = Classes(weight_column, loss_reduction, n_classes, label_vocabulary)
        part = Deep(listed(feature_columns), optimizer, hidden_units, activation_fn, dropout, batch_norm)
        super().__init__(head, [part], model_dir, config)


class DNNRegressor(Canned):
    """Numbers by a network of dense layers, with the squared error.

    Args:
        hidden_units: see `DNNClassifier`, like all others but one.
        feature_columns: as there.
        model_dir: as there.
        label_dimension: numbers for each example.
        weight_column: as there.
        optimizer: as there.
        activation_fn: as there.
        dropout: as there.
        config: as there.
        loss_reduction: as there.
        batch_norm: as there.

    Raises:
        UsageError: arguments that cannot work; all problems are listed.
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        feature_columns: Iterable[Any],
        model_dir: Any = None,
        label_dimension: int = 1,
        weight_column: Any = None,
        optimizer: Any = "Adagrad",
        activation_fn: Activation | None = None,
        dropout: float | None = None,
        config: RunConfig | None = None,
        *,
        loss_reduction: str = "sum_over_batch_size",
        batch_norm: bool = False,
    ) -> None:
        head = Numbers(weight_column, loss_reduction, label_dimension)
        part = Deep(listed(feature_columns), optimizer, hidden_units, activation_fn, dropout, batch_norm)
        super().__init__(head, [part], model_dir, config)


class DNNLinearCombinedClassifier(Canned):
    """Classes by a linear model and a network of dense layers, whose logits are added up and trained together.

    Args:
        model_dir: where checkpoints go.
        linear_feature_columns: see `LinearClassifier`; None: no linear part.
        linear_optimizer: of the linear part.
        dnn_feature_columns: see `DNNClassifier`; None: no network.
        dnn_optimizer: of the network.
        dnn_hidden_units: see `DNNClassifier`, like those below.
        dnn_activation_fn: as there.
        dnn_dropout: as there.
        n_classes: as there.
        weight_column: as there.
        label_vocabulary: as there.
        config: as there.
        loss_reduction: as there.
        batch_norm: as there.
        linear_sparse_combiner: see `LinearClassifier`.

    Raises:
        UsageError: arguments that cannot work; all problems are listed.
    """

    def __init__(
        self,
        model_dir: Any = None,
        linear_feature_columns: Iterable[Any] | None = None,
        linear_optimizer: Any = "Ftrl",
        dnn_feature_columns: Iterable[Any] | None = None,
        dnn_optimizer: Any = "Adagrad",
        dnn_hidden_units: Sequence[int] | None = None,
        dnn_activation_fn: Activation | None = None,
        dnn_dropout: float | None = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Sequence[str] | None = None,
        config: RunConfig | None = None,
        *,
        loss_reduction: str = "sum_over_batch_size",
        batch_norm: bool = False,
        linear_sparse_combiner: str = "sum",
    ) -> None:
        wide, deep = listed(linear_feature_columns), listed(dnn_feature_columns)
        parts: list[Part] = []
        if wide:
            parts.append(Linear(wide, linear_optimizer, linear_sparse_combiner, 0.005, "linear_feature_columns"))
        if deep or not wide:
            parts.append(
                Deep(deep, dnn_optimizer, dnn_hidden_units, dnn_activation_fn, dnn_dropout, batch_norm,
                     "dnn_feature_columns")
            )  # fmt: skip
        head = Classes(weight_column, loss_reduction, n_classes, label_vocabulary)
        super().__init__(head, parts, model_dir, config)


def _settings(model_dir: Any, config: RunConfig | None) -> RunConfig:
    if config is not None and not isinstance(config, RunConfig):
        raise UsageError(
            f"config must be a RunConfig. Received: {config!r}. "
            "A tf.compat.v1.ConfigProto goes into RunConfig(session_config=...)."
        )
    config = config or RunConfig()
    if model_dir is None:
        return config
    if config.model_dir not in (None, str(model_dir)):
        raise UsageError(
            f"model_dir={str(model_dir)!r} and config.model_dir={config.model_dir!r} differ. Give one of them."
        )
    return config.replace(model_dir=str(model_dir))
