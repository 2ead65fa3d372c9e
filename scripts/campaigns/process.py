"""Runs as processes of their own: started, watched, sent a signal, and what they say."""

import dataclasses
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.campaigns.judge import whole_steps

ROOT = Path(__file__).parent.parent.parent
LIMIT = 240.0  # seconds that a campaign's small run may take before it counts as hung
HUNG = 124  # an exit status, as that of `timeout`
POLL = 0.001  # seconds between two looks at a workdir
Condition = Callable[[], bool]

# Errors that say what is wrong and what to do, as they are counted; any other is "unclear".
KINDS = {
    r"is in use by another process": "workdir in use by another process",
    r" cannot be written .*choose another folder": "workdir cannot be written",
    r"checkpoint .* could not be written": "checkpoint could not be written",
    r"could not be written .*start the same command again": "a file could not be written",
    r"has no whole checkpoint": "no whole checkpoint",
    r"delete the folder, it will be rendered again": "data set damaged, to be rendered again",
    r"restore the fold file, or remove it|remove it to have it made anew": "fold file damaged",
    r"not th(e one|ose) this run began with": "another data set than before",
}


class Ended(NamedTuple):
    """A process that is no more: its exit status, negative after a signal, and all its output."""

    status: int
    output: str

    def error(self) -> str:
        """The kind of the one-line error that it ended with; "unclear: …" for anything else."""
        lines = self.output.strip().splitlines() or [f"exit status {self.status}, no word"]
        told = " ".join(self.output.rpartition("error: ")[1:])
        if self.status == 1 and "Traceback" not in self.output:
            for pattern, kind in KINDS.items():
                if re.search(pattern, told, re.DOTALL):
                    return kind
        return f"unclear: {lines[-1][:200]}"


class Process:
    """Python under way on a script and its flags, or on -m and a module; its streams together.

    limit: seconds that each wait takes at most.
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], limit: float
    ) -> None:
        self._limit = limit
        self._output = tempfile.NamedTemporaryFile()  # noqa: SIM115  (a pipe would fill)
        self._process = self._begin(arguments, environment)

    def _begin(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=dict(environment),
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def said(self) -> str:
        """All its output so far. The place in the file is the process's, too: it is not moved."""
        file = self._output.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def wait_for(self, condition: Condition) -> bool:
        """Whether `condition` came to hold before the process ended."""
        deadline = time.monotonic() + self._limit
        while self._process.poll() is None and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(POLL)
        return False

    def send(self, number: int) -> None:
        """A signal; none to a process that has ended."""
        self._process.send_signal(number)

    def end(self) -> Ended:
        """Wait for its end; one that hangs is killed, and HUNG, which is never taken for well."""
        try:
            status = self._process.wait(self._limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            status = HUNG
        ended = Ended(status, self.said())
        self._output.close()
        return ended


@dataclasses.dataclass(frozen=True)
class Site:
    """How runs of one config are started: the same way each time, so that they end alike."""

    flags: tuple[str, ...]  # of scripts/train.py, but for --workdir
    environment: Mapping[str, str]
    begin: type[Process] = Process

    def start(self, workdir: Path, script: str = "train", **changes: str) -> Process:
        """changes: of the environment."""
        flags = self.flags if script == "train" else ()
        environment = {**self.environment, **changes}
        return self.begin(
            [f"scripts/{script}.py", *flags, f"--workdir={workdir}"], environment, LIMIT
        )

    def finish(self, workdir: Path, script: str = "train", **changes: str) -> Ended:
        return self.start(workdir, script, **changes).end()


def rows(workdir: Path) -> int:
    """Steps in metrics.jsonl so far."""
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _any_time(workdir: Path, life: float, epoch: int, rng: random.Random) -> Condition:
    return _after(lambda: True, rng.uniform(0, life))


def _claimed(workdir: Path, life: float, epoch: int, rng: random.Random) -> Condition:
    return _after(_changed(workdir / "history.jsonl"), rng.uniform(0, 0.1))


def _step(workdir: Path, life: float, epoch: int, rng: random.Random) -> Condition:
    begun, wanted = _changed(workdir / "metrics.jsonl", "st_ino"), rng.randint(1, 2 * epoch)
    saved = max(whole_steps(workdir), default=0)
    return lambda: begun() and rows(workdir) >= saved + wanted


def _epoch_change(workdir: Path, life: float, epoch: int, rng: random.Random) -> Condition:
    begun, saved = (
        _changed(workdir / "metrics.jsonl", "st_ino"),
        max(whole_steps(workdir), default=0),
    )
    wanted = saved // epoch * epoch + epoch
    return _after(lambda: begun() and rows(workdir) >= wanted - 1, rng.uniform(0, 0.3))


def _saving(workdir: Path, life: float, epoch: int, rng: random.Random) -> Condition:
    before = _folders(workdir).items()  # an earlier kill may have left such a folder

    def writing() -> bool:
        new = _folders(workdir).items() - before
        return any("orbax-checkpoint-tmp" in name for name, _ in new)

    return _after(writing, rng.uniform(0, 0.05))


def _renamed(workdir: Path, life: float, epoch: int, rng: random.Random) -> Condition:
    before = _folders(workdir).items()
    return lambda: any(name.isdecimal() for name, _ in _folders(workdir).items() - before)


def _saved(workdir: Path, life: float, epoch: int, rng: random.Random) -> Condition:
    before = max(whole_steps(workdir), default=0)
    return _after(lambda: max(whole_steps(workdir), default=0) > before, rng.choice((0.0, 0.002)))


def _results(workdir: Path, life: float, epoch: int, rng: random.Random) -> Condition:
    return _after(_changed(workdir / "predictions.csv"), rng.uniform(0, 0.1 * life))


def _folders(workdir: Path) -> dict[str, int]:
    """Names in checkpoints/ with what tells a folder from a later one of its name."""
    try:
        return {entry.name: entry.inode() for entry in os.scandir(workdir / "checkpoints")}
    except OSError:  # not there yet
        return {}


def _changed(path: Path, field: str = "st_mtime_ns") -> Condition:
    """Whether a file is another one than now."""

    def look() -> int | None:
        return getattr(path.stat(), field) if path.exists() else None

    before = look()
    return lambda: look() != before


def _after(condition: Condition, seconds: float) -> Condition:
    """So many seconds after `condition` came to hold."""
    due: list[float] = []

    def holds() -> bool:
        if not due and condition():
            due.append(time.monotonic() + seconds)
        return bool(due) and time.monotonic() >= due[0]

    return holds


# What comes to hold at a moment of a run about to start: of its workdir, the seconds that a whole
# run takes, and the steps of an epoch.
MOMENTS: dict[str, Callable[[Path, float, int, random.Random], Condition]] = {
    "any time of its life": _any_time,
    "as it takes the workdir": _claimed,
    "after a step": _step,
    "epoch change": _epoch_change,
    "checkpoint being written": _saving,
    "checkpoint renamed, manifest to come": _renamed,
    "manifest written, old ones to go": _saved,
    "results being written": _results,
}
