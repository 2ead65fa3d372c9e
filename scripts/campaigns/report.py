"""A campaign's result as JSON and as tables."""

import datetime
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ifgan_jax.data.processes import usable_cores
from ifgan_jax.tables import Table, markdown
from ifgan_jax.workdir import versions, write_json
from scripts.benchmarks import system
from scripts.campaigns import options

Result = dict[str, Any]


def header(campaign: str) -> Result:
    """What makes a result: the command, when, of what, on what."""
    found = versions()
    return {
        "campaign": campaign,
        "command": shlex.join(["python", "scripts/campaign.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "commit": found["commit"],
        "versions": found,
        "processor": f"{usable_cores()} cores of {system.processor()}",
    }


def output(campaign: str) -> Path:
    """The file of a command's result, in a folder that exists."""
    path = Path(options.OUTPUT.value or f"runs/campaigns/{campaign}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def finish(campaign: str, content: Result, tables: Callable[[Result], list[Table]]) -> None:
    """Write a command's result, with what made it, and print its tables."""
    result, path = header(campaign) | content, output(campaign)
    write_json(path, result)
    print("\n\n".join(map(markdown, tables(result))))
    print(f"\n{describe(result)}\nwritten: {path}")


def describe(result: Result) -> str:
    """One line below the tables: what was run, when, on what, by what."""
    versions = result["versions"]
    libraries = ", ".join(
        f"{k} {versions[k]}" for k in ("jax", "orbax-checkpoint") if k in versions
    )
    parts = [f"`{result['command']}`", result["date"], result.get("processor", ""), libraries]
    return " · ".join([*filter(None, parts), f"commit {result['commit']}"])
