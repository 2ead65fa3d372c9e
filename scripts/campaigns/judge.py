"""Whether a run that was hit is as good as one that was not: nothing lost, the same bits.

Compared are the state of the last checkpoint, metrics.jsonl, metrics.json, predictions.csv and the
pictures; not the commit and versions, which a run has from whoever went on with it.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ifgan_jax import build, checkpoint, sharding
from ifgan_jax.checkpoint import Checkpoints, DamagedCheckpointError, verify
from ifgan_jax.workdir import read_config, read_metrics

FREE = ("commit", "versions")


def whole_steps(workdir: Path) -> list[int]:
    """Steps whose save was completed."""
    return checkpoint.whole_steps(workdir / "checkpoints")


class Judge:
    """Knows how the run of one config ends when nobody disturbs it: `reference`, a workdir."""

    def __init__(self, reference: Path) -> None:
        self.reference = reference
        config = read_config(reference)
        mesh = sharding.make_mesh(jax.devices()[:1])
        compiled = build.compile_steps(config, build.build(config, 1), mesh)
        self._template = build.abstract_state(compiled, config)

    def last(self, workdir: Path) -> tuple[Any, dict[str, Any]]:
        """State and metadata of the newest whole checkpoint, on one device."""
        checkpoints = Checkpoints(workdir / "checkpoints")
        restored = checkpoints.restore_latest(self._template)
        checkpoints.close()
        return restored

    def losses(self, workdir: Path, seen: int) -> list[str]:
        """What a fault took from `workdir`; empty is right.

        seen: the newest step known to have been whole before; 0: none. The newest checkpoint, the
        one before and the best are promised to be whole, and the newest to be restored.
        """
        steps = whole_steps(workdir)
        if not steps:
            return [f"step {seen} was saved, none is left"] if seen else []
        try:
            _, progress = self.last(workdir)
        except DamagedCheckpointError as error:
            return [str(error)]
        lost = []
        if progress["step"] < max(seen, steps[-1]):
            lost.append(f"{max(seen, steps[-1])} was saved, {progress['step']} is restored")
        for step in {*steps[-2:], progress["best_step"]} - {0}:
            try:
                verify(checkpoint.folder_of(workdir / "checkpoints", step))
            except DamagedCheckpointError as error:
                lost.append(str(error))
        return lost

    def differences(self, workdir: Path) -> list[str]:
        """In what a finished run is not the reference; empty is right."""
        (state, progress), (expected, other) = self.last(workdir), self.last(self.reference)
        leaves, wanted = map(jax.tree_util.tree_leaves_with_path, (state, expected))
        found = [
            f"state{jax.tree_util.keystr(path)}"
            for (path, a), (_, b) in zip(leaves, wanted, strict=True)
            if np.asarray(a).tobytes() != np.asarray(b).tobytes()
        ]
        if _without(FREE, progress) != _without(FREE, other):
            found.append("metadata of the last checkpoint")
        if read_metrics(workdir) != read_metrics(self.reference):
            found.append("metrics.jsonl")
        if len(read_metrics(workdir)) != progress["step"]:
            found.append("metrics.jsonl: not one row a step")
        files = [path for path in self.reference.rglob("*") if path.suffix in (".csv", ".png")]
        for path in [*files, self.reference / "metrics.json"]:
            name = path.relative_to(self.reference)
            if not (workdir / name).exists() or _content(workdir / name) != _content(path):
                found.append(str(name))
        return found


def _without(keys: tuple[str, ...], content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _without(FREE, json.loads(path.read_text()))
    return path.read_bytes()
