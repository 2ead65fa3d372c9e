"""What a device does and when, read from the profiler's trace."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

Interval = tuple[float, float]
RUN = "ifgan_jax_run"
# A TPU's operations, a GPU's streams, XLA's threads on a CPU; other lines tell of the same time.
LINES = ("XLA Ops", "Stream", "tf_XLA")


class Operation(NamedTuple):
    """One operation of a program, by the compiler's name where the trace has it; nanoseconds."""

    name: str
    start: float
    end: float


def idle_share(run: Callable[[], object]) -> float:
    """The share of `run` in which no operation ran, from its first operation to its last one.

    On a CPU the operations of XLA's own threads count, and those of all devices together.
    """
    return idle([(start, end) for _, start, end in operations(run)])


def operations(run: Callable[[], object]) -> list[Operation]:
    """Those of `run`; what happens after its end, while the profiler is being stopped, is not."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder), jax.profiler.TraceAnnotation(RUN):
            run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    begun, over = _interval_of_run(planes)
    return [
        found._replace(end=min(found.end, over))
        for found in _operations(planes)
        if begun <= found.start < over
    ]


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


def _operations(planes: list[Any]) -> Iterator[Operation]:
    devices = [plane for plane in planes if plane.name.startswith("/device:")]
    for plane in devices or planes:
        for line in plane.lines:
            if not line.name.startswith(LINES):
                continue
            for event in line.events:
                if event.duration_ns and not event.name.startswith("Threadpool"):
                    name = dict(event.stats).get("hlo_op", event.name)
                    yield Operation(name, event.start_ns, event.start_ns + event.duration_ns)
