"""Starting scripts as real processes, on one device."""

import os
from pathlib import Path
from typing import Any

from ifgan_jax.workdir import read_metrics
from scripts.campaigns.judge import Judge
from scripts.campaigns.process import Ended, Process
from tests import tiny
from tests.conftest import QUICK_COMPILATION
from tests.forked import Forked

# E alone, where the networks do not matter: it compiles in a third of the time.
BASELINE = ("--config.method=baseline", "--config.classifier.inputs=source")
LIMIT = 280.0  # seconds of each wait; two of them are less than what a test may take
# As pyproject.toml has it within pytest. ml_collections loads configs by load_module; on Python
# 3.13 JAX's profiler aborts where it is an error that a type of its own has no __module__.
WARNINGS = (
    "error::DeprecationWarning,error::PendingDeprecationWarning,error::FutureWarning,"
    "ignore:the load_module() method is deprecated:DeprecationWarning,"
    "ignore:builtin type event_stats:DeprecationWarning"
)


def environment() -> dict[str, str]:
    """One CPU device, whatever the tests themselves use."""
    return {**os.environ, "XLA_FLAGS": QUICK_COMPILATION, "PYTHONWARNINGS": WARNINGS}


def start(script: str, *flags: str) -> Process:
    """A script, or a module of the tests, under way."""
    which = ["-m", script] if script.startswith("tests.") else [f"scripts/{script}.py"]
    return Forked([*which, *flags], environment(), LIMIT)


def finish(script: str, *flags: str) -> Ended:
    """Exit status and all output of a script."""
    return start(script, *flags).end()


def train(workdir: Path, *flags: str) -> Ended:
    return finish("train", "--config=tests/tiny_config.py", f"--workdir={workdir}", *flags)


def last_state(workdir: Path) -> tuple[Any, dict]:
    """The last checkpoint, on one device."""
    return Judge(workdir).last(workdir)


def assert_same_run(workdir: Path, other: Path) -> None:
    """Bit-identical states; every step logged once, in order, with the same numbers."""
    (state, progress), (expected, expected_progress) = last_state(workdir), last_state(other)
    for (name, a), (_, b) in zip(tiny.leaves(state), tiny.leaves(expected), strict=True):
        assert a.tobytes() == b.tobytes(), name
    assert progress == expected_progress
    rows = read_metrics(workdir)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows == read_metrics(other)
