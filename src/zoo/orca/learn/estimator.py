"""The one estimator class, whatever the framework and the cluster.

Owns: translating a call into a job, and its outcome into what the caller expects.
Leaves: the work (zoo.engine.run), what data and models are (adapters, specs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from zoo.engine import checkpoint, run, session
from zoo.engine.contracts import Cluster
from zoo.engine.data import columns
from zoo.engine.data.adapters import Adapted, adapt
from zoo.engine.errors import UsageError
from zoo.engine.events.report import Report, Reporter
from zoo.engine.events.sinks import Fan
from zoo.engine.events.tensorboard import read_scalars
from zoo.engine.jobs import Columns, FitJob, Outputs, PredictJob, ScoreJob, Transform
from zoo.engine.loop import TRAIN, VALID
from zoo.engine.optim import ConstantClip, NormClip
from zoo.engine.progress import Progress
from zoo.engine.triggers import EveryEpoch, Trigger, convert_trigger
from zoo.orca.common import OrcaContext
from zoo.orca.learn.listeners import listening
from zoo.orca.learn.preparation import with_transform
from zoo.orca.learn.words import (
    Names,
    checkpoint_of_step,
    disk_of,
    end_of,
    lanes_of,
    latest_checkpoint,
    listed,
    names_of,
    parse_bytes,
    refuse_endless,
    rows_per_step,
    start_of,
    sync_of,
    threads_of,
    workers_of,
)


class Estimator:
    """Trains, evaluates and applies a model on the current cluster; made by a room's ``from_*`` function."""

    def __init__(
        self,
        spec: Any,
        adapt_metrics: Callable[[Any], tuple[Any, ...]],
        *,
        metrics: Any = None,
        model_dir: str | None = None,
        workers_per_node: int = 1,
        seed: int = 0,
        callbacks: Sequence[Any] = (),
    ) -> None:
        if workers_per_node < 1:
            raise UsageError(f"workers_per_node must be at least 1. Received: {workers_per_node}")
        if problems := spec.problems():
            raise UsageError.listing(problems)
        self._spec = spec
        self._adapt_metrics = adapt_metrics
        self._metrics = adapt_metrics(metrics)
        self._model_dir = model_dir
        self._run_dir = ""
        self._workers_per_node = workers_per_node
        self._seed = seed
        self._callbacks = tuple(callbacks)  # of every call
        self._progress = Progress()
        self._position: dict[str, Any] = {}
        self._loaded = False
        self._state: Any = None
        self._failed = False
        self._clip: ConstantClip | NormClip | None = None
        self._summaries: tuple[str, str] | None = None
        self._schema: tuple[columns.ArraySpec, ...] = ()
        self._reporter = Reporter()

    # --- the three verbs ---------------------------------------------------------------------------------------------

    def fit(
        self,
        data: Any,
        epochs: int | None = 1,
        batch_size: int | None = None,
        feature_cols: Names = None,
        label_cols: Names = None,
        validation_data: Any = None,
        checkpoint_trigger: Any = None,
        *,
        max_steps: int | None = None,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        end_trigger: Trigger | None = None,
        validation_trigger: Any = None,
        callbacks: Sequence[Any] | Any | None = None,
        shuffle: bool = True,
        memory: int | str = "1g",
        stop_on_nan: bool = True,
        stall_timeout: float = 600.0,
        attempts: int = 4,
        recovery: str | None = None,
        workers: int | tuple[int, int] | None = None,
        reproducible: bool = False,
        virtual_ranks: int = 8,
        sync: str = "allreduce",
        profile: bool = False,
        reduce_results: bool = True,
        info: Any = None,
        transform: Transform | None = None,
        data_store: str | None = None,
    ) -> list[dict[str, float]]:
        """Trains; a second call goes on where the first one ended. The model given to the estimator gets the weights.

        Args:
            data: a Spark DataFrame, pandas or any Arrow frame, arrays, XShards, a Parquet path, a Delta table or its
                path, a torch DataLoader, or a function ``f(config, batch_size)`` that creates one.
            epochs: further epochs; None: `end_trigger` or `max_steps` says when to end.
            batch_size: rows per step over ALL ranks (default 32, or a loader's own).
            feature_cols: columns of the model's inputs, in the order of its arguments.
            label_cols: columns of the targets.
            validation_data: scored at every `validation_trigger`; of any accepted kind.
            checkpoint_trigger: when a checkpoint goes to `model_dir`; every epoch by default.
            steps_per_epoch: an epoch's steps, where it shall have fewer than the data give.
            validation_steps: batches of each rank that are scored at most.
            max_steps: ends after so many further steps, if that comes first.
            end_trigger: ends when it fires, if that comes first, e.g. ``MinLoss(0.01)``.
            validation_trigger: every epoch by default.
            callbacks: of `zoo.orca.learn.pytorch.callbacks`; called on every rank.
            shuffle: whether rows are permuted anew in each epoch.
            memory: bytes of rows kept in memory by each rank, e.g. ``"512m"``; more are spooled to its disk.
            stop_on_nan: whether a loss that is NaN or infinite ends the run with an error.
            stall_timeout: seconds without any progress after which the run is given up with every rank's stack.
            attempts: how often a rank may be lost at one step, and gangs started from this run's last checkpoint.
            recovery: ``"peers"``: the ranks that are left go on from the same step, with another one in place of the
                lost one; ``"checkpoint"``: a new gang goes on from the last one; ``"none"``. By default the strongest
                that the cluster can give.
            workers: ranks in all, in place of workers_per_node; ``(min, max)``: as many of them as the cluster has room
                for, at the beginning and whenever that changes.
            reproducible: whether the weights are to be equal to the bit on any cluster and any number of ranks, and for
                any partitioning of the same rows. Rows are ordered by their content; see docs/reproducible.md.
            virtual_ranks: into which each step is then cut; other numbers give other weights.
            sync: ``"allreduce"``, or ``"sharded"``: each rank updates one slice of the weights, and holds the
                optimizer's memory of that slice alone; see docs/training.md.
            profile: accepted for older programs; the events tell times.
            reduce_results: accepted for older programs; statistics are those of all ranks.
            info: accepted for older programs.
            transform: of columns of images: from RGB pixels, uint8 (height, width, 3), to the model's array, or an
                `ImageTransform`; called on the ranks, in threads. Of any columns: ``{"column": value -> array}``, or a
                `ColumnTransform` each. A `Preprocessing` of zoo.feature as function gets images in BGR. None: pixels.
            data_store: in place of ``OrcaContext.train_data_store``.

        Returns:
            for each epoch ``{"epoch", "batch_count", "num_samples", "train_loss", "last_train_loss", "val_..."}``.

        Raises:
            UsageError: a mistake in the call, before any process starts.
            DataError: rows that cannot become arrays.
            WorkerFailed: ranks failed; the user's own line comes first.
        """
        cluster = session.current()
        train = self._adapt(data, feature_cols, label_cols, transform)
        shards = {TRAIN: train.shards}
        if validation_data is not None:
            shards[VALID] = self._adapt(validation_data, feature_cols, label_cols, transform).shards
        refuse_endless(shards, steps_per_epoch, validation_steps)
        rows = rows_per_step(batch_size, train)
        called = (*self._callbacks, *listed(callbacks))
        lanes = lanes_of(reproducible, virtual_ranks, self._spec, shards, called)
        sources = train.sources()
        start = start_of(self._progress, self._position if self._loaded else {}, rows, lanes, sources)
        job = FitJob(
            spec=self._spec.for_training(train.columns, self._clip, called),
            columns=train.columns,
            batch_size=rows,
            end=end_of(start, epochs, max_steps, end_trigger),
            epochs=None if epochs is None else start.epoch + epochs,
            start=start,
            state=self._going_on(),
            seed=self._seed,
            shuffle=shuffle,
            metrics=self._measured(train.columns, self._metrics) if VALID in shards else (),
            validate=convert_trigger(validation_trigger or EveryEpoch()) if VALID in shards else None,
            **self._saving(checkpoint_trigger),
            stop_on_nan=stop_on_nan,
            memory=parse_bytes(memory),
            disk=disk_of(data_store or OrcaContext.train_data_store),
            stall_timeout=stall_timeout,
            attempts=attempts,
            recovery=recovery or "",
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            virtual_ranks=lanes,
            sync=sync_of(sync, self._spec, called),
            asks_to_stop=bool(called),
            sources=sources,
        )
        fewest, most = workers_of(workers, self._world(cluster), self._spec)
        with self._listening(reporting=True) as sink:
            self._failed = True
            trained = run.fit(job, shards, cluster, fewest, sink, most)
        self._take_over(job, trained)
        return [dict(stats) for stats in trained.epochs]

    def evaluate(
        self,
        data: Any,
        batch_size: int | None = None,
        feature_cols: Names = None,
        label_cols: Names = None,
        validation_metrics: Any = None,
        *,
        num_steps: int | None = None,
        callbacks: Sequence[Any] | Any | None = None,
        profile: bool = False,
        reduce_results: bool = True,
        info: Any = None,
        transform: Transform | None = None,
    ) -> dict[str, Any]:
        """Scores the model.

        Args:
            data: of any kind that `fit` takes.
            batch_size: rows scored at once (default 32).
            feature_cols: columns of the model's inputs.
            label_cols: columns of the targets.
            validation_metrics: in place of the estimator's own metrics.
            num_steps: at most so many batches of each independent piece of the data.
            callbacks: called where the rows are scored.
            profile: accepted for older programs.
            reduce_results: accepted for older programs.
            info: accepted for older programs.
            transform: as in `fit`.

        Returns:
            metric name -> value, ``"val_loss"`` where there is a loss, ``"num_samples"`` and ``"batch_count"``.
        """
        cluster = session.current()
        adapted = self._adapt(data, feature_cols, label_cols, transform)
        metrics = self._adapt_metrics(validation_metrics) if validation_metrics is not None else self._metrics
        job = ScoreJob(
            spec=self._spec.for_scoring(adapted.columns, (*self._callbacks, *listed(callbacks))),
            columns=adapted.columns,
            batch_size=rows_per_step(batch_size, adapted),
            metrics=self._measured(adapted.columns, metrics),
            threads=threads_of(cluster),
            steps=num_steps,
        )
        with self._listening(summaries=False) as sink:
            results = run.evaluate(job, adapted.shards, cluster, sink)
        return {("val_loss" if name == "loss" else name): value for name, value in results.items()}

    def predict(
        self,
        data: Any,
        batch_size: int | None = None,
        feature_cols: Names = None,
        *,
        output_cols: Names = None,
        callbacks: Sequence[Any] | Any | None = None,
        profile: bool = False,
        transform: Transform | None = None,
        outputs: Outputs | None = None,
    ) -> Any:
        """Applies the model; on a DataFrame this is lazy and keeps all columns and the order of rows.

        Args:
            data: of any kind that `fit` takes; labels are not needed.
            batch_size: rows predicted at once (default 256).
            feature_cols: columns of the model's inputs.
            output_cols: names of the new columns, one a model output; ``prediction`` by default.
            callbacks: called where the rows are predicted.
            profile: accepted for older programs.
            transform: as in `fit`.
            outputs: the new columns and how they are made, where that is known: then the model is asked for nothing
                before rows are read.

        Returns:
            the user's own kind of data: a DataFrame with a column ``prediction`` (a number, an ML vector, nested
            arrays), a pandas DataFrame, arrays for arrays, XShards of ``{"prediction": ...}``.
        """
        cluster = session.current()
        adapted = self._adapt(data, feature_cols, None, transform)
        inputs = replace(adapted.columns, labels=())
        job = PredictJob(
            spec=self._spec.for_scoring(inputs, (*self._callbacks, *listed(callbacks))),
            columns=inputs,
            batch_size=rows_per_step(batch_size, adapted, 256),
            threads=threads_of(cluster),
            outputs=outputs,
        )
        return adapted.give_back(run.predict(job, adapted.shards, cluster, names_of(output_cols) or ()))

    def data_schema(
        self, data: Any = None, feature_cols: Names = None, label_cols: Names = None
    ) -> tuple[columns.ArraySpec, ...]:
        """What the columns become (dtype and shape of one row), without reading or training anything.

        Args:
            data: of any kind that `fit` takes; None for the data of the last call.
            feature_cols: columns of the model's inputs.
            label_cols: columns of the targets.
        """
        if data is not None:
            self._adapt(data, feature_cols, label_cols)
        return self._schema

    # --- the model ---------------------------------------------------------------------------------------------------

    def get_model(self) -> Any:
        """The model with the newest weights: the user's own object where one was given."""
        return self._spec.get_model()

    def get_state_dict(self) -> Mapping[str, Any]:
        """The model's weights and buffers by name."""
        return dict(self.get_model().state_dict())

    def save(self, model_path: str, entire: bool = False) -> str:
        """Writes the weights (a torch ``state_dict``), or the entire pickled module, to a path or fsspec URL."""
        return str(self._spec.save(model_path, entire=entire))

    def load(self, model_path: str) -> None:
        """Reads weights written by `save`; a module given to the estimator gets them."""
        self._spec.load(model_path)

    def save_checkpoint(self, model_path: str) -> str:
        """Writes a checkpoint (weights, optimizer, schedule, progress) under a directory; returns its path."""
        if self._state is None:
            raise UsageError("nothing to save yet: a checkpoint needs the optimizer's state. Call fit() first.")
        return checkpoint.save(model_path, self._state, self._progress, self._position)

    def load_checkpoint(self, model_path: str) -> None:
        """Goes back to a checkpoint: its own path, a run's directory or a model_dir (then the newest complete one).

        The next `fit` goes on from there. Where the checkpoint was written in the middle of an epoch, it must be given
        the same data and batch_size; what is left of that epoch counts as one of its `epochs`.

        Raises:
            CheckpointDamaged: the one that was named is damaged.
            UsageError: there is none.
        """
        found = checkpoint.load(latest_checkpoint(model_path))
        self._spec.absorb(found.state)
        self._state, self._progress, self._position = found.state, found.progress, dict(found.plan)
        self._seed, self._loaded = self._position.get("seed", self._seed), True

    def go_on_from(self, former: Estimator) -> None:
        """The next `fit` goes on where `former` stands: an estimator of the same model and optimizer."""
        self._state, self._progress, self._position = former._state, former._progress, former._position
        self._seed, self._loaded, self._failed = former._seed, former._loaded, former._failed

    def load_orca_checkpoint(self, path: str, version: int | None = None, prefix: str | None = None) -> None:
        """The older name of `load_checkpoint`.

        Args:
            path: a model_dir or a run's directory.
            version: the step of the checkpoint; None for the newest.
            prefix: accepted for older programs.
        """
        self.load_checkpoint(path if version is None else checkpoint_of_step(path, version))

    @property
    def progress(self) -> Progress:
        """How far the model has come: by its last `fit`, or that of the checkpoint that was loaded since."""
        return self._progress

    def latest_checkpoint(self, checkpoint_dir: str | None = None) -> str:
        """The path of the newest complete checkpoint of `checkpoint_dir` (default: the model_dir)."""
        return latest_checkpoint(checkpoint_dir or self._model_dir)

    def shutdown(self, force: bool = False) -> None:
        """Nothing stays behind between calls; kept for older programs."""

    # --- gradients ---------------------------------------------------------------------------------------------------

    def set_constant_gradient_clipping(self, min: float, max: float) -> None:
        """Clamps every element of the averaged gradients to [min, max]."""
        self._clip = ConstantClip(min, max)

    def set_l2_norm_gradient_clipping(self, clip_norm: float) -> None:
        """Scales the averaged gradients, all together, to an L2 norm of at most `clip_norm`."""
        self._clip = NormClip(clip_norm)

    def clear_gradient_clipping(self) -> None:
        """Leaves gradients as they are."""
        self._clip = None

    # --- summaries ---------------------------------------------------------------------------------------------------

    def set_tensorboard(self, log_dir: str, app_name: str) -> None:
        """Writes TensorBoard summaries to ``<log_dir>/<app_name>/train`` and ``/validation``."""
        self._summaries = (log_dir, app_name)

    def get_train_summary(self, tag: str = "Loss") -> list[list[float]] | None:
        """``[[step, value, unix seconds], ...]`` of "Loss", "Throughput" or "LearningRate".

        None where neither set_tensorboard nor model_dir was given.
        """
        place = self._summary_place()
        return read_scalars(*place, "train", tag) if place else None

    def get_validation_summary(self, tag: str = "Loss") -> list[list[float]] | None:
        """Likewise of the validation metrics, e.g. "Top1Accuracy", "AucScore", "MAE" or "Loss"."""
        place = self._summary_place()
        return read_scalars(*place, "validation", tag) if place else None

    def report(self) -> Report:
        """The last `fit` in numbers: speed, where the time went, memory, losses and recoveries; prints as text.

        Raises:
            UsageError: nothing has been trained yet.
        """
        if self._reporter.report is None:
            raise UsageError("nothing to report yet: call fit() first.")
        return self._reporter.report

    # --- inside ------------------------------------------------------------------------------------------------------

    def _adapt(self, data: Any, features: Names, labels: Names, transform: Any = None) -> Adapted:
        adapted = adapt(data, names_of(features), names_of(labels), self._spec.config)
        schema = adapted.shards.schema
        asked = with_transform(adapted.columns, schema, transform)
        if schema.names:
            self._schema = columns.describe(schema, (*asked.features, *asked.labels))
            changed = {*asked.images, *dict(asked.values)}
            self._spec.check_columns([replace(spec, known=spec.name not in changed) for spec in self._schema])
        return replace(adapted, columns=asked)

    def _going_on(self) -> Any:
        """The last state, with the weights that the program's own model has by now; None at the beginning.

        A model that a failed training left half-way, in this process, goes back to the last state.
        """
        return self._state if self._failed or self._state is None else self._spec.refreshed(self._state)

    def _take_over(self, job: FitJob, trained: Any) -> None:
        self._spec, self._progress, self._state = job.spec, trained.progress, trained.state
        self._position, self._loaded, self._failed = job.position(trained.progress), False, False

    def _measured(self, asked: Columns, metrics: Sequence[Any]) -> tuple[Any, ...]:
        """The model's own metrics and the estimator's."""
        return (*self._spec.metrics(asked), *metrics)

    def _world(self, cluster: Cluster) -> int:
        return cluster.nodes * self._workers_per_node

    def _saving(self, trigger: Any) -> dict[str, Any]:
        when = EveryEpoch() if self._model_dir and trigger is None else trigger
        return {"checkpoint": None if when is None else convert_trigger(when), "checkpoint_dir": self._run_directory()}

    def _run_directory(self) -> str:
        if self._model_dir:
            self._run_dir = checkpoint.new_run_directory(self._model_dir, datetime.now())
        return self._run_dir

    def _summary_place(self) -> tuple[str, str] | None:
        return self._summaries or ((self._model_dir, "summaries") if self._model_dir else None)

    @contextmanager
    def _listening(self, summaries: bool = True, reporting: bool = False) -> Iterator[Fan]:
        place = self._summary_place() if summaries else None
        self._reporter = Reporter() if reporting else self._reporter
        reporter = self._reporter if reporting else None
        with listening(place, self._run_dir, [metric.name for metric in self._metrics], reporter) as fan:
            yield fan
