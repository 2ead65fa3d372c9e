"""A run's folder: whose config it belongs to, and its metrics, one line a step.

config.json     every key of the run      metrics.jsonl   one JSON object a step, in order
versions.json   what ran it last          tensorboard/    the same numbers
history.jsonl   every start: its epochs and versions
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import math
import operator
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from ifgan_jax.files import MALFORMED, check_writable, of_file, read_file, read_object

LOGGER = logging.getLogger(__name__)

# They change no number (but rounding): free on a resume.
FREE_KEYS = (
    "data.data_dir",
    "data.strict_audit",
    "checkpoint_every_epochs",
    "devices",
    "shard_parameters",
    "remat",
    "generator.attention_block",
    "evaluation.batch_size",
)
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
    """SHA-256 (first 12 hex digits) of the keys that decide a step's numbers: not of `epochs`."""
    keys = {k: v for k, v in flatten(config).items() if k not in (*FREE_KEYS, EXTENDABLE)}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:12]


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """See that `workdir` can be written and is nobody else's; leaves nothing behind.

    Raises ValueError naming the keys in which the config that owns the folder differs, or a name
    that is no UTF-8, and OSError naming the folder when it cannot be written. More epochs than
    before are allowed.
    """
    _check_name(workdir)
    try:
        check_writable(workdir)
    except OSError as error:
        raise _unwritable(workdir, error) from error
    if (workdir / "config.json").exists():
        _compare(workdir, read_config(workdir), config)


def _unwritable(folder: Path, error: OSError) -> OSError:
    return OSError(
        f"{folder} cannot be written ({error}): choose another folder, or see that files can be "
        "made in it"
    )


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Hold `workdir`, or a folder of answers, for this process; one that died holds nothing.

    By a file in it, as on a network disk the lock of a folder holds for one host alone.

    Raises BlockingIOError when another process holds it, OSError where there are no locks, and
    where .lock cannot be made or is a link.
    """
    path = workdir / ".lock"
    held = _locked(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the disk may be read-only by now
            path.unlink()
        os.close(held)


def _locked(path: Path) -> int:
    """The open file `path`, made if absent, locked."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise _unwritable(path.parent, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return file
        except BlockingIOError as error:
            os.close(file)
            raise BlockingIOError(
                f"{path.parent} is in use by another process: wait for it, or choose another folder"
            ) from error
        except OSError as error:
            os.close(file)
            raise OSError(
                f"{path.parent} cannot be locked ({error}), which keeps two processes apart: "
                "choose a folder on another file system"
            ) from error
        os.close(file)  # its holder has just removed it


def claim(workdir: Path, config: ConfigDict) -> None:
    """Make `workdir` this config's, and note in history.jsonl who starts it with how many epochs.

    The caller has checked it with `check_workdir`.
    """
    started = {"epochs": config.epochs, "versions": versions()}
    history = workdir / "history.jsonl"
    before = read_file(history) if history.exists() else b""
    write_bytes(history, before + json.dumps(started).encode() + b"\n")
    write_json(workdir / "versions.json", started["versions"])
    write_json(workdir / "config.json", json.loads(config.to_json_best_effort()))


def read_config(workdir: Path) -> ConfigDict:
    """The locked config that owns `workdir`.

    Raises FileNotFoundError when none does, ValueError for a damaged one, or a path that is no
    UTF-8.
    """
    _check_name(workdir)
    path = workdir / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{workdir} is no run's folder: it has no config.json")
    remedy = "mend it, or use a new workdir"
    content = read_object(path, remedy)
    with of_file(path, remedy):
        return ConfigDict(content).lock()


def _check_name(workdir: Path) -> None:
    """Neither orbax nor Matplotlib takes a path that is no text."""
    try:
        str(workdir.absolute()).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"workdir {workdir}: the path is not UTF-8: rename the folder") from error


def read_folds(workdir: Path) -> dict[str, Any]:
    """A run's folds.json: ids of people in train, validation and test, and facts beside them.

    Raises FileNotFoundError when there is none, ValueError naming the file when it is damaged.
    """
    path, remedy = workdir / "folds.json", "start the run's own command again, it writes the file"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {remedy}")
    folds = read_object(path, remedy)
    with of_file(path, remedy):
        for part in ("train", "validation", "test"):
            if not all(isinstance(who, str) for who in folds[part]):
                raise TypeError(f"{part} holds something else than ids")
    return folds


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
    write_text(path, json.dumps(content, indent=1, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file that is whole at every moment: as it was, then as it is now."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`; what could not be written whole is removed, and named by the error."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)  # what was there may be a link, to be written through
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def told(what: str | Path, then: str = "it goes on from the last checkpoint") -> Iterator[None]:
    """An OSError within says that `what` could not be written, and what to do.

    A full disk's own error names no file. then: what the same command will do.
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{what} could not be written ({error}). Make room, or see to the cause, and start the "
            f"same command again: {then}"
        ) from error


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
    """The source's git commit, "+" after it with changed or new files; "unknown" without git."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        except FileNotFoundError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    if not git("ls-files", Path(__file__).name):
        return "unknown"  # installed below somebody else's repository
    head = git("rev-parse", "--short=12", "HEAD")
    return (head + ("+" if git("status", "--porcelain") else "")) if head else "unknown"


def read_metrics(workdir: Path) -> list[dict[str, int | float]]:
    """The rows of metrics.jsonl, without a last line that was cut off.

    Raises ValueError naming the line when another one is damaged or is no row of numbers.
    """
    path = workdir / "metrics.jsonl"
    content = read_file(path) if path.exists() else b""
    lines = content.splitlines(keepends=True)
    rows: list[dict[str, int | float]] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_row(line))
        except MALFORMED as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise ValueError(
                f"{path}: line {number} is damaged ({error}): mend it, or use a new workdir"
            ) from error
    return rows


def _row(line: bytes) -> dict[str, int | float]:
    """One line's numbers, step and epoch among them."""
    row = json.loads(line)
    for key in ("step", "epoch"):
        operator.index(row[key])
    for value in row.values():
        if not math.isfinite(value):  # TypeError, OverflowError: nothing that a float holds
            raise ValueError(f"{value} is not finite")
    return row
