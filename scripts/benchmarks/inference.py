"""G + E as one compiled function, on one face and on 64: latency and throughput.

    python scripts/benchmark.py inference --size=224 --against=torch

PyTorch's side is the twin in evaluation mode, channels_last, under inference_mode.
"""

import math

from absl import flags

from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, options, ours, report, theirs
from scripts.benchmarks.timing import Side

AGAINST = flags.DEFINE_enum(
    "against", None, ["torch"], "What takes turns with it.", allow_override=True
)
BATCHES = flags.DEFINE_list("batches", ["1", "64"], "Faces at once.")


def main() -> None:
    size, config = options.chosen()
    if AGAINST.value:
        theirs.check(config)
    sides = {}
    for batch in options.numbers("batches", BATCHES.value):
        mine = _ours(batch)
        sides[mine] = Side(ours.inference, (config, batch), beside=mine)
        for name, variant in theirs.VARIANTS.items():
            if AGAINST.value and not variant.sequential:  # which is about training
                arguments = config, batch, variant
                sides[f"{name}, batch {batch}"] = Side(theirs.inference, arguments, beside=mine)
    content = comparison.measure(sides)
    report.finish("inference", size, config, content, summary(content), tables)


def _ours(batch: int) -> str:
    return f"ifgan_jax, batch {batch}"


def summary(content: report.Result) -> report.Result:
    """By batch: our median, and the fastest PyTorch variant's over it, above 1 we win."""
    found = {}
    for name, side in content["sides"].items():
        if side["beside"] != name or "failed" in side:
            continue
        batch = side["images"]
        found[f"median_s_batch_{batch}"] = side["median_s"]
        if not math.isnan(ratio := comparison.best_ratio(content, name)):
            found[f"ratio_vs_best_torch_batch_{batch}"] = ratio
    return found


def tables(result: report.Result) -> list[Table]:
    return [comparison.table(f"G + E, {report.what(result, batch=False)}", result)]
