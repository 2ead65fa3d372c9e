"""Starting scripts as real processes, on one device, with compiled code kept between them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import QUICK_COMPILATION

ROOT = Path(__file__).parent.parent
CACHE = Path(tempfile.gettempdir()) / f"ifgan_jax_tests_{os.getuid()}_compiled"


def environment() -> dict[str, str]:
    """One CPU device, whatever the tests themselves use."""
    return {
        **os.environ,
        "XLA_FLAGS": QUICK_COMPILATION,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(CACHE),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }


def start(script: str, *flags: str) -> subprocess.Popen:
    """A script under way; its two streams come together."""
    return subprocess.Popen(
        [sys.executable, f"scripts/{script}.py", *flags],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(script: str, *flags: str) -> tuple[int, str]:
    """Exit status and all output of a script."""
    process = start(script, *flags)
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def train(workdir: Path, *flags: str) -> tuple[int, str]:
    return finish("train", "--config=tests/tiny_config.py", f"--workdir={workdir}", *flags)
