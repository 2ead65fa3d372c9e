"""Thousands of steps of the demo: memory has to stay flat, and nothing to be compiled again.

    PYTHONMALLOC=malloc python scripts/campaign.py long_run --steps=3000 \\
        --output=docs/reliability/long_run.json

One run of configs/demo.py with as many epochs as that takes, in this process, by the very loop that
scripts/train.py calls, with its validations, checkpoints and test. Memory is read every few steps,
when none is under way. Flat: from the end of the warm-up (a fifth of all steps) on, the line of
least squares through what malloc has given out rises by less than SLOPE (by PYTHONMALLOC Python's
objects are malloc's, too), and resident memory, with what malloc keeps free in its arenas, stays
below HIGHER times its highest before. Compilations are those that JAX tells, from its cache or not.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from absl import flags

from configs import demo
from ifgan_jax import loop
from ifgan_jax.data.pipeline import num_batches
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.tables import Table
from ifgan_jax.train import train
from scripts.benchmarks.system import malloc_in_use, status_bytes
from scripts.campaigns import report

SLOPE = 10.0  # MiB for 1000 steps
HIGHER = 1.1  # 1.07 was seen where malloc's memory in use was flat
WARM_UP = 0.2  # of all steps: allocators fill their pools, files are first read
EVERY = 5  # steps from one reading of the memory to the next
SETTLE = 0.05  # seconds, in which XLA gives a step's temporaries back
KEPT = 200  # readings that the result holds
EVENT = "/jax/core/compile/backend_compile_duration"

STEPS = flags.DEFINE_integer("steps", 3000, "At least so many.", lower_bound=1, allow_override=True)
DATA = flags.DEFINE_string(
    "data", None, "In place of the demo's faces, such as fake_faces/72_20.", allow_override=True
)


class Reading(NamedTuple):
    """Memory after a step, in MiB: of the process, and what malloc has given out of it."""

    step: int
    resident: float
    in_use: float

    @classmethod
    def now(cls, step: int) -> "Reading":
        jax.block_until_ready(jax.live_arrays())  # or temporaries of steps under way count
        time.sleep(SETTLE)
        return cls(step, status_bytes("VmRSS") / 2**20, malloc_in_use() / 2**20)


class Watch:
    """What memory and compiler do while `ifgan_jax.train` runs its steps."""

    def __init__(self) -> None:
        self.step = 0
        self.memory: list[Reading] = []
        self.compiled: list[tuple[int, str]] = []  # steps logged before, function
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **facts: str | int) -> None:
        if event == EVENT:
            self.compiled.append((self.step, str(facts.get("fun_name", "unnamed"))))

    def logged(self) -> None:
        """After each step's row."""
        self.step += 1
        if self.step % EVERY == 0:
            self.memory.append(Reading.now(self.step))


def main() -> None:
    if os.environ.get("PYTHONMALLOC") != "malloc":
        raise ValueError("PYTHONMALLOC: set it to malloc, or Python's objects are not counted")
    config = demo.get_config().unlock()
    if DATA.value:
        config.data.name = DATA.value
    watch, started = Watch(), time.monotonic()
    steps_per_epoch = num_batches(
        len(load_run_parts(config).train), config.batch_size, keep_tail=False
    )
    config.epochs = -(-STEPS.value // steps_per_epoch)
    log_step = loop.log_step

    def log_and_look(*arguments: Any) -> Any:
        row = log_step(*arguments)
        watch.logged()
        return row

    with (
        tempfile.TemporaryDirectory() as workdir,
        mock.patch.object(loop, "log_step", log_and_look),
    ):
        if train(config.lock(), Path(workdir)) is None:
            raise ValueError("stopped by SIGTERM: a part of a run is no result")
    content = measured(watch, steps_per_epoch, time.monotonic() - started)
    report.finish("long_run", content, tables)
    if (grown := content["growth_mib"]["in_use"]) >= SLOPE:
        raise ValueError(f"memory in use grew by {grown:.1f} MiB for 1000 steps")
    if content["highest_mib"] >= HIGHER * content["warm_mib"]:
        raise ValueError(f"resident memory rose above {HIGHER} times its highest of the warm-up")
    if content["compiled_later"]:
        raise ValueError(f"compiled after the first epoch: {content['compiled_later']}")


def measured(watch: Watch, epoch: int, seconds: float) -> report.Result:
    """The result: of compilations those of steps, not of the test that follows the last one."""
    steps, *memory = np.array(watch.memory).T
    after = steps > WARM_UP * watch.step
    slopes = [float(np.polyfit(steps[after], series[after], 1)[0]) for series in memory]
    thinned = watch.memory[:: -(-len(watch.memory) // KEPT)]
    return {
        "steps": watch.step,
        "seconds": seconds,
        "growth_mib": {
            name: 1000 * slope for name, slope in zip(Reading._fields[1:], slopes, strict=True)
        },
        "limit_mib": SLOPE,
        "warm_mib": float(memory[0][~after].max()),
        "highest_mib": float(memory[0][after].max()),
        "last_mib": float(memory[0][-1]),
        "compiled_first": sum(at <= epoch for at, _ in watch.compiled),
        "compiled_later": [name for at, name in watch.compiled if epoch < at < watch.step],
        "memory": [[step, *(round(mib, 1) for mib in sizes)] for step, *sizes in thinned],
    }


def tables(result: report.Result) -> list[Table]:
    growth = {name: f"{mib:+.2f} MiB" for name, mib in result["growth_mib"].items()}
    rows = (
        ("steps", str(result["steps"])),
        ("growth of memory in use for 1000 steps, by least squares", growth["in_use"]),
        ("growth that fails", f"{result['limit_mib']:.0f} MiB"),
        ("growth of resident memory, with what malloc keeps free", growth["resident"]),
        ("highest resident memory in the warm-up", f"{result['warm_mib']:.0f} MiB"),
        ("highest after the warm-up", f"{result['highest_mib']:.0f} MiB"),
        ("at the last step", f"{result['last_mib']:.0f} MiB"),
        ("programs compiled in the first epoch", str(result["compiled_first"])),
        ("programs compiled in a later one", str(len(result["compiled_later"]))),
    )
    return [Table("A long run of the demo", ("", "value"), rows)]
