"""A run's folder: whose config it belongs to, and its metrics, one line a step.

config.json     every key of the run      metrics.jsonl   one JSON object a step, in order
versions.json   what ran it last          tensorboard/    the same numbers
history.jsonl   every start: its epochs and versions
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

LOGGER = logging.getLogger(__name__)

FREE_KEYS = ("data.data_dir", "checkpoint_every_epochs")  # change no number: free on a resume
EXTENDABLE = "epochs"  # may grow on a resume; history.jsonl records it


def flatten(config: ConfigDict) -> dict[str, Any]:
    """{"optimizers.generator.beta1": 0.9, …} with plain JSON values."""

    def walk(prefix: str, node: Any) -> dict[str, Any]:
        if isinstance(node, dict):
            items = [walk(f"{prefix}.{key}", value) for key, value in node.items()]
            return {key: value for item in items for key, value in item.items()}
        return {prefix[1:]: node}

    return walk("", json.loads(config.to_json_best_effort()))


def config_hash(config: ConfigDict) -> str:
    """SHA-256 (first 12 hex digits) of the keys that decide a run's numbers."""
    keys = {k: v for k, v in flatten(config).items() if k not in (*FREE_KEYS, EXTENDABLE)}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:12]


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """See that `workdir` can be written and is nobody else's; leaves nothing behind.

    Raises ValueError naming the keys in which the config that owns the folder differs, and OSError
    naming the folder when it cannot be written. More epochs than before are allowed.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"workdir {workdir} cannot be written: {error}") from error
    if (workdir / "config.json").exists():
        _compare(workdir, read_config(workdir), config)


def claim(workdir: Path, config: ConfigDict) -> None:
    """Make `workdir` this config's, and note in history.jsonl who starts it with how many epochs.

    The caller has checked it with `check_workdir`.
    """
    started = {"epochs": config.epochs, "versions": versions()}
    with (workdir / "history.jsonl").open("a") as stream:
        stream.write(json.dumps(started) + "\n")
    write_json(workdir / "versions.json", started["versions"])
    write_json(workdir / "config.json", json.loads(config.to_json_best_effort()))


def read_config(workdir: Path) -> ConfigDict:
    """The locked config that owns `workdir`; raises FileNotFoundError when none does."""
    path = workdir / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{workdir} is no run's folder: it has no config.json")
    return ConfigDict(json.loads(path.read_text())).lock()


def _compare(workdir: Path, owner: ConfigDict, config: ConfigDict) -> None:
    before, now = flatten(owner), flatten(config)
    different = [
        f"{key}: {before.get(key, 'absent')} there, {now.get(key, 'absent')} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in (*FREE_KEYS, EXTENDABLE)
    ]
    if now[EXTENDABLE] < before[EXTENDABLE]:
        different.append(f"epochs: {before[EXTENDABLE]} there, fewer now ({now[EXTENDABLE]})")
    if different:
        raise ValueError(
            f"workdir {workdir} belongs to another config; choose another folder, or make these "
            "keys equal:\n  " + "\n  ".join(different)
        )
    if now[EXTENDABLE] > before[EXTENDABLE]:
        LOGGER.info("epochs extended from %d to %d", before[EXTENDABLE], now[EXTENDABLE])


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is whole at every moment."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True, default=str) + "\n")
    partial.replace(path)


def versions() -> dict[str, str]:
    """Python, libraries, device and commit that this process runs."""
    names = ["jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "dm-pix", "numpy"]
    names += ["tensorflow-datasets", "ifgan_jax"]
    return {
        "python": platform.python_version(),
        "device": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "commit": commit(),
        **{name: importlib.metadata.version(name) for name in names},
    }


def commit() -> str:
    """The source's git commit, with "+" where files were changed since; "unknown" outside git."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    if not git("ls-files", Path(__file__).name):
        return "unknown"  # installed below somebody else's repository
    head = git("rev-parse", "--short=12", "HEAD")
    return (head + ("+" if git("status", "--porcelain") else "")) if head else "unknown"


class MetricLog:
    """metrics.jsonl and TensorBoard; opened at `step`, it forgets what was logged after it.

    A resumed run thus logs every step once, in order, whenever the one before was cut off.
    """

    def __init__(self, workdir: Path, step: int) -> None:
        self._path = workdir / "metrics.jsonl"
        rows = [row for row in read_metrics(workdir) if row["step"] <= step]
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        partial.replace(self._path)
        self._file = self._path.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, row: dict[str, int | float]) -> None:
        """Append one step's row; it holds `step`, `epoch` and named terms."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in row.items():
            if "/" in name:
                self._board.add_scalar(name, value, row["step"])

    def sync(self) -> None:
        """Return when every row is on disk: before a checkpoint that follows them."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()


def read_metrics(workdir: Path) -> list[dict[str, int | float]]:
    """The rows of metrics.jsonl; a line that was cut off ends the list."""
    rows: list[dict[str, int | float]] = []
    path = workdir / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
