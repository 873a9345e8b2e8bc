"""`GANEstimator`: a generator and a discriminator that are trained in turns.

Source: Goodfellow et al., NIPS 2014.

Owns: building both networks, whose turn it is.
Leaves: what is remembered between calls (course), training (zoo.orca.learn.tf).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph.home import Home
from zoo.engine.frameworks.graph.making import Tensors, graph_spec
from zoo.engine.frameworks.graph.marks import ZooOptimizer
from zoo.engine.frameworks.graph.program import Turn
from zoo.engine.triggers import MaxIteration, Since, convert_trigger
from zoo.orca.learn.tf.graph_estimator import GraphEstimator, serialised
from zoo.tfpark.course import Course
from zoo.tfpark.tf_dataset import TFDataset

v1 = tf.compat.v1
GENERATOR, DISCRIMINATOR = "Generator", "Discriminator"


class GANEstimator:
    """Trains a generator and a discriminator in turns.

    Step s is one of the discriminator where ``s mod (discriminator_steps + generator_steps) < discriminator_steps``,
    else one of the generator. Both networks are built anew in each call of `train`, in scopes ``Generator`` and
    ``Discriminator``; their variables go on where the last call, or an earlier program with the same `model_dir`,
    ended.

    Args:
        generator_fn: ``f(generator_inputs)`` -> generated data.
        discriminator_fn: ``f(data, generator_inputs)`` -> its outputs.
        generator_loss_fn: ``f(fake_outputs)`` -> a scalar. Regularisation losses of its scope are added.
        discriminator_loss_fn: ``f(real_outputs, fake_outputs)`` -> a scalar; likewise.
        generator_optimizer: a ``tf.compat.v1.train.Optimizer``, or a `ZooOptimizer` over one.
        discriminator_optimizer: likewise.
        generator_steps: in a row.
        discriminator_steps: in a row.
        model_dir: where checkpoints and summaries go; a directory of this machine.
        session_config: a ``tf.compat.v1.ConfigProto`` for the ranks' sessions.
        workers_per_node: ranks on each node (Spark executor).
        seed: of the initial values, the order of rows and random operations.

    Each of the four functions may have a further argument ``counter``, which is then given the global step's tensor.
    """

    def __init__(
        self,
        generator_fn: Callable[..., Any],
        discriminator_fn: Callable[..., Any],
        generator_loss_fn: Callable[..., Any],
        discriminator_loss_fn: Callable[..., Any],
        generator_optimizer: Any,
        discriminator_optimizer: Any,
        generator_steps: int = 1,
        discriminator_steps: int = 1,
        model_dir: str | None = None,
        session_config: Any = None,
        workers_per_node: int = 1,
        seed: int = 0,
    ) -> None:
        for name, steps in (("generator_steps", generator_steps), ("discriminator_steps", discriminator_steps)):
            if not isinstance(steps, int) or steps < 1:
                raise UsageError(f"{name} must be a whole number, at least 1. Received: {steps!r}")
        self._functions = (generator_fn, discriminator_fn, generator_loss_fn, discriminator_loss_fn)
        self._optimizers = tuple(map(_averaging, (generator_optimizer, discriminator_optimizer)))
        self._counts = generator_steps, discriminator_steps
        self._config = serialised(session_config)
        self._words = {"model_dir": model_dir, "workers_per_node": workers_per_node, "seed": seed}
        self._course = Course(model_dir)
        self._last: GraphEstimator | None = None

    def train(self, input_fn: Callable[[], TFDataset], end_trigger: Any = None) -> list[dict[str, float]]:
        """Trains until a trigger fires, which counts from this call on.

        Args:
            input_fn: gives a `TFDataset` of ``(generator_inputs, real_data)``.
            end_trigger: ``MaxIteration(1)`` by default.

        Returns:
            the statistics of each epoch, ``train_generator_loss`` and ``train_discriminator_loss`` among them.
        """
        with tf.Graph().as_default() as graph:
            v1.set_random_seed(self._words["seed"])
            dataset = _checked(input_fn())
            losses = self._built(dataset)
            home = Home(graph)
            turns = self._turns(home, losses)
            fed, real = dataset.feeding(dataset.feature_tensors, dataset.label_tensors)
            spec = graph_spec(
                Tensors(inputs=fed, labels=real, loss=losses[0]), home, seed=self._words["seed"],
                session_config=self._config,
            ).with_turns(turns)  # fmt: skip
            spec.memory = {"step": max(0, self._course.recall(home))}
            self._last = GraphEstimator(spec, spec.placed, **self._words)
            end = convert_trigger(MaxIteration(1) if end_trigger is None else end_trigger)
            return self._course.run(
                self._last, home, dataset, None, dataset.batch_size, shuffle=dataset.shuffle,
                steps_per_epoch=dataset.steps_per_epoch, end_trigger=Since(self._course.progress, end),
            )  # fmt: skip

    def get_train_summary(self, tag: str = "generator_loss") -> list[list[float]] | None:
        """``[[step, value, unix seconds], ...]`` of "generator_loss", "discriminator_loss", "Throughput", ...

        None where no `model_dir` was given, or nothing was trained yet.
        """
        return None if self._last is None else self._last.get_train_summary(tag)

    def _built(self, dataset: TFDataset) -> tuple[Any, Any]:
        """(generator's loss, discriminator's loss)."""
        generator, discriminator, of_generator, of_discriminator = self._functions
        counter = v1.train.get_or_create_global_step()
        given, real = dataset.feature_tensors, dataset.label_tensors
        with v1.variable_scope(GENERATOR):
            fake = _called(generator, counter, given)
        with v1.variable_scope(DISCRIMINATOR):
            fake_outputs = _called(discriminator, counter, fake, given)
        with v1.variable_scope(DISCRIMINATOR, reuse=True):
            real_outputs = _called(discriminator, counter, real, given)
        losses = (
            _called(of_generator, counter, fake_outputs) + v1.losses.get_regularization_loss(GENERATOR),
            _called(of_discriminator, counter, real_outputs, fake_outputs)
            + v1.losses.get_regularization_loss(DISCRIMINATOR),
        )
        for loss, name in zip(losses, ("generator_loss_fn", "discriminator_loss_fn"), strict=True):
            if loss.shape.rank not in (0, None):
                raise UsageError(f"{name} must give a scalar: tf.reduce_mean(...). It gave the shape {loss.shape}.")
        return losses

    def _turns(self, home: Home, losses: tuple[Any, Any]) -> list[Turn]:
        counter = v1.train.get_global_step()
        made = []
        for scope, loss, optimizer, count in zip(
            (GENERATOR, DISCRIMINATOR), losses, self._optimizers, self._counts, strict=True
        ):
            variables = v1.get_collection(v1.GraphKeys.TRAINABLE_VARIABLES, scope)
            if not variables:
                raise UsageError(f"the {scope.lower()} has no trainable variables. Make them with tf.get_variable.")
            train = optimizer().minimize(loss, global_step=counter, var_list=variables)
            updates = [op.name for op in v1.get_collection(v1.GraphKeys.UPDATE_OPS, scope)]
            turn = home.turn_of(train, loss.name, updates)
            made.append(dataclasses.replace(turn, name=f"{scope.lower()}_loss", count=count))
        return made[::-1]


def _averaging(given: Any) -> Callable[[], ZooOptimizer]:
    """Makes an optimizer for a new graph, whose gradients are averaged."""
    import copy

    optimizer = given if isinstance(given, ZooOptimizer) else ZooOptimizer(given)
    return lambda: copy.deepcopy(optimizer)


def _checked(dataset: Any) -> TFDataset:
    if not isinstance(dataset, TFDataset):
        raise UsageError(f"input_fn must give a TFDataset. It gave: {type(dataset).__name__}")
    if dataset.label_tensors is None:
        raise UsageError("the TFDataset of a GAN has two parts, (generator_inputs, real_data). It has one.")
    if dataset.batch_size < 1:
        raise UsageError("The batch_size of TFDataset must be specified when used in GANEstimator train.")
    return dataset


def _called(function: Callable[..., Any], counter: Any, *arguments: Any) -> Any:
    """With `counter` where the function has an argument of that name."""
    if "counter" in inspect.signature(function).parameters:
        return function(*arguments, counter=counter)
    return function(*arguments)
