"""Tests that need PyTorch: without the extra `parity` they are left out, and named at the end."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

from tests.conftest import OLDER_FUSIONS

# Compared with PyTorch is what users' programs do. XLA reads this when JAX first asks for devices.
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace(OLDER_FUSIONS, "")
HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "torchvision"))
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]


def pytest_sessionstart() -> None:
    from tests import forked  # imports the package: after jaxtyping, of any version, hooked it

    forked.IMPORTED.clear()  # TensorFlow is: its LLVM and PyTorch's do not go together


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if not HAS_TORCH and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK  # left out and named, as it should be


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if HAS_TORCH:
        return
    terminalreporter.write_line("left out, for want of the extra `parity`:")
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        names = re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
        terminalreporter.write_line(f"  tests/parity/{path.name}: {', '.join(names)}")
