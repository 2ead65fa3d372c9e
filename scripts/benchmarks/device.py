"""What JAX's device can do at most, measured, and what it is."""

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from ifgan_jax.data.processes import usable_cores
from scripts.benchmarks import system


def describe() -> dict[str, str | int]:
    """The device, and the processor with the cores that this process may use."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processor": system.processor(),
        "cores": usable_cores(),
        "malloc": os.environ.get("GLIBC_TUNABLES", ""),
    }


def ceilings(dtype: DTypeLike, seconds: float) -> dict[str, float]:
    """The best of several large products (FLOP/s) and copies (bytes/s), of one device.

    seconds: of products, and of copies; at least one of each.
    """
    where = jax.devices()[0].platform
    side, length = ceiling_sizes(where)
    matrix = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    product = jax.jit(lambda x: x @ x)
    # reads and writes each number once, in place: fresh memory would cost more than the copy
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    vector = jnp.ones(length, jnp.float32)

    def copy() -> None:
        nonlocal vector
        vector = add(vector).block_until_ready()

    product_s = best(lambda: product(matrix).block_until_ready(), seconds)
    return rates(where, product_s, best(copy, seconds))


def ceiling_sizes(where: str) -> tuple[int, int]:
    """The side of the product's matrix, the length of the copy's float32 vector."""
    return (2048, 2**26) if where == "cpu" else (8192, 2**28)


def rates(where: str, product_s: float, copy_s: float) -> dict[str, float]:
    """Of the seconds that a product and a copy of `ceiling_sizes` took."""
    side, length = ceiling_sizes(where)
    return {
        "matmul_flops_per_s": 2 * side**3 / product_s,
        "copy_bytes_per_s": 2 * 4 * length / copy_s,
    }


def best(run: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest of the runs that `seconds` hold, the first one not counted."""
    run()
    times: list[float] = []
    while not times or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def limits(dtype: DTypeLike, seconds: float) -> dict[str, Any]:
    """What `Timed.finish` tells: the peak of memory first, for measuring ceilings takes some, too.

    The accelerator's memory, or on a CPU this whole process's.
    """
    stats = jax.devices()[0].memory_stats() or {}
    peak = int(stats.get("peak_bytes_in_use", system.peak_memory()))
    return {"peak_memory_bytes": peak, "ceilings": ceilings(dtype, seconds)}
