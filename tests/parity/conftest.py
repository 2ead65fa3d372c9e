"""Tests that need PyTorch: without the extra `parity` they are left out, and named at the end."""

import importlib.util
from pathlib import Path

import pytest

HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "torchvision"))
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not HAS_TORCH:
        left_out = sorted(path.name for path in Path(__file__).parent.glob("test_*.py"))
        terminalreporter.write_line(
            f"left out, for want of the extra `parity`: tests/parity/: {', '.join(left_out)}"
        )
