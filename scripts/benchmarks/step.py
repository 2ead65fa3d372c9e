"""The compiled train step: time, images a second, FLOPs, memory; beside PyTorch's if asked for.

    python scripts/benchmark.py step --size=224
    python scripts/benchmark.py step --size=96 --against=torch --output=docs/benchmarks/step_96.json

Against PyTorch the same mathematics runs on the same machine with the same threads, random faces,
batch and widths, and without augmentation on either side; alone, augmentation is in.
"""

import math

from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, options, ours, report, theirs
from scripts.benchmarks.timing import Side

OURS = "ifgan_jax"


def main() -> None:
    size, config = options.chosen()
    compared = options.AGAINST.value is not None
    sides = {OURS: Side(ours.train_step, (config, not compared), beside=OURS)}
    if compared:
        theirs.check(config)
        for name, variant in theirs.VARIANTS.items():
            sides[name] = Side(theirs.train_step, (config, variant), beside=OURS)
    content = comparison.measure(sides) | {"augmented": not compared}
    report.finish("step", size, config, content, summary(content), tables)


def summary(content: report.Result) -> report.Result:
    """`ratio_vs_best_torch`: the fastest PyTorch variant's median over ours, above 1 we win.

    `…_smallest`: the same of the shortest steps, which work of others beside us touches least.
    """
    ratios = {
        "ratio_vs_best_torch": comparison.best_ratio(content, OURS),
        "ratio_vs_best_torch_smallest": comparison.best_ratio(content, OURS, "smallest_s"),
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
    return [
        comparison.table(caption, result),
        comparison.cost_table(of_ours, mine, result["ceilings"]),
    ]
