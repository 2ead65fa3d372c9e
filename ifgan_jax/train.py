"""The training loop: data, state, steps, validation, checkpoints; no mathematics of its own."""

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
from ml_collections import ConfigDict
from tqdm import tqdm

from ifgan_jax import build, sharding
from ifgan_jax.arrays import Batch
from ifgan_jax.augment import prepare
from ifgan_jax.checkpoint import Checkpoints, restore_tree
from ifgan_jax.data.parts import Parts
from ifgan_jax.data.pipeline import num_batches, num_left_out, train_epoch
from ifgan_jax.data.protocol import Expression
from ifgan_jax.evaluate import evaluate_run, load_run_parts, predict_faces
from ifgan_jax.metrics import accuracy, confusion_matrix
from ifgan_jax.state import GanState
from ifgan_jax.workdir import MetricLog, claim, config_hash, versions, write_json

LOGGER = logging.getLogger(__name__)


class Interruption:
    """Whether SIGTERM has come; the loop looks between steps and saves before it leaves."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)

    def _request(self, number: int, frame: types.FrameType | None) -> None:
        self.requested = True


def train(config: ConfigDict, workdir: Path) -> dict[str, Any] | None:
    """Train `config` in `workdir`, going on from its last whole checkpoint, then test once.

    Returns the test metrics (also in metrics.json), or None when SIGTERM ended the run early: the
    same command goes on from there.

    Raises ValueError, OSError or FileNotFoundError, naming the key or file, before any long work;
    FloatingPointError naming term and step when a loss or gradient norm is NaN or infinite.
    """
    mesh = sharding.make_mesh(jax.devices())
    build.check_sizes(config, mesh.size)
    build.build_networks(config)
    pretrained = build.check_pretrained(config)
    claim(workdir, config)
    write_json(workdir / "versions.json", versions())

    parts = load_run_parts(config)
    steps_per_epoch = num_batches(len(parts.train), config.batch_size, keep_tail=False)
    if not steps_per_epoch:
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
    _write_data_card(workdir, parts)
    compiled = build.compile_steps(config, build.build(config, steps_per_epoch), mesh)
    checkpoints = Checkpoints(workdir / "checkpoints")
    state, progress = _start(config, compiled, checkpoints, parts, pretrained)
    interruption = Interruption()
    try:
        state = _run_epochs(
            config, compiled, checkpoints, parts, state, progress, workdir, interruption
        )
    finally:
        checkpoints.close()
    if interruption.requested:
        LOGGER.info("SIGTERM: saved at step %d; the same command goes on from here", state.step)
        return None
    return evaluate_run(workdir, config, compiled, parts)


def _start(
    config: ConfigDict,
    compiled: build.Compiled,
    checkpoints: Checkpoints,
    parts: Parts,
    pretrained: Path | None,
) -> tuple[GanState, dict[str, Any]]:
    """The last whole checkpoint and its metadata, or a fresh state and position 0."""
    template = build.abstract_state(compiled, config)
    if (restored := checkpoints.restore_latest(template)) is not None:
        state, progress = restored
        if progress["data_hash"] != parts.data_hash:
            raise ValueError(
                f"the data set {config.data.name} is not the one this run began with (SHA-256 "
                f"{parts.data_hash[:12]}, then {progress['data_hash'][:12]}): use a new workdir"
            )
        LOGGER.info("resuming at step %d", progress["step"])
        return state, progress
    state = compiled.create_state(build.state_key(config))
    if pretrained is not None:
        state = _with_pretrained(state, pretrained)
    progress = {
        "step": 0,
        "best_step": 0,
        "best_accuracy": -1.0,
        "class_names": [Expression(k).label for k in range(config.data.num_classes)],
        "config_hash": config_hash(config),
        "data_hash": parts.data_hash,
        "averages_hash": parts.averages.hash,
    }
    return state, progress


def _with_pretrained(state: GanState, path: Path) -> GanState:
    """E's weights and statistics from `path`, all but the head, whose classes are ours."""
    ours = {"params": state.classifier.params, "batch_stats": state.classifier.batch_stats}
    head = ours["params"]["head"]
    template = {**ours, "params": {k: v for k, v in ours["params"].items() if k != "head"}}
    loaded = restore_tree(path, template)
    params = {**loaded["params"], "head": head}
    classifier = dataclasses.replace(
        state.classifier, params=params, batch_stats=loaded["batch_stats"]
    )
    return dataclasses.replace(state, classifier=classifier)


def _run_epochs(
    config: ConfigDict,
    compiled: build.Compiled,
    checkpoints: Checkpoints,
    parts: Parts,
    state: GanState,
    progress: dict[str, Any],
    workdir: Path,
    interruption: Interruption,
) -> GanState:
    """All epochs that are left; a checkpoint is saved only after its metrics proved finite."""
    steps_per_epoch = num_batches(len(parts.train), config.batch_size, keep_tail=False)
    targets = jax.device_put(
        prepare(parts.averages.images, config.data.crop), sharding.replicated(compiled.mesh)
    )
    step, last_step = progress["step"], config.epochs * steps_per_epoch
    log = MetricLog(workdir, step)
    bar = tqdm(total=last_step, initial=step, unit="step", dynamic_ncols=True, disable=None)

    def save(best: dict[str, Any]) -> None:
        progress.update(best, step=step)
        log.sync()
        checkpoints.save(state, progress, step=step, best_step=progress["best_step"])

    while step < last_step and not interruption.requested:
        epoch, start = divmod(step, steps_per_epoch)
        pending: dict[str, Any] | None = None  # metrics of the step before, still on the device
        for batch in _global_batches(config, parts, compiled, epoch, start):
            state, metrics = compiled.train_step(state, batch, targets, build.train_key(config))
            if pending is not None:
                _log_step(log, bar, step, epoch, pending)
            step, pending = step + 1, metrics
            if interruption.requested:
                break
        assert pending is not None
        best: dict[str, Any] = {}
        validation: dict[str, float] = {}
        if step == (epoch + 1) * steps_per_epoch:
            score = _validate(config, compiled, state, parts)
            validation = {"validation/accuracy": score}
            if score >= progress["best_accuracy"]:  # of equals the later, better trained one
                best = {"best_accuracy": score, "best_step": step}
        _log_step(log, bar, step, epoch, pending, validation)
        due = (epoch + 1) % config.checkpoint_every_epochs == 0 or step == last_step
        if interruption.requested or due or best:
            save(best)
    checkpoints.wait()
    bar.close()
    log.close()
    return state


def _global_batches(
    config: ConfigDict, parts: Parts, compiled: build.Compiled, epoch: int, start: int
) -> Iterator[Batch]:
    """The epoch's batches from `start` on, on the mesh; the next one is moved ahead of time."""
    ready: Batch | None = None
    for host in train_epoch(
        parts.train,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=epoch,
        start_batch=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    ):
        coming = Batch(*(sharding.to_global(compiled.mesh, x) for x in (host.image, host.label)))
        if ready is not None:
            yield ready
        ready = coming
    if ready is not None:
        yield ready


def _log_step(
    log: MetricLog,
    bar: tqdm,
    step: int,
    epoch: int,
    metrics: dict[str, Any],
    validation: dict[str, float] | None = None,
) -> None:
    """Write a step's metrics; stop the run if one of them is not finite."""
    values = {f"train/{name}": float(value) for name, value in jax.device_get(metrics).items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name} is {value} at step {step}: the run stops here; its last checkpoint holds "
                "finite numbers. Try lower learning rates, or dtype float32."
            )
    log.write({"step": step, "epoch": epoch, **values, **(validation or {})})
    bar.set_postfix(
        {
            name.rpartition("/")[2]: f"{values[f'train/{name}']:.3f}"
            for name in ("generator/l1", "classifier/accuracy", "classifier/island")
            if f"train/{name}" in values
        },
        refresh=False,
    )
    bar.update(1)


def _validate(config: ConfigDict, compiled: build.Compiled, state: GanState, parts: Parts) -> float:
    """Accuracy on the validation part, the only figure that selects a checkpoint."""
    faces = parts.validation
    confusion = np.zeros((config.data.num_classes, config.data.num_classes), np.int64)
    for rows, prediction in predict_faces(compiled, state, faces, config.evaluation.batch_size):
        predicted = prediction.probabilities.argmax(-1)
        confusion += confusion_matrix(faces.labels[rows], predicted, config.data.num_classes)
    return accuracy(confusion)


def _write_data_card(workdir: Path, parts: Parts) -> None:
    """The subjects of each part and the averages, beside the run that used them."""
    folds = {
        name: sorted(set(getattr(parts, name).subjects.tolist()))
        for name in ("train", "validation", "test")
    }
    write_json(workdir / "folds.json", folds | {"averages_hash": parts.averages.hash})
    parts.averages.save(workdir / "averages.npz")
