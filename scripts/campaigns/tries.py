"""Tries of a target, each by a seed and a number: in this process, or in one that may die.

A try must end with an answer or with a clear error: one of those that `command_line.run` turns into
a line, whose text names the file or the field. Anything else is a failure, and so are a hang, a
death of the process, memory without bound, a file written outside and code that was run.
"""

import collections
import ctypes
import dataclasses
import multiprocessing
import os
import re
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ifgan_jax.data.processes import hidden_main_module
from scripts.benchmarks.system import peak_memory, status_bytes
from scripts.campaigns import audit
from scripts.campaigns.mutations import Random
from scripts.command_line import TOLD

CLEAR = (*TOLD, SystemExit)
SECONDS = 30.0  # a try that takes longer hangs; other work on the machine slows it, too
MEMORY = 2**30  # bytes that tries may add to the process: `files.LARGEST`, the largest file read
BLOCK = 500  # tries between two reports of the worker

Attempt = Callable[[Random], object]


class Target(NamedTuple):
    """Something that reads what others wrote.

    prepare: an empty folder → one try, which writes bad input there and reads it. named: of these a
    clear error has one. tries: of the whole campaign.
    """

    prepare: Callable[[Path], Attempt]
    named: tuple[str, ...]
    tries: int


@dataclasses.dataclass
class Tally:
    """Of one target: tries, those that gave an answer, errors by kind, and what went wrong."""

    tries: int = 0
    accepted: int = 0
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    peak_mib: float = 0.0  # that tries added to the process

    def add(self, other: "Tally") -> None:
        self.tries += other.tries
        self.accepted += other.accepted
        self.errors += other.errors
        self.failures += other.failures
        self.seconds += other.seconds
        self.peak_mib = max(self.peak_mib, other.peak_mib)


class Trial:
    """A target that is ready, in a folder of its own, watched over by canaries."""

    def __init__(self, target: Target, seed: int, outside: Path) -> None:
        self._target, self._seed, self._outside = target, seed, outside
        inside = outside / "inside"
        inside.mkdir()
        self._inside = inside.resolve()  # once: there are a million tries
        self._attempt = target.prepare(inside)
        self._start = peak_memory()

    def run(self, numbers: Iterable[int]) -> Tally:
        """The tries of these numbers."""
        tally, started = Tally(), time.perf_counter()
        for i in numbers:
            self._one(i, tally)
            tally.tries += 1
        tally.seconds = time.perf_counter() - started
        tally.peak_mib = (peak_memory() - self._start) / 2**20
        return tally

    def _one(self, i: int, tally: Tally) -> None:
        before = peak_memory()
        try:
            with audit.watched(self._inside) as done:
                self._try(i)
            tally.accepted += 1
        except CLEAR as error:
            tally.errors[self._kind(error)] += 1
            if not any(name in str(error) for name in self._target.named):
                tally.failures.append(f"try {i}: unclear: {error!r}")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            tally.failures.append(f"try {i}: {error!r} at {where.name}:{where.lineno}"[:500])
        if (grown := peak_memory() - before) > MEMORY:
            tally.failures.append(f"try {i}: {grown / 2**20:.0f} MiB more")
        if done:
            tally.failures.append(f"try {i}: {'; '.join(done)}"[:500])
        if odd := {path.name for path in self._outside.iterdir()} - {"inside"}:
            tally.failures.append(f"try {i}: wrote or ran something: {', '.join(odd)}")
            shutil.rmtree(self._outside / odd.pop(), ignore_errors=True)

    def _try(self, i: int) -> None:
        """Once more without a limit where that made the error: what it takes then is seen."""
        try:
            self._attempt(np.random.default_rng([self._seed, i]))
        except CLEAR as error:
            if not _of_memory(error):
                raise
            limit = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (limit[1], limit[1]))
            try:
                self._attempt(np.random.default_rng([self._seed, i]))
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limit)

    def _kind(self, error: BaseException) -> str:
        """The error's class, its cause's, and the shape of our message: no names or numbers."""
        text = str(error).replace(str(self._outside), "")
        text = re.sub(r"\(.*|['\"].*['\"]|\[.*\]", "…", text, flags=re.DOTALL)
        text = re.sub(r"\d+", "N", re.sub(r"^.*?: ", "", text))
        cause = f" of {type(error.__cause__).__name__}" if error.__cause__ else ""
        return f"{type(error).__name__}{cause}: {text[:50].strip()}"


def _of_memory(error: BaseException | None) -> bool:
    """Whether it comes of a MemoryError."""
    while error and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


def run_watched(target: Target, seed: int, first: int, after: int) -> Tally:
    """The tries in a worker; one that hangs or kills it is a failure, and the next one goes on."""
    total, passed_over = Tally(), set[int]()
    while first < after:
        now = multiprocessing.get_context("spawn").Value(ctypes.c_int64, -1, lock=False)
        ours, theirs = multiprocessing.Pipe(duplex=False)
        arguments = (target, seed, first, after, frozenset(passed_over), now, theirs)
        with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
            worker = multiprocessing.get_context("spawn").Process(
                target=_work, args=(Path(folder), *arguments), daemon=True
            )
            with hidden_main_module():
                worker.start()
            theirs.close()
            first, reason = _watch(worker, ours, now, first, total)
        if first < after:
            at = int(now.value)
            total.failures.append(f"try {at}: {reason}")
            if at < 0:
                break  # it does not even begin
            passed_over.add(at)
    return total


def _watch(worker: Any, ours: Connection, now: Any, first: int, total: Tally) -> tuple[int, str]:
    """Add the worker's reports up; the first try that it did not report, and why it ended."""
    seen, since = -1, time.monotonic()
    while True:
        try:
            if ours.poll(1.0):
                first, tally = ours.recv()
                total.add(tally)
        except EOFError:
            worker.join()
            return first, f"the process died, exit code {worker.exitcode}"
        if now.value != seen or now.value < 0:
            seen, since = now.value, time.monotonic()
        elif time.monotonic() - since > SECONDS:
            worker.kill()
            worker.join()
            return first, f"hangs for {SECONDS:.0f} s"


def _work(
    folder: Path,
    target: Target,
    seed: int,
    first: int,
    after: int,
    passed_over: frozenset[int],
    now: Any,
    reports: Connection,
) -> None:
    """In the worker: blocks of tries, each reported when it is done."""
    os.chdir(folder)  # what content makes in "." is then seen
    trial = Trial(target, seed, folder)
    limit_memory()
    while first < after:
        end = min(first + BLOCK, after)
        tally = trial.run(_told(now, (i for i in range(first, end) if i not in passed_over)))
        now.value = first = end
        reports.send((end, tally))


def _told(now: Any, numbers: Iterable[int]) -> Iterator[int]:
    for now.value in numbers:
        yield now.value


def limit_memory() -> None:
    """From here on a MemoryError at 2 MEMORY more addresses than now: half of them may lie idle."""
    limit = status_bytes("VmSize") + 2 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
