"""Eight host devices for every test; float64 where a test asks for it; strict shapes."""

import os

os.environ["XLA_FLAGS"] = (  # before jax is imported
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 within the test."""
    with jax.enable_x64(True):
        yield
