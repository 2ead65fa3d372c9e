"""What real data costs the step, and what Python's part of a step is.

    python scripts/benchmark.py input --size=224

The loop of a run, its metrics written down, on batches read, shuffled and moved to the device as a
run does it, from memory and as sets that do not fit there stream, from a file that the system has
forgotten, beside the same loop on one batch that lies there already. Python's part is what the
loop's thread has of a processor: reading, moving, dispatching, logging, but not waiting. What
tf.data's threads have of it beside that thread is part of the overhead.
"""

import contextlib
import itertools
import mmap
import tempfile
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, options, ours, report, trace
from scripts.benchmarks.timing import WARM_UP, Side, Timed

STEPS = flags.DEFINE_integer("steps", 8, "Steps in a row, then the device is waited for.", 2)
ON_DEVICE, REAL, STREAMED = "data on the device", "real data", "real data, streamed"
PAGE_OUT = 21  # Linux's MADV_PAGEOUT, which mmap does not name
PARTS = ("reading_s", "dispatch_s", "logging_s")


def main() -> None:
    size, config = options.chosen()
    sides = {
        name: Side(loop, (config, name, STEPS.value), beside=ON_DEVICE)
        for name in (ON_DEVICE, REAL, STREAMED)
    }
    content = comparison.measure(sides)
    for name, side in content["sides"].items():
        if "failed" in side:
            raise ValueError(f"{name}: {side['failed']}")
    report.finish("input", size, config, content, summary(content), tables)


def loop(config: ConfigDict, source: str, steps: int) -> Timed:
    """`steps` steps as `loop.Run` takes them, one after the other without waiting in between.

    source: ON_DEVICE, REAL or STREAMED, whose file is paged out once, when a turn begins.
    """
    from tqdm import tqdm

    from ifgan_jax.data import faces as data
    from ifgan_jax.evaluate import load_run_parts
    from ifgan_jax.loop import batches, log_step
    from ifgan_jax.metric_log import MetricLog

    never = mock.patch.object(data, "MEMORY_SHARE", 0.0)  # no set fits
    with never if source == STREAMED else contextlib.nullcontext():
        faces = load_run_parts(config).train
    compiled = ours.compiled_steps(config)
    state, one, targets, key = ours.arguments(config, compiled, config.data.image_size)
    endless = itertools.chain.from_iterable(
        batches(config, compiled.mesh, faces, epoch, 0) for epoch in itertools.count()
    )
    coming = itertools.repeat(one) if source == ON_DEVICE else endless
    folder = tempfile.TemporaryDirectory(prefix="ifgan_jax_input_")
    log = MetricLog(Path(folder.name), 0)
    bar, spent = tqdm(disable=True), []  # seconds of this thread on each of PARTS, by step
    numbers = itertools.count()
    file = faces.images.base if isinstance(faces.images.base, mmap.mmap) else None

    def run() -> None:
        nonlocal state
        pending, clock = None, time.thread_time
        for _ in range(steps):
            marks = [clock()]
            batch = next(coming)
            marks.append(clock())
            state, metrics = compiled.train_step(state, batch, targets, key)
            marks.append(clock())
            if pending is not None:
                log_step(log, bar, next(numbers), 0, pending, {})
            pending = metrics
            marks.append(clock())
            spent.append(np.diff(marks))
        jax.block_until_ready((state, metrics))

    def forget() -> None:
        del spent[-steps:]  # of the run that is not counted
        if file:
            file.flush()
            file.madvise(PAGE_OUT)

    def finish(_: float) -> dict[str, float]:
        parts = np.mean(spent[WARM_UP * steps :], axis=0).tolist()
        python = dict(zip(PARTS, parts, strict=True)) | {"python_s": sum(parts)}
        python["idle_share_in_trace"] = trace.idle_share(run)
        folder.cleanup()
        return python

    facts = {"images": config.batch_size, "steps_in_a_row": steps, "from_file": bool(file)}
    return Timed(run, ours.identity() | facts, finish, begin=forget)


def summary(content: report.Result) -> report.Result:
    """`overhead`: how much longer a step takes with real data, as a share; at most 0.03 is wanted.

    `overhead_streamed`: the same from a file. `python_share`: Python's part of a step, dispatch
    included; below 0.01 is wanted.
    """
    there, real, streamed = (content["sides"][name] for name in (ON_DEVICE, REAL, STREAMED))
    return {
        "overhead": real["median_s"] / there["median_s"] - 1,
        "overhead_streamed": streamed["median_s"] / there["median_s"] - 1,
        "overhead_smallest": real["smallest_s"] / there["smallest_s"] - 1,
        "python_share": real["python_s"] / real["median_s"],
        "step_s": real["median_s"],
    }


def tables(result: report.Result) -> list[Table]:
    rows = []
    for name, side in result["sides"].items():
        rows.append(
            (
                name,
                report.duration(side["median_s"]),
                report.quartiles(side),
                report.duration(side["python_s"]),
                f"{side['python_s'] / side['median_s']:.2%}",
                " + ".join(report.duration(side[part]) for part in PARTS),
                f"{side['idle_share_in_trace']:.2%}",
            )
        )
    header = (
        "", "step, median", "25–75 %", "Python's part", "of the step",
        "reading + dispatch + logging", "device idle, by the trace",
    )  # fmt: skip
    steps = result["sides"][REAL]["steps_in_a_row"]
    return [Table(f"Input, {report.what(result)}, {steps} steps in a row", header, tuple(rows))]
