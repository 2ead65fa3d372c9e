"""The compiled train step: time, images a second, FLOPs, memory; beside PyTorch's if asked for.

    python scripts/benchmark.py step --size=224
    python scripts/benchmark.py step --size=96 --against=torch --output=docs/benchmarks/step_96.json
    python scripts/benchmark.py step --size=96 --against=plain --against=torch

Against PyTorch the same mathematics runs on the same machine with the same threads, random faces,
batch and widths, and without augmentation on either side; alone, augmentation is in. Against
"plain" it is our own step, of Flax's and JAX's own operations: what our forms are worth.
"""

import math

from absl import flags

from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, options, ours, plain, report, theirs
from scripts.benchmarks.timing import Side

AGAINST = flags.DEFINE_multi_enum(
    "against",
    [],
    ["torch", "plain"],
    "What takes turns with it: PyTorch's twin, or our own step of Flax's and JAX's own operations.",
    allow_override=True,  # `document` imports all commands, of which it needs the tables alone
)
PHASES = ("trace", "lower", "backend_compile")
OURS, PLAIN = "ifgan_jax", "plain operations"


def main() -> None:
    size, config = options.chosen()
    compared = bool(AGAINST.value)
    sides = {OURS: Side(ours.train_step, (config, not compared), beside=OURS)}
    if "plain" in AGAINST.value:
        sides[PLAIN] = Side(plain.train_step, (config, False), beside=OURS)
    if "torch" in AGAINST.value:
        theirs.check(config)
        for name, variant in theirs.VARIANTS.items():
            sides[name] = Side(theirs.train_step, (config, variant), beside=OURS)
    content = comparison.measure(sides) | {"augmented": not compared}
    report.finish("step", size, config, content, summary(content), tables)


def summary(content: report.Result) -> report.Result:
    """`ratio_vs_best_torch`: the fastest PyTorch variant's median over ours, above 1 we win.

    `ratio_vs_plain`: the same of our step of plain operations. `…_smallest`: of the shortest steps,
    which work of others beside us touches least.
    """
    others = {"ratio_vs_plain": {PLAIN}, "ratio_vs_best_torch": set(theirs.VARIANTS)}
    ratios = {
        ratio + suffix: comparison.best_ratio(content, OURS, figure, among)
        for ratio, among in others.items()
        for suffix, figure in (("", "median_s"), ("_smallest", "smallest_s"))
    }
    mine = content["sides"][OURS]
    kept = ("median_s", "images_per_s_per_device", "compile_s", "flops", "peak_memory_bytes")
    return {
        **{name: ratio for name, ratio in ratios.items() if not math.isnan(ratio)},
        **{name: mine[name] for name in kept},
    }


def tables(result: report.Result) -> list[Table]:
    """A row a side, and what our step consists of."""
    size, augmented = result["size"], "with" if result["augmented"] else "without"
    caption = f"Train step, {report.what(result)}, {augmented} augmentation"
    of_ours = f"Our train step, {size}, {augmented} augmentation"
    mine = result["sides"][OURS]
    made = [comparison.table(caption, result)]
    if PLAIN in result["sides"]:
        made.append(_compilations(result))
    return [*made, comparison.cost_table(of_ours, mine, result["ceilings"])]


def _compilations(result: report.Result) -> Table:
    header = ("", "trace", "lower", "backend", "planned temporaries", "FLOPs")
    rows = tuple(
        (
            name,
            *(report.duration(side[f"{phase}_s"]) for phase in PHASES),
            report.size(side["temporaries_bytes"]),
            report.size(side["flops"], "FLOP"),
        )
        for name, side in result["sides"].items()
        if "failed" not in side
    )
    return Table(f"Compilation, {result['size']}, by the forms of the operations", header, rows)
