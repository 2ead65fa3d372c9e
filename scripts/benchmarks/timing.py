"""Timing that is fair on a shared machine: each side in a process of its own, taking turns.

A process a side keeps one's threads, memory and crashes from the other, tells its peak memory, and
can be ended when it takes too long. Whatever slows the machine down for a while meets all sides.
"""

import math
import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from scripts.benchmarks import system

WARM_UP = 2  # runs before the first turn; the first one may compile
MOST_STEPS = 200  # in one turn


class Timed(NamedTuple):
    """What a side's process builds. All facts go into the JSON as they are.

    begin: called when a turn's uncounted step is done.
    finish: called after the last turn with the seconds of one, for more facts, such as
    `peak_memory_bytes` (of the turns alone where the system can tell).
    """

    run: Callable[[], object]  # one step, over when it returns
    facts: dict[str, Any]
    finish: Callable[[float], dict[str, Any]]
    begin: Callable[[], object] = lambda: None


class Side(NamedTuple):
    """`build` is a module's function (a spawned process imports it), which returns Timed.

    beside: the name of the side that this one is compared with, its own for that side itself.
    """

    build: Callable[..., Timed]
    arguments: tuple[Any, ...]
    beside: str


class Measured(NamedTuple):
    """One side's times in seconds, in the order they were taken; `failed` tells why there are none.

    first_run: seconds, with what that compiled. others: the share of the machine's processors that
    other processes had meanwhile; NaN where the system does not tell.
    """

    times: list[float]
    first_run: float
    others: float
    facts: dict[str, Any]
    failed: str


class Failed(Exception):
    """Why a side has no times."""


def alternate(
    sides: Mapping[str, Side], *, rounds: int, seconds: float, limit: float
) -> dict[str, Measured]:
    """Build all sides one after another, then let them take turns, in reverse every other round.

    A turn is as many steps for each side as `seconds` hold of the fastest one's, at least one, and
    one before these that is not counted: it finds memory and caches as the others left them. A side
    that raises, dies or needs more than `limit` seconds to get ready or for a turn has failed; the
    others go on.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is for all sides
    found: dict[str, Measured] = {}
    workers: dict[str, _Worker] = {}
    try:
        for name, side in sides.items():
            workers[name] = _Worker(side, limit, seconds)
            _try(workers[name].get_ready, found, name)
        ready = [worker.step_seconds for name, worker in workers.items() if name not in found]
        steps = min(MOST_STEPS, max(1, math.ceil(seconds / min(ready, default=math.inf))))
        for round_ in range(rounds):
            left = [name for name in sides if name not in found]
            for name in reversed(left) if round_ % 2 else left:
                _try(partial(workers[name].turn, steps), found, name)
        for name in sides:
            if name not in found:
                _try(workers[name].finish, found, name)
    finally:
        for worker in workers.values():
            worker.stop()
    return {name: found.get(name) or workers[name].measured() for name in sides}


def spread(times: list[float]) -> dict[str, float]:
    """Median, quartiles and smallest of times in seconds, and how many there are."""
    low, median, high = np.percentile(times, [25, 50, 75])
    return {
        "median_s": float(median),
        "quartile_1_s": float(low),
        "quartile_3_s": float(high),
        "smallest_s": min(times),
        "steps": len(times),
    }


def _try(action: Callable[[], None], found: dict[str, Measured], name: str) -> None:
    try:
        action()
    except Failed as error:
        found[name] = Measured([], math.nan, math.nan, {}, str(error))


class _Worker:
    """The parent's end of one side's process."""

    def __init__(self, side: Side, limit: float, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")  # XLA's and OpenMP's threads do not fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, side, seconds))
        self._process.start()
        theirs.close()
        self._limit = limit
        self._times: list[float] = []
        self._others: list[float] = []  # of each turn

    def get_ready(self) -> None:
        self._facts, self._warm = self._receive()

    @property
    def step_seconds(self) -> float:
        """Of the last step of the warm-up."""
        return self._warm[-1]

    def turn(self, steps: int) -> None:
        times, others = self._ask(steps)
        self._times += times
        self._others.append(others)

    def finish(self) -> None:
        self._facts |= self._ask(0)
        self._process.join(10)

    def measured(self) -> Measured:
        return Measured(self._times, self._warm[0], max(self._others), self._facts, failed="")

    def stop(self) -> None:
        self._process.kill()
        self._process.join()

    def _ask(self, steps: int) -> Any:
        self._pipe.send(steps)
        return self._receive()

    def _receive(self) -> Any:
        if not self._pipe.poll(self._limit):
            self.stop()
            raise Failed(f"not done after {self._limit:g} s")
        try:
            failed, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise Failed(f"its process ended with status {self._process.exitcode}") from None
        if failed:
            self.stop()
            raise Failed(answer)
        return answer


def _serve(pipe: multiprocessing.connection.Connection, side: Side, seconds: float) -> None:
    """A side's process: build, warm up, then a number of steps on demand; 0 ends it."""
    try:
        timed = side.build(*side.arguments)
        pipe.send((False, (timed.facts, _times(timed.run, WARM_UP))))
        system.forget_peak()
        while steps := pipe.recv():
            timed.run()
            timed.begin()
            others = system.OthersWork()
            times = _times(timed.run, steps)
            pipe.send((False, (times, others.share())))
        pipe.send((False, timed.finish(seconds)))
    except Exception as error:  # of a library, of any kind: it is told, and the others go on
        first_line = (str(error).splitlines() or [""])[0]
        pipe.send((True, f"{type(error).__name__}: {first_line}"))


def _times(run: Callable[[], object], steps: int) -> list[float]:
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times
