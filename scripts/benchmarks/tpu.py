"""The TPU's compiler without a TPU: what it makes of a config's train step.

It runs in a process of its own, because what it needs in the environment must stand there before
JAX is imported, and must not reach anything else. A TPU that the machine has is left alone.
"""

import contextlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ifgan_jax import build, sharding
from ifgan_jax.arrays import Batch
from ifgan_jax.workdir import versions
from scripts.benchmarks import costs, device, ours
from scripts.benchmarks.plain import forms

ROOT = Path(__file__).parents[2]
# Devices to compute on are the CPU's. The rest keeps libtpu from asking the cloud which TPU it is
# on; the type given stands for none: the topology decides.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # compile times are cold ones
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_ID": "0",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
NEEDED = re.compile(  # "(298.21G) exceeds available HBM (15.75G)", "Used 17.6G of 15.75G hbm"
    r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)"
    r"|Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm"
)
COLLECTIVE = re.compile(
    r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)
WITH_OPERANDS = ("all-gather", "collective-permute")  # their -start gives operands, then results
SHAPE = re.compile(r"\b([a-z]+)(\d*)\[([\d,]*)\]")
CONTEXT = ("u", "32", "")  # what else a -start may give, for its -done


class Need(NamedTuple):
    """Bytes of HBM on one chip: what a program takes, and what there is."""

    needed: int
    limit: int


def compile_step(
    config: ConfigDict, topology: str, chips: int, effort: float, plain: bool
) -> dict[str, Any]:
    """Compile the train step for `chips` of a `topology` ("v5e:2x2") and tell what came of it.

    effort: JAX's exec_time_optimization_effort, from -1 to 1; 0 is what runs have by default, and
      all that JAX 0.12 knows.
    plain: of Flax's and JAX's own operations, `plain.forms`.

    Raises ImportError without libtpu, and ValueError naming the flag for a topology that it does
    not know or that has too few chips. A step that does not fit is a result: `fits` is False.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ImportError("the TPU's compiler is not installed: make install EXTRAS=tpu")
    request = {"config": json.loads(config.to_json_best_effort())}
    request |= {"topology": topology, "chips": chips, "plain": plain}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.tpu"],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, "JAX_EXEC_TIME_OPTIMIZATION_EFFORT": str(effort)},
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
    )
    answer = done.stdout.splitlines()[-1:]
    if done.returncode < 0:
        libtpu = f"libtpu {importlib.metadata.version('libtpu')}"
        raise ValueError(
            f"{libtpu} died of signal {-done.returncode} as it compiled for {topology}, see above: "
            "try another topology or config.dtype (0.0.42.1 compiles no float32 step for v6e)"
        )
    if done.returncode or not answer:
        raise ValueError(f"the TPU's compiler ended with status {done.returncode}, see above")
    found = json.loads(answer[0])
    if "error" in found:
        raise ValueError(found["error"])
    if found["effort"] != effort:
        raise ValueError(f"--effort={effort}: JAX {jax.__version__} has no such option")
    return found


def describe_topology(topology: str, chips: int) -> list[jax.Device]:
    """The first `chips` devices of a topology, one a chip.

    Raises ValueError naming the flag.
    """
    # v4 can be two devices or one; as one, both cores share the chip's memory
    options = {"chip_config_name": "megacore"} if topology.startswith("v4") else {}
    try:
        devices = topologies.get_topology_desc(topology, "tpu", **options).devices
    except jax.errors.JaxRuntimeError as error:
        if "lockfile" in str(error):
            raise ValueError(
                "another process on this machine uses libtpu: wait until it has ended"
            ) from error
        raise ValueError(f"--topology={topology}: {str(error).splitlines()[0]}") from error
    if chips > len(devices):
        raise ValueError(f"--chips={chips}: {topology} has {len(devices)}")
    return list(devices[:chips])


def abstract_arguments(config: ConfigDict, compiled: build.Compiled) -> tuple[Any, ...]:
    """Shapes and places of what the train step takes; nothing is allocated."""
    data, mesh = config.data, compiled.mesh
    everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
    faces = (config.batch_size, data.image_size, data.image_size, data.channels)
    targets = (data.num_classes, data.crop, data.crop, data.channels)
    key = jax.eval_shape(lambda: build.train_key(config))
    batch: Any = (
        jax.ShapeDtypeStruct(shape, dtype, sharding=split)
        for shape, dtype in ((faces, jnp.uint8), (faces[:1], jnp.int32))
    )
    return (
        build.abstract_state(compiled, config),
        Batch(*batch),
        jax.ShapeDtypeStruct(targets, jnp.float32, sharding=everywhere),
        jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=everywhere),
    )


def limit(mesh: Mesh) -> int:
    """Bytes of HBM that the compiler allows on a chip, as it says to a program of 275 GB."""
    column = jax.ShapeDtypeStruct((2**18, 1), jnp.float32, sharding=sharding.replicated(mesh))

    def too_large(x: jax.Array) -> jax.Array:
        return jnp.sort(x @ x.T, axis=1).sum(0)

    try:
        jax.jit(too_large).lower(column).compile()
    except jax.errors.JaxRuntimeError as error:
        return parse_need(str(error)).limit
    raise AssertionError("275 GB fit")


def parse_need(message: str) -> Need:
    """What the compiler says when a program does not fit; raises ValueError when it says not."""
    found = NEEDED.search(message)
    if found is None:
        raise ValueError(f"the TPU's compiler failed: {message[:500]}")
    needed, unit, there, its_unit = (group for group in found.groups() if group is not None)
    return Need(round(float(needed) * UNITS[unit]), round(float(there) * UNITS[its_unit]))


def collectives(text: str) -> dict[str, dict[str, int]]:
    """How many of each kind a compiled program has, and the bytes that come out of them."""
    found: dict[str, dict[str, int]] = {}
    for given, kind, start in COLLECTIVE.findall(text):
        entry = found.setdefault(kind, {"count": 0, "bytes": 0})
        entry["count"] += 1
        shapes = SHAPE.findall(given)
        if start and kind in WITH_OPERANDS:
            arrays = [shape for shape in shapes if shape != CONTEXT]
            shapes = arrays[len(arrays) // 2 :]
        for _, bits, sides in shapes:
            size = math.prod(int(side) for side in sides.split(",") if side)
            entry["bytes"] += size * max(1, int(bits or 8) // 8)
    return found


def _compile(config: ConfigDict, topology: str, chips: int, plain: bool) -> dict[str, Any]:
    """The child's work: see `compile_step`."""
    mesh = sharding.make_mesh(describe_topology(topology, chips))
    sharding.check_batch_size("batch_size", config.batch_size, mesh.size)
    compiled = build.compile_steps(config, build.build(config, ours.STEPS_PER_EPOCH), mesh)
    there = limit(mesh)
    clock = [time.perf_counter()]
    step: Any = compiled.train_step
    with forms() if plain else contextlib.nullcontext():
        traced = step.trace(*abstract_arguments(config, compiled))
    clock.append(time.perf_counter())
    lowered = traced.lower()
    clock.append(time.perf_counter())
    cost = costs.count_jaxpr(traced.jaxpr)
    clock.append(time.perf_counter())
    busy = time.process_time()
    found: dict[str, Any] = {
        "topology": topology,
        "chips": chips,
        "plain": plain,
        "batch_size": config.batch_size,
        "effort": jax.config.values.get("jax_exec_time_optimization_effort", 0.0),
        "limit_bytes": there,
        "flops": cost.flops,
        "product_flops": cost.product_flops,
        "product_bytes": cost.product_bytes,
        "bytes_unfused": cost.bytes,
        "device": device.describe(),
        "versions": versions() | {"libtpu": importlib.metadata.version("libtpu")},
        "libtpu_init_args": os.environ.get("LIBTPU_INIT_ARGS", ""),
    }
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        found |= {"hbm_bytes": parse_need(str(error)).needed, "said": str(error).splitlines()[0]}
    else:
        parts = ours.memory(program)
        used = sum(parts.values()) - 2 * parts["aliased_bytes"]
        found |= {"hbm_bytes": used, **parts, **costs.of_compiler(program)}
        found["collectives"] = collectives(program.as_text())
    clock.append(time.perf_counter())
    trace, lower, _, backend = (b - a for a, b in itertools.pairwise(clock))
    return found | {
        "fits": "said" not in found and found["hbm_bytes"] <= there,
        "trace_s": trace,
        "lower_s": lower,
        "backend_compile_s": backend,
        "compile_s": trace + lower + backend,
        "compile_processor_s": time.process_time() - busy,
    }


def _main() -> None:
    request = json.load(sys.stdin)
    try:
        answer = _compile(ConfigDict(request.pop("config")).lock(), **request)
    except ValueError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
