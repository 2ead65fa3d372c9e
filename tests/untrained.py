"""Runs that no step has trained, without a folder or data set: quick to be asked."""

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ifgan_jax import build, sharding
from ifgan_jax.predict import Predictor
from tests import runs, tiny_config

EXPORT = """
import json, pathlib, sys
from ifgan_jax import export
from tests import untrained
make = {"stablehlo": export.stablehlo, "onnx": export.onnx}[sys.argv[1]]
model = make(untrained.predictor(json.loads(sys.argv[2])))
pathlib.Path(sys.argv[3]).write_bytes(model)
"""
IFGAN: dict[str, Any] = {}
NO_ATTENTION: dict[str, Any] = {"generator.attention": False}
BASELINE: dict[str, Any] = {"method": "baseline", "classifier.inputs": "source"}


def predictor(changes: dict[str, Any]) -> Predictor:
    """Of the tiny config with `changes`, on one device."""
    config = tiny_config.get_config()
    config.update_from_flattened_dict(changes)
    mesh = sharding.make_mesh(jax.devices()[:1])
    compiled = build.compile_steps(config, build.build(config, steps_per_epoch=1), mesh)
    state = jax.tree_util.tree_map_with_path(_stronger, compiled.create_state(jax.random.key(0)))
    return Predictor(Path("runs/tiny"), config, compiled, state)


def write_model(kind: str, changes: dict[str, Any], path: Path) -> None:
    """`predictor` exported, where no types are checked: any number of images is no int."""
    command = [sys.executable, "-c", EXPORT, kind, json.dumps(changes), str(path)]
    subprocess.run(command, env=runs.environment(), check=True)


def _stronger(path: Any, weights: jax.Array) -> jax.Array:
    """Statistics of BatchNorm as training leaves them, not 0 and 1. G's initial kernels shrink what
    they see to a tenth; its attention begins with γ = 0. E's weights are left as they are: its
    answers lie between 0.01 and 0.6.
    """
    name = jax.tree_util.keystr(path)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("['mean']"):
        return weights + rng.normal(0, 0.3, weights.shape).astype(weights.dtype)
    if name.endswith("['var']"):
        return weights * rng.uniform(0.3, 3, weights.shape).astype(weights.dtype)
    if not name.startswith(".generator"):
        return weights
    if name.endswith("['gamma']"):
        return weights + 0.5
    return weights * 11 if name.endswith("['kernel']") else weights
