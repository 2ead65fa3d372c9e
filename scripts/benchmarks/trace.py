"""How much of the time a device works, read from the profiler's trace."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

Interval = tuple[float, float]
RUN = "ifgan_jax_run"


def idle_share(run: Callable[[], object]) -> float:
    """The share of `run` in which no operation ran, from its first operation to its last one.

    On a CPU the operations of XLA's own threads count, and those of all devices together. What
    they do after its end, while the profiler is being stopped, does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder), jax.profiler.TraceAnnotation(RUN):
            run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    begun, over = _interval_of_run(planes)
    return idle([(a, min(b, over)) for a, b in _operations(planes) if begun <= a < over])


def idle(busy: list[Interval]) -> float:
    """The share that no interval covers, from the earliest start to the latest end."""
    busy = sorted(busy)
    covered, reached = 0.0, busy[0][0]
    for start, end in busy:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1 - covered / (reached - busy[0][0])


def _interval_of_run(planes: list[Any]) -> Interval:
    (event,) = (
        event for plane in planes for line in plane.lines for event in line.events
        if event.name == RUN
    )  # fmt: skip
    return event.start_ns, event.start_ns + event.duration_ns


def _operations(planes: list[Any]) -> Iterator[Interval]:
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    for plane in devices or planes:
        for line in plane.lines:
            if not devices and not line.name.startswith("tf_XLA"):
                continue
            for event in line.events:
                if event.duration_ns and not event.name.startswith("Threadpool"):
                    yield event.start_ns, event.start_ns + event.duration_ns
