"""A result as JSON and as tables, in the same form for every command."""

import datetime
import json
import math
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ifgan_jax.tables import Table, markdown
from ifgan_jax.workdir import flatten, write_json
from scripts.benchmarks import options

Result = dict[str, Any]
LOAD_BEFORE = os.getloadavg()[0]  # as this command starts: above 0, others ran beside it


def finish(
    benchmark: str,
    size: str,
    config: ConfigDict,
    content: Result,
    summary: Result,
    tables: Callable[[Result], list[Table]],
) -> None:
    """Print the tables, write the JSON file, and print `summary` as the last line.

    benchmark: the command's name. content: must have `versions`, of libraries and commit, and
    `device`, from `device.describe`.
    """
    result: Result = _without_nan(
        {
            "benchmark": benchmark,
            "size": size,
            "command": shlex.join(["python", "scripts/benchmark.py", *sys.argv[1:]]),
            "date": datetime.date.today().isoformat(),
            "load_before": round(LOAD_BEFORE, 2),
            "config": flatten(config),
            "summary": summary,
            **content,
        }
    )
    file, _, argument = size.partition(":")  # sizes.py:224 is config and argument
    default = f"runs/benchmarks/{benchmark}_{Path(file).stem}{argument}.json"
    path = Path(options.OUTPUT.value or default)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    print("\n\n".join(map(markdown, tables(result))))
    print(f"\n{describe(result)}\nwritten: {path}")
    print(json.dumps({"benchmark": benchmark, "size": size, **result["summary"]}))


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def describe(result: Result) -> str:
    """One line below the tables: what was run, when, on what, by what."""
    device, versions = result["device"], result["versions"]
    where = f"{device['devices']} × {device['device']}"
    if device["platform"] == "cpu":
        where = f"{device['cores']} cores of {device['processor']}"
        where += ", " + device["malloc"] if device.get("malloc") else ""
    libraries = ", ".join(f"{k} {versions[k]}" for k in ("jax", "flax", "torch") if k in versions)
    parts = [f"`{result['command']}`", result["date"], where, libraries]
    parts.append(f"commit {versions['commit']}")
    shares = [side.get("others_share") for side in result.get("sides", {}).values()]
    if disturbed := max((share for share in shares if share is not None), default=0.0):
        parts.append(f"other processes had up to {disturbed:.1%} of the machine")
    return " · ".join(parts)


def what(result: Result, batch: bool = True) -> str:
    """The measured size in words, for captions."""
    config = result["config"]
    parts = [f"{result['size']}: {config['data.crop']} px"]
    parts += [f"batch {config['batch_size']}"] if batch else []
    return ", ".join([*parts, f"ResNet-{config['classifier.depth']}", config["dtype"]])


def duration(seconds: float) -> str:
    """Three digits, in seconds from one on, else in milliseconds."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def quartiles(side: Result) -> str:
    """Where the middle half of a side's times lies."""
    return f"{duration(side['quartile_1_s'])} – {duration(side['quartile_3_s'])}"


def size(number: float, unit: str = "B") -> str:
    """1.23 GB: decimal prefixes."""
    for prefix in ("", "k", "M", "G", "T"):
        if abs(number) < 1000 or prefix == "T":
            return f"{number:.3g} {prefix}{unit}"
        number /= 1000
    raise AssertionError
