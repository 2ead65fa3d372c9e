"""A GPU or TPU computes the step that the CPU computes, where there is one."""

import os
import subprocess
import sys

import pytest


def test_step_equals_the_cpus():
    """The state after three steps in float64 to 1e-10, the metrics of one in float32 to 1e-4."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    command = [sys.executable, "-m", "tests.accelerator"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    if "no accelerator" in done.stdout:
        pytest.skip("JAX finds no accelerator")
    assert "equals the CPU" in done.stdout
