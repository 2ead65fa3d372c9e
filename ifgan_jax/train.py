"""A run from its config to its test: data, state or checkpoint, epochs, evaluation."""

import contextlib
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from ifgan_jax import build, hosts, sharding
from ifgan_jax.checkpoint import MANIFEST, Checkpoints, check_metadata, restore_tree
from ifgan_jax.data.audit import SHOWN
from ifgan_jax.data.faces import Load, load_prepared
from ifgan_jax.data.parts import Parts
from ifgan_jax.data.pipeline import num_batches, num_left_out
from ifgan_jax.data.protocol import class_names
from ifgan_jax.evaluate import check_data, evaluate_run, load_run_parts
from ifgan_jax.files import read_file
from ifgan_jax.loop import Interruption, Run
from ifgan_jax.models.pretrained import fit_stem
from ifgan_jax.predict import restore
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
        # the first process says it: others may see an older listing
        begun = bool(hosts.of_first(len(checkpoints.steps())))
        pretrained = None if begun else build.check_pretrained(config)
        with hosts.in_turn("data"):  # rendered or cut into folds where that was not yet done
            parts = load_run_parts(config, load)
        _check_processes_agree(config, parts, workdir, pretrained)
        steps_per_epoch = _steps_per_epoch(config, parts)
        compiled = build.compile_steps(config, make(config, steps_per_epoch), mesh)
        state, progress = _start(config, compiled, checkpoints, parts, pretrained, begun)
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
        return evaluate_run(workdir, config, compiled, restore(workdir, config, compiled), parts)


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


def _check_processes_agree(
    config: ConfigDict, parts: Parts, workdir: Path, pretrained: Path | None
) -> None:
    """An error in all processes unless code, config, weights and data are one, and the workdir."""
    remedy = "bring all hosts to one commit and the same versions"
    hosts.check_same("commit or versions", json.dumps(versions()), remedy)
    remedy = "start the same command in all processes"
    hosts.check_same("config", config.to_json_best_effort(), remedy)
    manifest = pretrained / MANIFEST if pretrained else None
    weights = read_file(manifest).decode() if manifest and manifest.exists() else ""
    hosts.check_same("weights", weights, f"copy {pretrained} of one host to the others")
    remedy = f"prepare {config.data.name} once, and copy data.data_dir to every host"
    hosts.check_same("data", parts.data_hash + parts.folds_hash, remedy)
    hosts.check_shared(workdir)


def _start(
    config: ConfigDict,
    compiled: build.Compiled,
    checkpoints: Checkpoints,
    parts: Parts,
    pretrained: Path | None,
    begun: bool,
) -> tuple[GanState, dict[str, Any]]:
    """The last whole checkpoint and its metadata, or, unless `begun`, a fresh state and step 0."""
    template = build.abstract_state(compiled, config)
    for folder in checkpoints.unfinished():
        LOGGER.warning("%s was cut short (it has no manifest); passed over", folder)
    if begun:
        state, progress = checkpoints.restore_latest(template)
        check_metadata(checkpoints.directory, progress)
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
