"""The step's convolutions one by one, ours beside PyTorch's: where the time goes, and to whom.

    python scripts/benchmark.py operations --size=96

Each forward pass, kernel's gradient and input's gradient of the three networks runs alone, on
random data of the shapes that it has in a step, and counts as often as a step runs it.
"""

import collections
import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ifgan_jax import build
from ifgan_jax.models import convolution, layers
from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, costs, device, options, ours, report, theirs
from scripts.benchmarks.timing import WARM_UP, Side, Timed, spread

STEP, OURS, TORCH = "step", "ifgan_jax", "PyTorch"
SHOWN = 10
KINDS = ("forward", "kernel's gradient", "input's gradient")
# How often a step runs each of KINDS (step.gan_gradients), and of a network's first layer.
USES = {"generator": (1, 1, 1), "discriminator": (2, 2, 3), "classifier": (1, 1, 2)}
USES_OF_FIRST = {"generator": (1, 1, 0), "discriminator": (2, 2, 1), "classifier": (1, 1, 1)}


class Operation(NamedTuple):
    """One convolution: NHWC input, HWIO kernel."""

    network: str
    kind: str
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int
    padding: convolution.Padding

    @property
    def output(self) -> tuple[int, ...]:
        sides = convolution.output_size(self.input, self.kernel, self.stride, self.padding)
        return (self.input[0], *sides, self.kernel[3])

    @property
    def flops(self) -> int:
        """The same for all three kinds; zeros of the padding do not count."""
        b, *sides, features = self.output
        pairs = math.prod(
            costs.hits(
                self.input[1 + i], self.kernel[i], sides[i], stride=self.stride,
                padding=self.padding[i][0], image_dilation=1, kernel_dilation=1,
            )
            for i in range(2)
        )  # fmt: skip
        return 2 * b * features * self.kernel[2] * pairs

    def __str__(self) -> str:
        kh, kw, channels, features = self.kernel
        b, h, w, _ = self.input
        stride = f" / {self.stride}" if self.stride > 1 else ""
        layer = f"{kh}×{kw}{stride}, {channels} → {features} on {b}×{h}×{w}"
        return f"{self.network}: {layer}, {self.kind}"


def of_step(config: ConfigDict) -> collections.Counter[Operation]:
    """The operations of a step, and how often it runs each."""
    networks = build.build(config, ours.STEPS_PER_EPOCH).networks
    side, channels, batch = config.data.crop, config.data.channels, config.batch_size
    face = jax.ShapeDtypeStruct((batch, side, side, channels), jnp.float32)
    pairs = jax.ShapeDtypeStruct((2 * batch, side, side, 2 * channels), jnp.float32)
    inputs = {"generator": (face,), "discriminator": (face, face), "classifier": (pairs,)}
    found: collections.Counter[Operation] = collections.Counter()
    for name, given in inputs.items():
        network = getattr(networks, name)
        for index, call in enumerate(_convolutions(network, given)):
            uses = USES[name] if index else USES_OF_FIRST[name]
            for kind, count in zip(KINDS, uses, strict=True):
                if count:
                    found[Operation(name, kind, *call)] += count
    return found


def _convolutions(network: Any, given: Iterable[jax.ShapeDtypeStruct]) -> list[tuple]:
    """Input, kernel, stride and padding of each one that the network calls, in its order."""
    seen: list[tuple] = []

    def noted(x: jax.Array, kernel: jax.Array, stride: int, padding: Any) -> jax.Array:
        seen.append((x.shape, kernel.shape, stride, tuple(map(tuple, padding))))
        return convolution.convolve(x, kernel, stride, padding)

    with mock.patch.object(layers, "convolve", noted):
        jax.eval_shape(lambda *x: network.init(jax.random.key(0), *x, train=True), *given)
    return seen


def of_ours(operations: list[Operation]) -> Timed:
    """Each one jitted alone."""

    def prepared(operation: Operation) -> Callable[[], object]:
        x, kernel, dy = map(jnp.asarray, _data(operation))

        def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return convolution.convolve(x, kernel, operation.stride, operation.padding)

        def forward(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
            return jax.vjp(convolve, x, kernel)[0]  # in the form that it has in a step

        def kernels(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
            return jax.vjp(partial(convolve, x), kernel)[1](dy)[0]

        def inputs(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
            return jax.vjp(lambda x: convolve(x, kernel), x)[1](dy)[0]

        run = jax.jit((forward, kernels, inputs)[KINDS.index(operation.kind)])
        return lambda: jax.block_until_ready(run(x, kernel, dy))

    return _all_in_turn(operations, prepared, ours.identity(), partial(device.ceilings, "float32"))


def of_torch(operations: list[Operation]) -> Timed:
    """The same in PyTorch, channels_last."""
    import torch

    where = theirs.prepare(torch)

    def prepared(operation: Operation) -> Callable[[], object]:
        x, kernel, dy = _data(operation)
        pads = [pad for pad, _ in operation.padding]
        if any(low != high for low, high in operation.padding):  # PyTorch has them by hand
            x, pads = np.pad(x, ((0, 0), *operation.padding, (0, 0))), [0, 0]
        x, dy = (theirs.nchw(array, torch, where) for array in (x, dy))
        weight = torch.from_numpy(kernel).permute(3, 2, 0, 1).to(where)
        weight = weight.contiguous(memory_format=torch.channels_last)
        strides = [operation.stride] * 2
        if operation.kind == KINDS[0]:
            conv2d = partial(torch.nn.functional.conv2d, x, weight, None, strides, pads)
            return theirs.blocked(conv2d, torch, where)
        wanted = [operation.kind == KINDS[2], operation.kind == KINDS[1], False]
        back = torch.ops.aten.convolution_backward
        rest = (None, strides, pads, [1, 1], False, [0, 0], 1, wanted)
        return theirs.blocked(lambda: back(dy, x, weight, *rest), torch, where)

    facts = {"versions": {"torch": torch.__version__}}
    return _all_in_turn(
        operations, prepared, facts, partial(theirs.ceilings, "float32", torch, where)
    )


def _data(operation: Operation) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    shapes = (operation.input, operation.kernel, operation.output)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def _all_in_turn(
    operations: list[Operation],
    prepared: Callable[[Operation], Callable[[], object]],
    facts: dict[str, Any],
    ceilings: Callable[[float], dict[str, float]],
) -> Timed:
    """A run is each operation once; the seconds of each come with `finish`, and the ceilings."""
    functions = [prepared(operation) for operation in operations]
    times: list[list[float]] = []

    def run() -> None:
        times.append([])
        for function in functions:
            start = time.perf_counter()
            function()
            times[-1].append(time.perf_counter() - start)

    def finish(seconds: float) -> dict[str, Any]:
        each = np.median(times[WARM_UP:], axis=0).tolist()
        return {"seconds": each, "ceilings": ceilings(seconds)}

    return Timed(run, facts, finish)


def main() -> None:
    size, config = options.chosen()
    theirs.check(config)
    for key, value in {"dtype": "float32", "remat": "attention"}.items():
        if config[key] != value:
            raise ValueError(f"{key} {config[key]!r}: what is timed and counted is {value!r}")
    uses = of_step(config)
    operations = list(uses)
    sides = {
        STEP: Side(ours.train_step, (config, False), beside=STEP),
        OURS: Side(of_ours, (operations,), beside=OURS),
        TORCH: Side(of_torch, (operations,), beside=OURS),
    }
    found = comparison.in_turns(sides)
    for name, side in found.items():
        if side.failed:
            raise ValueError(f"{name} failed: {side.failed}")
    facts = found[STEP].facts
    rows: list[report.Result] = [
        {"name": str(operation), "uses": uses[operation], "flops": operation.flops}
        | {"ours_s": mine, "torch_s": its}
        for operation, mine, its in zip(
            operations, found[OURS].facts["seconds"], found[TORCH].facts["seconds"], strict=True
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
    """Seconds of a step in all its convolutions, each alone: ours and PyTorch's."""
    totals = {
        f"convolutions_{side}": sum(row["uses"] * row[side] for row in content["operations"])
        for side in ("ours_s", "torch_s")
    }
    return {"step_s": content["step"]["median_s"], **totals}


def tables(result: report.Result) -> list[Table]:
    """The dearest of a step."""
    peak, step = result["ceilings"]["matmul_flops_per_s"], result["step"]["median_s"]
    rows = tuple(
        (
            row["name"],
            str(row["uses"]),
            *(report.duration(row["uses"] * row[side]) for side in ("ours_s", "torch_s")),
            report.duration(row["uses"] * row["flops"] / peak),
            f"{row['uses'] * row['ours_s'] / step:.1%}",
        )
        for row in result["operations"][:SHOWN]
    )
    total = result["summary"]
    caption = (
        f"The step's {SHOWN} dearest convolutions (nothing else is timed alone), "
        f"{report.what(result)}; all "
        f"{len(result['operations'])} kinds take {report.duration(total['convolutions_ours_s'])} "
        f"(PyTorch {report.duration(total['convolutions_torch_s'])}) of its {report.duration(step)}"
    )
    at_peak = f"at {report.size(peak, 'FLOP/s')}"
    return [Table(caption, ("", "times", "ours", "PyTorch", at_peak, "of the step"), rows)]
