"""Training in several calls, each of which builds the graph anew: what is remembered between them.

Values go by the names of variables. In a `model_dir` they are also a checkpoint of TensorFlow, ``model.ckpt-<step>``,
which `tf.train.latest_checkpoint` finds, and from which the next program goes on.

Owns: that.
Leaves: training within a call (zoo.orca.learn), its recovery (zoo.engine).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.engine import checkpoint, storage
from zoo.engine.errors import UsageError
from zoo.engine.frameworks.graph import files
from zoo.engine.frameworks.graph.copies import variables_of
from zoo.engine.frameworks.graph.home import Home
from zoo.engine.progress import Progress
from zoo.orca.learn.tf.graph_estimator import GraphEstimator

v1 = tf.compat.v1


class Course:
    """What calls of `train` leave to the next one.

    Args:
        model_dir: a directory of this machine for checkpoints; None for nowhere.
    """

    def __init__(self, model_dir: str | None) -> None:
        if model_dir is not None and not storage.is_local(model_dir):
            raise UsageError(f"model_dir must be a path of this machine, or one that it mounts. Received: {model_dir}")
        self.model_dir = None if model_dir is None else str(model_dir)
        self._values: dict[str, np.ndarray] = {}
        self._progress = Progress()

    def recall(self, home: Home, checkpoint_path: str | None = None) -> int:
        """Gives the variables of a new graph what earlier calls, or an earlier program, left.

        Args:
            home: of the graph.
            checkpoint_path: of a checkpoint to take instead.

        Returns:
            the global step that is reached; -1 where there is nothing to recall.
        """
        if checkpoint_path is not None:
            files.load_checkpoint(home.session, checkpoint_path)
        elif self._values:
            home.assign(_fitting(home, self._values))
        elif not self._recall_program(home):
            return -1
        return self._step_of(home)

    def warm(self, home: Home, checkpoint_path: str) -> None:
        """Gives the trainable variables of a new graph a checkpoint's values; training begins at step 0."""
        with home.graph.as_default():
            saver = v1.train.Saver(v1.trainable_variables())
        files.load_checkpoint(home.session, checkpoint_path, saver)

    def require(self, home: Home, checkpoint_path: str | None) -> None:
        """As `recall`, for a call that needs a trained model.

        Raises:
            UsageError: there is none.
        """
        if self.recall(home, checkpoint_path) < 0:
            raise UsageError("there is no trained model yet: call train() first, or give model_dir or checkpoint_path.")

    def run(self, estimator: GraphEstimator, home: Home, *call: Any, **words: Any) -> list[dict[str, float]]:
        """Trains, and remembers what came of it.

        Args:
            estimator: over the graph.
            home: of the graph.
            *call: arguments of `GraphEstimator.fit`.
            **words: likewise.
        """
        estimator.go_on_from(self._progress)
        epochs = estimator.fit(*call, **words)
        self._progress = estimator.progress
        self._values = home.values(variables_of(home.graph))
        self._write(home)
        return epochs

    @property
    def progress(self) -> Progress:
        """How far all calls came."""
        return self._progress

    def _recall_program(self, home: Home) -> bool:
        """Whether an earlier program has left something: behind a call of `train`, or within one that was cut off."""
        if self.model_dir is None:
            return False
        path = v1.train.latest_checkpoint(self.model_dir)
        if path is not None:
            files.load_checkpoint(home.session, path)
            self._progress = Progress(step=self._step_of(home))
        within = checkpoint.latest(self.model_dir).checkpoint if storage.exists(self.model_dir) else None
        if within is not None and within.progress.step > self._progress.step:
            values = {name.partition("/")[2]: array for name, array in within.state.arrays.items()}
            home.assign(_fitting(home, values))
            self._progress = within.progress
        return path is not None or within is not None

    def _write(self, home: Home) -> None:
        if self.model_dir is not None:
            path = storage.join(self.model_dir, f"model.ckpt-{self._step_of(home)}")
            files.save_checkpoint(home.session, path)

    def _step_of(self, home: Home) -> int:
        """The global step; or how far all calls came, where no train operation counts it."""
        with home.graph.as_default():
            counter = v1.train.get_global_step()
        return self._progress.step if counter is None else max(self._progress.step, int(home.session.run(counter)))


def _fitting(home: Home, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the graph's own variables.

    Raises:
        UsageError: a variable has another shape now.
    """
    found = {}
    for variable in variables_of(home.graph):
        value = values.get(variable.name)
        if value is None:
            continue
        if not variable.shape.is_compatible_with(value.shape):
            raise UsageError(
                f"the variable {variable.name} had the shape {value.shape} in an earlier call, and has "
                f"{variable.shape} now. Build the same model in each call."
            )
        found[variable.name] = value
    return found
