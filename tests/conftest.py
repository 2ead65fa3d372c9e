"""Eight host devices for every test; float64 where a test asks for it; strict shapes."""

import os

# Before jax is imported. Machine code is left unoptimised: it compiles twice as fast, and what the
# tests run takes milliseconds. XLA's own passes, which decide memory and FLOPs, stay.
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK_COMPILATION}"
os.environ["JAX_PLATFORMS"] = "cpu"

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 within the test."""
    with jax.enable_x64(True):
        yield
