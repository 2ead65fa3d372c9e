"""The training loop: data, state, steps, validation, checkpoints; no mathematics of its own."""

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
from ifgan_jax.checkpoint import Checkpoints, restore_tree
from ifgan_jax.data.audit import SHOWN
from ifgan_jax.data.faces import Faces, Load, load_prepared
from ifgan_jax.data.parts import Parts
from ifgan_jax.data.pipeline import num_batches, num_left_out, train_epoch
from ifgan_jax.data.protocol import class_names
from ifgan_jax.evaluate import check_data, evaluate_run, load_run_parts
from ifgan_jax.metric_log import MetricLog, SilentLog
from ifgan_jax.metrics import accuracy, confusion_matrix
from ifgan_jax.models.pretrained import fit_stem
from ifgan_jax.predict import predict_faces
from ifgan_jax.state import GanState
from ifgan_jax.workdir import (
    check_workdir,
    claim,
    config_hash,
    lock,
    told,
    versions,
    write_json,
)

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


def train(
    config: ConfigDict,
    workdir: Path,
    *,
    make: build.Make = build.build,
    load: Load = load_prepared,
) -> dict[str, Any] | None:
    """Train `config` in `workdir`, going on from its last whole checkpoint, then test once.

    make: the experiment of a config and the steps of an epoch; load: a data set of a folder and a
    name; others than the package's own are in docs/extending.md, and are given again to go on.

    Returns the test metrics (also in metrics.json), or None when SIGTERM ended the run early: the
    same command goes on from there. The devices of all processes share each batch; all processes
    call this, and the first one writes.

    Raises ValueError, OSError or FileNotFoundError, naming the key or file, before any long work
    and before the folder is taken; FloatingPointError naming term and step when a loss, a gradient
    norm or the state is not finite.
    """
    mesh = sharding.make_mesh(jax.devices(), config.devices)
    build.check_config(config, mesh.size)
    check_workdir(workdir, config)
    with lock(workdir) if hosts.is_first() else contextlib.nullcontext():
        checkpoints = Checkpoints(workdir / "checkpoints")
        pretrained = None if checkpoints.steps() else build.check_pretrained(config)
        with hosts.in_turn("data"):  # rendered or cut into folds where that was not yet done
            parts = load_run_parts(config, load)
        _check_processes_agree(config, parts, workdir)
        steps_per_epoch = _steps_per_epoch(config, parts)
        compiled = build.compile_steps(config, make(config, steps_per_epoch), mesh)
        state, progress = _start(config, compiled, checkpoints, parts, pretrained)
        if hosts.is_first():
            with told(f"a file of {workdir}"):
                claim(workdir, config)
                _write_data_card(workdir, parts)
        with Interruption() as interruption, contextlib.closing(checkpoints):
            run = Run(
                config,
                compiled,
                checkpoints,
                parts,
                steps_per_epoch,
                progress,
                workdir,
                interruption,
            )
            run.epochs(state)
            stopped = bool(hosts.any_process(interruption.requested))
        if stopped:
            LOGGER.info("SIGTERM: saved at step %d; the same command goes on", progress["step"])
            return None
        return evaluate_run(workdir, config, compiled, parts)


def _steps_per_epoch(config: ConfigDict, parts: Parts) -> int:
    """Full batches an epoch; says what is odd and left out, refuses an epoch without any."""
    for remark in parts.remarks[:SHOWN]:
        LOGGER.warning("audit: %s", remark)
    if len(parts.remarks) > SHOWN:
        LOGGER.warning("audit: … and %d more, in folds.json", len(parts.remarks) - SHOWN)
    steps = num_batches(len(parts.train), config.batch_size, keep_tail=False)
    if not steps:
        raise ValueError(
            f"batch_size {config.batch_size} is larger than the training part ({len(parts.train)})"
        )
    LOGGER.info(
        "%d training images of %d subjects; each epoch leaves out %d of them (batches of %d)",
        len(parts.train),
        len(set(parts.train.subjects)),
        num_left_out(len(parts.train), config.batch_size),
        config.batch_size,
    )
    return steps


def _check_processes_agree(config: ConfigDict, parts: Parts, workdir: Path) -> None:
    """An error in all processes unless they have one config, the same data and one workdir."""
    remedy = "start the same command in all processes"
    hosts.check_same("config", config.to_json_best_effort(), remedy)
    remedy = f"prepare {config.data.name} once, and copy data.data_dir to every host"
    hosts.check_same("data", parts.data_hash + parts.folds_hash, remedy)
    hosts.check_shared(workdir)


def _start(
    config: ConfigDict,
    compiled: build.Compiled,
    checkpoints: Checkpoints,
    parts: Parts,
    pretrained: Path | None,
) -> tuple[GanState, dict[str, Any]]:
    """The last whole checkpoint and its metadata, or a fresh state and position 0."""
    template = build.abstract_state(compiled, config)
    for folder in checkpoints.unfinished():
        LOGGER.warning("%s was cut short (it has no manifest); passed over", folder)
    if hosts.of_first(len(checkpoints.steps())):
        state, progress = checkpoints.restore_latest(template)
        check_data(config, parts, progress)
        LOGGER.info("resuming at step %d", progress["step"])
        return state, progress
    state = compiled.create_state(build.state_key(config))
    if pretrained is not None:
        state = _with_pretrained(state, pretrained, config)
    return state, {
        "step": 0,
        "best_step": 0,
        "best_accuracy": -1.0,
        "class_names": class_names(config.data.num_classes),
        "config_hash": config_hash(config),
        "data_hash": parts.data_hash,
        "folds_hash": parts.folds_hash,
    }


def _with_pretrained(state: GanState, path: Path, config: ConfigDict) -> GanState:
    """E's weights and statistics from `path`, all but the head, whose classes are ours.

    The folder's stem is for RGB in [-1, 1]; it is fitted to the faces that E reads.
    """
    ours = state.classifier
    head, kernel = ours.params["head"], ours.params["stem"]["kernel"]
    shape = (*kernel.shape[:2], 3, kernel.shape[3])
    rgb = jax.ShapeDtypeStruct(shape, kernel.dtype, sharding=kernel.sharding)
    below = {name: value for name, value in ours.params.items() if name != "head"}
    template = {"params": below | {"stem": {"kernel": rgb}}, "batch_stats": ours.batch_stats}
    loaded = restore_tree(path, template)
    channels = config.data.channels
    fit = jax.jit(fit_stem, static_argnums=(1, 2), out_shardings=kernel.sharding)
    stem = fit(loaded["params"]["stem"]["kernel"], kernel.shape[2] // channels, channels)
    params = loaded["params"] | {"stem": {"kernel": stem}, "head": head}
    loaded = {"params": params, "batch_stats": loaded["batch_stats"]}
    return dataclasses.replace(state, classifier=dataclasses.replace(ours, **loaded))


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
        if not bool(self.compiled.all_finite(state)):
            raise FloatingPointError(f"the state after step {step} is not finite: {ADVICE}")
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


def _write_data_card(workdir: Path, parts: Parts) -> None:
    """The subjects of each part, the classes and the averages, beside the run that used them."""
    subjects = {
        name: sorted(set(getattr(parts, name).subjects.tolist()))
        for name in ("train", "validation", "test")
    }
    names = class_names(len(parts.averages.images))
    facts = {
        "class_names": names,
        "averages_hash": parts.averages.hash,
        "folds_hash": parts.folds_hash,
        "audit": parts.remarks,
    }
    write_json(workdir / "folds.json", subjects | facts)
    parts.averages.save(workdir / "averages.npz")
