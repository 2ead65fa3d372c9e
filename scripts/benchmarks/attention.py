"""The attention core, forward and backward, beside the plain formula: time and memory.

    python scripts/benchmark.py attention

At the positions that faces of 224 and 448 px have at 1/4 scale, with the paper's channels.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict

from ifgan_jax.models.attention import attend
from ifgan_jax.models.generator import ATTENTION_STAGE
from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, device, options, ours, report
from scripts.benchmarks.timing import Side, Timed

BATCH = flags.DEFINE_integer("batch", 1, "Maps at once.", lower_bound=1)
MAPS = flags.DEFINE_list("maps", ["56", "112"], "Sides of the square maps, in positions.")


def main() -> None:
    size, config = options.chosen(default="224")
    sides = {}
    for side in options.numbers("maps", MAPS.value):
        for name in (mine := _ours(side), _plain(side)):
            arguments = config, name == mine, BATCH.value, side
            sides[name] = Side(timed, arguments, beside=mine)
    content = comparison.measure(sides) | {"batch": BATCH.value}
    report.finish("attention", size, config, content, summary(content), tables)


def _ours(side: int) -> str:
    return f"attend, {side}×{side}"


def _plain(side: int) -> str:
    return f"plain formula, {side}×{side}"


def timed(config: ConfigDict, is_ours: bool, batch: int, side: int) -> Timed:
    """Value and gradients of one attention over side² positions."""
    jax.config.update("jax_enable_compilation_cache", False)
    channels = config.generator.widths[ATTENTION_STAGE]
    reduced = channels // config.generator.attention_reduction
    core = functools.partial(attend, block=config.generator.attention_block) if is_ours else plain

    def loss(inputs: Any) -> jax.Array:
        return jnp.square(core(*inputs)).mean()

    keys = jax.random.split(jax.random.key(0), 3)
    inputs = tuple(
        jax.random.normal(key, (batch, side**2, features), config.dtype)
        for key, features in zip(keys, (reduced, reduced, channels), strict=True)
    )
    program, facts = ours.compile_phases(jax.jit(jax.value_and_grad(loss)), inputs)
    facts |= ours.identity() | {"images": batch, "positions": side**2}
    return Timed(
        lambda: jax.block_until_ready(program(inputs)),
        facts,
        functools.partial(device.limits, config.dtype),
    )


def plain(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """The formula as it is written: every score at once."""
    return jax.nn.softmax(query @ key.mT, axis=-1) @ value


def summary(content: report.Result) -> report.Result:
    """How positions and `attend`'s temporaries grow from the smallest map to the largest.

    `memory_ratio` near `positions_ratio` is linear, near its square quadratic.
    `plain_time_over_attend` is of the largest map on which the plain formula ran.
    """
    mine = {
        name: side
        for name, side in content["sides"].items()
        if side["beside"] == name and "failed" not in side
    }
    first, *_, last = sorted([*mine.values(), *mine.values()], key=lambda side: side["positions"])
    ratios = [
        ratio for name in mine if not math.isnan(ratio := comparison.best_ratio(content, name))
    ]
    return {
        "positions_ratio": last["positions"] / first["positions"],
        "memory_ratio": last["temporaries_bytes"] / first["temporaries_bytes"],
        "plain_time_over_attend": ratios[-1] if ratios else math.nan,
    }


def tables(result: report.Result) -> list[Table]:
    rows = []
    for name, side in result["sides"].items():
        if "failed" in side:
            rows.append((name, f"failed: {side['failed']}", *[""] * 4))
            continue
        rows.append(
            (
                name,
                report.duration(side["median_s"]),
                report.quartiles(side),
                report.size(side["temporaries_bytes"]),
                report.size(side["flops"], "FLOP"),
                f"{side['of_matmul_ceiling']:.1%}",
            )
        )
    config = result["config"]
    caption = (
        f"Attention, value and gradients: {config['generator.widths'][ATTENTION_STAGE]} channels, "
        f"{config['dtype']}, batch {result['batch']}, at most about "
        f"{config['generator.attention_block']:,} scores of an image at once"
    )
    header = ("", "median", "25–75 %", "temporaries", "FLOPs", "of matmul ceiling")
    return [Table(caption, header, tuple(rows))]
