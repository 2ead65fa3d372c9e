"""The epochs of a run: steps, metrics, validation, checkpoints; no mathematics of its own."""

import contextlib
import dataclasses
import logging
import math
import signal
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from ifgan_jax import build, hosts, sharding
from ifgan_jax.arrays import Batch, Metrics
from ifgan_jax.augment import prepare
from ifgan_jax.checkpoint import Checkpoints
from ifgan_jax.data.faces import Faces
from ifgan_jax.data.parts import Parts
from ifgan_jax.data.pipeline import train_epoch
from ifgan_jax.metric_log import MetricLog, SilentLog
from ifgan_jax.metrics import accuracy, confusion_matrix
from ifgan_jax.predict import predict_faces
from ifgan_jax.state import GanState
from ifgan_jax.workdir import versions

LOGGER = logging.getLogger(__name__)
ADVICE = (
    "the run stops here; a checkpoint before it, if there is one, holds finite numbers. Try lower "
    "learning rates, or dtype float32"
)


class Interruption:
    """Whether SIGTERM came while this was in force: `with Interruption() as interruption`."""

    def __enter__(self) -> "Interruption":
        self.requested = False
        self._before = signal.signal(signal.SIGTERM, self._request)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _request(self, number: int, frame: types.FrameType | None) -> None:
        self.requested = True


@dataclasses.dataclass
class Run:
    """What the loop works with; `progress` is the metadata of the next checkpoint."""

    config: ConfigDict
    compiled: build.Compiled
    checkpoints: Checkpoints
    parts: Parts
    steps_per_epoch: int
    progress: dict[str, Any]
    workdir: Path
    interruption: Interruption
    versions: dict[str, str] = dataclasses.field(default_factory=versions)  # as it started

    def epochs(self, state: GanState) -> GanState:
        """All epochs that are left; after SIGTERM to any process the next step is the last."""
        config, step = self.config, self.progress["step"]
        last_step = config.epochs * self.steps_per_epoch
        targets = sharding.from_all(
            sharding.replicated(self.compiled.mesh),
            np.asarray(prepare(self.parts.averages.images, config.data.crop)),
        )
        key = build.train_key(config)
        log = MetricLog(self.workdir, step) if hosts.is_first() else SilentLog()
        bar = tqdm(
            total=last_step, initial=step, unit="step", disable=None if hosts.is_first() else True
        )
        stop: jax.Array | np.bool_ = np.bool_(False)
        with bar, contextlib.closing(log):
            while step < last_step and not bool(stop):
                epoch, start = divmod(step, self.steps_per_epoch)
                pending: Metrics | None = None  # of the step before, still on the device
                for batch in batches(config, self.compiled.mesh, self.parts.train, epoch, start):
                    stop = hosts.any_process(self.interruption.requested)
                    state, metrics = self.compiled.train_step(state, batch, targets, key)
                    if pending is not None:
                        log_step(log, bar, step, epoch, pending, {})
                    step, pending = step + 1, metrics
                    if bool(stop):  # known since the step before: no wait for this one
                        break
                assert pending is not None
                ended = step == (epoch + 1) * self.steps_per_epoch
                reached = self._validate(state) if ended else None
                validation = {} if reached is None else {"validation/accuracy": reached}
                row = log_step(log, bar, step, epoch, pending, validation)
                best = reached is not None and reached >= self.progress["best_accuracy"]
                if best:  # of equals the later, better trained one
                    self.progress.update(best_accuracy=reached, best_step=step)
                if ended:
                    _tell_epoch(epoch, config.epochs, bar, row)
                due = (epoch + 1) % config.checkpoint_every_epochs == 0 or step == last_step
                if best or due:
                    self._save(state, step, log)
            if step != self.progress["step"]:
                self._save(state, step, log)
        self.checkpoints.wait()
        return state

    def _save(self, state: GanState, step: int, log: MetricLog) -> None:
        """Save a state that is finite throughout, after the metrics that led to it."""
        finite = np.asarray(self.compiled.finite(state))
        if not finite.all():
            path, _ = jax.tree.leaves_with_path(state)[finite.argmin()]
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise FloatingPointError(f"{name} is not finite after step {step}: {ADVICE}")
        log.sync()
        self.progress |= {"step": step, "versions": self.versions}
        best_step = self.progress["best_step"]
        self.checkpoints.save(state, self.progress, step=step, best_step=best_step)

    def _validate(self, state: GanState) -> float | None:
        """Accuracy on the validation part, the only figure that selects a checkpoint.

        None without such a part (RAF-DB, all of whose training part trains): the last is tested.
        """
        if not len(self.parts.validation):
            return None
        faces, size = self.parts.validation, self.config.data.num_classes
        batch_size = self.config.evaluation.batch_size
        confusion = np.zeros((size, size), np.int64)
        for rows, prediction in predict_faces(self.compiled, state, faces, batch_size):
            chosen = prediction.probabilities.argmax(-1)
            confusion += confusion_matrix(faces.labels[rows], chosen, size)
        return accuracy(confusion)


def batches(
    config: ConfigDict, mesh: Mesh, faces: Faces, epoch: int, start: int
) -> Iterator[Batch]:
    """The epoch's batches from `start` on, on the mesh; the next is moved ahead of time."""
    ready: Batch | None = None
    for host in train_epoch(
        faces,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=epoch,
        start_batch=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    ):
        coming = Batch(*(sharding.to_global(mesh, x) for x in (host.image, host.label)))
        if ready is not None:
            yield ready
        ready = coming
    if ready is not None:
        yield ready


def log_step(
    log: MetricLog,
    bar: tqdm,
    step: int,
    epoch: int,
    metrics: Metrics,
    validation: dict[str, float],
) -> dict[str, int | float]:
    """Write a step's metrics; stop the run if one of them is not finite."""
    values = {f"train/{name}": float(value) for name, value in jax.device_get(metrics).items()}
    # The losses first: they come before the gradients, which are all of what one of them spoils.
    wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        wrong.sort(key=lambda told: "/gradient" in told)
        raise FloatingPointError(f"{', '.join(wrong)} at step {step}: {ADVICE}")
    row = {"step": step, "epoch": epoch, **values, **validation}
    log.write(row)
    bar.set_postfix(_terms(row), refresh=False)
    bar.update(1)
    return row


def _terms(row: dict[str, int | float]) -> dict[str, str]:
    """The losses and accuracies of a row, for people."""
    hidden = ("gradient", "gamma", "norm")
    return {
        name.removeprefix("train/"): f"{value:.3g}"
        for name, value in row.items()
        if "/" in name and not any(word in name for word in hidden)
    }


def _tell_epoch(epoch: int, epochs: int, bar: tqdm, row: dict[str, int | float]) -> None:
    """A line an epoch where no bar is drawn: in files and pipes."""
    if bar.disable:
        terms = ", ".join(f"{name} {value}" for name, value in _terms(row).items())
        LOGGER.info("epoch %d of %d: %s", epoch + 1, epochs, terms)
