"""docs/benchmarks.md from the committed results in docs/benchmarks, the same bytes each time.

    python scripts/benchmark.py document

Each JSON file there was written by a command of this script. Markdown files there are written by
hand (attempts.md: what was tried and did not help) and follow the tables as they are.
"""

import importlib
import json
from pathlib import Path

from absl import flags

from ifgan_jax.tables import markdown
from scripts.benchmarks import report

FOLDER = flags.DEFINE_string("folder", "docs/benchmarks", "Results; the page lies beside it.")

TITLES = {
    "step": "The train step",
    "operations": "Its parts",
    "profile": "Where its time goes",
    "remat": "Memory against time",
    "input": "The input",
    "inference": "Inference",
    "attention": "Attention",
    "compile": "Compile time",
    "plan": "On TPUs, by their compiler",
}
INTRODUCTION = """# Benchmarks

Made by `python scripts/benchmark.py document` from the files in [benchmarks/](benchmarks), which
hold every figure that is here and more; the command that wrote each one stands below its tables
(some were renamed since, after the processor they were taken on; those that write `…_epyc5.json`
ran on an EPYC of family 26, model 2).

Sides that are compared ran in turns, each in a process of its own; times are medians over all
turns, with quartiles beside them (since December 2026 without the first step of each turn, which
finds memory and caches as the others left them). Times of different tables are not to be compared:
each says on what it was taken, and what share of the machine other processes had meanwhile. FLOPs
are counted over the program before compilation, 2 for each product of real numbers, loop bodies as
often as they run; the compiler's own figures count them once. Bytes are counted with nothing fused,
an upper bound, and for matrix products and convolutions alone; those of a part that runs alone are
of each array once, a lower one. Ceilings are the best of a large
matrix product and of a large copy on the same device, by either library.
"""


def main() -> None:
    folder = Path(FOLDER.value)
    path = folder.with_suffix(".md")
    path.write_text(page(folder))
    print(f"written: {path}")


def page(folder: Path) -> str:
    """The Markdown page of a folder of results.

    Raises ValueError naming a file that is no result of this script.
    """
    results: dict[str, list[report.Result]] = {name: [] for name in TITLES}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        if result.get("benchmark") not in TITLES:
            raise ValueError(f"{path} is no result of scripts/benchmark.py")
        results[result["benchmark"]].append(result)
    parts = [INTRODUCTION]
    for name, found in results.items():
        if not found:
            continue
        tables = importlib.import_module(f"scripts.benchmarks.{name}").tables
        parts.append(f"## {TITLES[name]}\n")
        for result in found:
            parts += [markdown(table) + "\n" for table in tables(result)]
            parts.append(report.describe(result) + "\n")
    parts += [path.read_text() for path in sorted(folder.glob("*.md"))]
    return "\n".join(parts)
