"""The remat policies beside one another: what each saves of memory and costs of time.

    python scripts/benchmark.py remat --size=224

The whole train step, without augmentation, under each of `layers.REMAT`. Results are the same.
"""

from ifgan_jax.models.layers import REMAT
from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, options, ours, report
from scripts.benchmarks.timing import Side


def main() -> None:
    size, config = options.chosen()
    sides = {}
    for policy in REMAT:
        changed = config.copy_and_resolve_references()
        with changed.unlocked():
            changed.remat = policy
        sides[policy] = Side(ours.train_step, (changed, False), beside=REMAT[0])
    content = comparison.measure(sides)
    report.finish("remat", size, config, content, summary(content), tables)


def summary(content: report.Result) -> report.Result:
    """By policy: median, and planned temporaries, each over those of "none"."""
    plain = content["sides"][REMAT[0]]
    return {
        f"{key}_over_none_{policy}": content["sides"][policy][key] / plain[key]
        for policy in REMAT[1:]
        for key in ("median_s", "temporaries_bytes")
        if key in content["sides"][policy]
    }


def tables(result: report.Result) -> list[Table]:
    caption = f"Train step by remat policy, {report.what(result)}, without augmentation"
    table = comparison.table(caption, result)
    planned = (
        report.size(side["temporaries_bytes"]) if "temporaries_bytes" in side else ""
        for side in result["sides"].values()
    )
    rows = ((*row, size) for row, size in zip(table.rows, planned, strict=True))
    return [Table(caption, (*table.header, "planned temporaries"), tuple(rows))]
