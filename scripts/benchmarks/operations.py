"""The step's parts one by one, ours beside PyTorch's: where the time goes, and to whom.

    python scripts/benchmark.py operations --size=96

Each pass of the three networks' convolutions, BatchNorms, attention and pools, and each network's
Adam, runs alone, on random data of the shapes that it has in a step, and counts as often as a step
runs it. What is left are additions, concatenations, paddings, tanh and the losses.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ifgan_jax import build
from ifgan_jax.models import attention, classifier, generator, layers
from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, device, options, ours, report, theirs
from scripts.benchmarks.parts import (
    ATTENTION,
    CONVOLUTION,
    FORWARD,
    GRADIENT,
    INPUT,
    KERNEL,
    NORM,
    POOL,
    STEM_POOL,
    Adam,
    Convolution,
    Layer,
    Part,
    Run,
    Shape,
)
from scripts.benchmarks.timing import WARM_UP, Side, Timed, spread

STEP, OURS, TORCH = "step", "ifgan_jax", "PyTorch"
SHOWN = 10
# How often a step runs FORWARD, KERNEL and INPUT of a convolution (step.gan_gradients), and of a
# network's first one. Other layers run FORWARD as often, and GRADIENT as INPUT.
USES = {"generator": (1, 1, 1), "discriminator": (2, 2, 3), "classifier": (1, 1, 2)}
USES_OF_FIRST = {"generator": (1, 1, 0), "discriminator": (2, 2, 1), "classifier": (1, 1, 1)}
CALLED = {  # a layer → the module whose networks call it, by which name
    CONVOLUTION: (layers, "convolve"),
    NORM: (layers, "normalize"),
    ATTENTION: (attention, "attend"),
    POOL: (generator, "max_pool_2x2"),
    STEM_POOL: (classifier, "max_pool_3x3_stride_2"),
}


def of_step(config: ConfigDict) -> collections.Counter[Part]:
    """The parts of a step, and how often it runs each."""
    networks = build.build(config, ours.STEPS_PER_EPOCH).networks
    side, channels, batch = config.data.crop, config.data.channels, config.batch_size
    face = jax.ShapeDtypeStruct((batch, side, side, channels), jnp.float32)
    pairs = jax.ShapeDtypeStruct((2 * batch, side, side, 2 * channels), jnp.float32)
    inputs = {"generator": (face,), "discriminator": (face, face), "classifier": (pairs,)}
    found: collections.Counter[Part] = collections.Counter()
    for name, given in inputs.items():
        calls, parameters = _watch(getattr(networks, name), given)
        for index, (layer, arguments) in enumerate(calls):
            shapes = tuple(x.shape for x in arguments if isinstance(x, jax.Array))
            uses = USES[name] if index else USES_OF_FIRST[name]
            if layer == CONVOLUTION:
                stride, ((top, bottom), (left, right)) = arguments[2:]
                call = (*shapes, stride, ((top, bottom), (left, right)))
                passes = zip((FORWARD, KERNEL, INPUT), uses, strict=True)
                found.update({Convolution(name, kind, *call): n for kind, n in passes})
            else:
                block = arguments[3] if layer == ATTENTION else 0
                passes = zip((FORWARD, GRADIENT), uses[::2], strict=True)
                found.update({Layer(name, layer, kind, shapes, block): n for kind, n in passes})
        found[Adam(name, parameters)] += 1
    return +found  # without what a step never runs


def _watch(
    network: Any, given: Iterable[jax.ShapeDtypeStruct]
) -> tuple[list[tuple[str, tuple[Any, ...]]], tuple[Shape, ...]]:
    """Each layer that a pass calls and its arguments, in order; the parameters' shapes."""
    calls: list[tuple[str, tuple[Any, ...]]] = []

    def noted(layer: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append((layer, arguments))
            return function(*arguments)

        return call

    with contextlib.ExitStack() as patches:
        for layer, (module, name) in CALLED.items():
            patched = noted(layer, getattr(module, name))
            patches.enter_context(mock.patch.object(module, name, patched))
        state = jax.eval_shape(lambda *x: network.init(jax.random.key(0), *x, train=True), *given)
    return calls, tuple(x.shape for x in jax.tree.leaves(state["params"]))


def of_ours(parts: list[Part]) -> Timed:
    """Each one jitted alone."""
    runs = [part.ours() for part in parts]
    return _all_in_turn(runs, ours.identity(), partial(device.ceilings, "float32"))


def of_torch(parts: list[Part]) -> Timed:
    """The same in PyTorch, channels_last."""
    import torch

    where = theirs.prepare(torch)
    runs = [part.torch(torch, where) for part in parts]
    facts = {"versions": {"torch": torch.__version__}}
    return _all_in_turn(runs, facts, partial(theirs.ceilings, "float32", torch, where))


def _all_in_turn(
    runs: list[Run],
    facts: dict[str, Any],
    ceilings: Callable[[float], dict[str, float]],
) -> Timed:
    """A run is each part once; the seconds of each come with `finish`, and the ceilings."""
    times: list[list[float]] = []

    def run() -> None:
        times.append([])
        for part in runs:
            start = time.perf_counter()
            part()
            times[-1].append(time.perf_counter() - start)

    def finish(seconds: float) -> dict[str, Any]:
        each = np.median(times[WARM_UP:], axis=0).tolist()
        return {"seconds": each, "ceilings": ceilings(seconds)}

    return Timed(run, facts, finish, begin=times.pop)


def main() -> None:
    size, config = options.chosen()
    theirs.check(config)
    for key, value in {"dtype": "float32", "remat": "attention"}.items():
        if config[key] != value:
            raise ValueError(f"{key} {config[key]!r}: what is timed and counted is {value!r}")
    uses = of_step(config)
    parts = list(uses)
    sides = {
        STEP: Side(ours.train_step, (config, False), beside=STEP),
        OURS: Side(of_ours, (parts,), beside=OURS),
        TORCH: Side(of_torch, (parts,), beside=OURS),
    }
    found = comparison.in_turns(sides)
    for name, side in found.items():
        if side.failed:
            raise ValueError(f"{name} failed: {side.failed}")
    facts = found[STEP].facts
    rows: list[report.Result] = [
        {"name": str(part), "layer": part.layer, "uses": uses[part], "bytes": part.bytes}
        | {"product_flops": part.product_flops, "ours_s": mine, "torch_s": its}
        for part, mine, its in zip(
            parts, found[OURS].facts["seconds"], found[TORCH].facts["seconds"], strict=True
        )
    ]
    rows.sort(key=lambda row: -row["uses"] * row["ours_s"])
    content = {
        "operations": rows,
        "step": spread(found[STEP].times),
        "ceilings": comparison.highest(side.facts["ceilings"] for side in found.values()),
        "device": facts["device"],
        "versions": facts["versions"] | found[TORCH].facts["versions"],
    }
    report.finish("operations", size, config, content, summary(content), tables)


def summary(content: report.Result) -> report.Result:
    """Seconds of a step in all its parts, each alone: ours and PyTorch's."""
    total = _total(content["operations"])
    return {"step_s": content["step"]["median_s"], "ours_s": total[0], "torch_s": total[1]}


def _total(rows: Iterable[report.Result]) -> tuple[float, float]:
    return tuple(sum(row["uses"] * row[side] for row in rows) for side in ("ours_s", "torch_s"))


def tables(result: report.Result) -> list[Table]:
    """The dearest of a step, and what each kind of layer takes of it."""
    rows, ceilings, step = result["operations"], result["ceilings"], result["step"]["median_s"]

    def line(name: str, uses: str, parts: list[report.Result]) -> tuple[str, ...]:
        total = _total(parts)
        least = sum(row["uses"] * _least(row, ceilings) for row in parts)
        times = map(report.duration, (*total, least))
        return (name, uses, *times, f"{total[0] / step:.1%}")

    layers = sorted({row["layer"] for row in rows}, key=[row["layer"] for row in rows].index)
    by_layer = [(name, [row for row in rows if row["layer"] == name]) for name in layers]
    columns = ("times", "ours", "PyTorch", "at the ceilings", "of the step")
    peaks = " and ".join(
        report.size(ceilings[kind], unit)
        for kind, unit in (("matmul_flops_per_s", "FLOP/s"), ("copy_bytes_per_s", "B/s"))
    )
    return [
        Table(
            f"The step's {SHOWN} dearest parts, each alone, {report.what(result)}, beside {peaks}",
            ("", *columns),
            tuple(line(row["name"], str(row["uses"]), [row]) for row in rows[:SHOWN]),
        ),
        Table(
            f"All {len(rows)} parts of the step of {report.duration(step)}, {report.what(result)}",
            ("", *columns),
            (
                *(line(name, str(sum(r["uses"] for r in its)), its) for name, its in by_layer),
                line("all", "", rows),
            ),
        ),
    ]


def _least(row: report.Result, ceilings: dict[str, float]) -> float:
    """Seconds at which the device's best product and copy would do it, one beside the other."""
    of_products = row["product_flops"] / ceilings["matmul_flops_per_s"]
    return max(of_products, row["bytes"] / ceilings["copy_bytes_per_s"])
