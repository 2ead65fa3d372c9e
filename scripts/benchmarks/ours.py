"""Our side of the comparisons: the jitted functions of a run on random faces, as `timing.Timed`."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

from ifgan_jax import build, sharding
from ifgan_jax.arrays import Batch, to_model_range
from ifgan_jax.workdir import versions
from scripts.benchmarks import costs, device
from scripts.benchmarks.timing import Timed

STEPS_PER_EPOCH = 1000  # of the learning rates' schedule; changes no time


class Arguments(NamedTuple):
    """Of the train step: a fresh state, a random global batch and targets, on the mesh."""

    state: Any
    batch: Batch
    targets: jax.Array
    key: jax.Array


def compiled_steps(config: ConfigDict) -> build.Compiled:
    """The jitted functions of a run, over its devices; nothing is compiled yet."""
    mesh = sharding.make_mesh(jax.devices(), config.devices)
    sharding.check_batch_size("batch_size", config.batch_size, mesh.size)
    return build.compile_steps(config, build.build(config, STEPS_PER_EPOCH), mesh)


class Faces(NamedTuple):
    """A batch on the host."""

    image: np.ndarray  # uint8 (b, side, side, c)
    label: np.ndarray  # int32 (b,)


def random_faces(config: ConfigDict, side: int) -> Faces:
    """Grey levels and labels, drawn with one seed for all sides of a comparison."""
    rng = np.random.default_rng(0)
    shape = (config.batch_size, side, side, config.data.channels)
    labels = rng.integers(0, config.data.num_classes, config.batch_size, np.int32)
    return Faces(rng.integers(0, 256, shape, np.uint8), labels)


def random_targets(config: ConfigDict) -> np.ndarray:
    """An "average face" of each class, in [-1, 1]."""
    data = config.data
    shape = (data.num_classes, data.crop, data.crop, data.channels)
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def arguments(config: ConfigDict, compiled: build.Compiled, side: int) -> Arguments:
    """What the train step takes, from images of `side` pixels."""
    faces = random_faces(config, side)
    return Arguments(
        compiled.create_state(build.state_key(config)),
        Batch(*(sharding.to_global(compiled.mesh, x) for x in faces)),
        jax.device_put(random_targets(config), sharding.replicated(compiled.mesh)),
        build.train_key(config),
    )


def compile_phases(function: Any, *inputs: Any) -> tuple[Any, dict[str, Any]]:
    """The program of a jitted function, with the seconds of each phase, its cost and memory."""
    clock = [time.perf_counter()]
    traced = function.trace(*inputs)
    clock.append(time.perf_counter())
    lowered = traced.lower()
    clock.append(time.perf_counter())
    program = lowered.compile()
    clock.append(time.perf_counter())
    trace, lower, backend = (b - a for a, b in itertools.pairwise(clock))
    cost = costs.count_jaxpr(traced.jaxpr)
    return program, {
        "trace_s": trace,
        "lower_s": lower,
        "backend_compile_s": backend,
        "compile_s": trace + lower + backend,
        "flops": cost.flops,
        "bytes_unfused": cost.bytes,
        "product_flops": cost.product_flops,
        "product_bytes": cost.product_bytes,
        **costs.of_compiler(program),
        **memory(program),
    }


def memory(program: Any) -> dict[str, int]:
    """Bytes on one device that the compiler planned for a program."""
    plan = program.memory_analysis()
    parts = {
        "arguments": plan.argument_size_in_bytes,
        "outputs": plan.output_size_in_bytes,
        "aliased": plan.alias_size_in_bytes,
        "temporaries": plan.temp_size_in_bytes,
        "code": plan.generated_code_size_in_bytes,
    }
    return {f"{name}_bytes": int(value) for name, value in parts.items()}


def train_step(config: ConfigDict, augmented: bool) -> Timed:
    """The whole step; not `augmented`, it takes faces of the model's size as they are."""
    _, facts, run = train_program(config, augmented)
    return Timed(run, facts, partial(device.limits, config.dtype))


def train_program(
    config: ConfigDict, augmented: bool
) -> tuple[Any, dict[str, Any], Callable[[], None]]:
    """The compiled step, its facts, and what runs it once more and waits for it."""
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are cold ones
    compiled = compiled_steps(config)
    side = config.data.image_size if augmented else config.data.crop
    given = arguments(config, compiled, side)
    with contextlib.nullcontext() if augmented else _without_augmentation():
        program, facts = compile_phases(compiled.train_step, *given)
    state, *rest = given

    def run() -> None:
        nonlocal state
        state, metrics = program(state, *rest)  # the state before is used up
        jax.block_until_ready((state, metrics))

    return program, facts | identity() | {"images": config.batch_size}, run


def identity() -> dict[str, Any]:
    """What ran and on what; asked of the side's process, for the parent touches no device."""
    return {"versions": versions(), "device": device.describe()}


@contextlib.contextmanager
def _without_augmentation() -> Iterator[None]:
    """Steps traced herein take images as they are."""
    with mock.patch("ifgan_jax.step.augment", lambda key, images, options: to_model_range(images)):
        yield


def inference(config: ConfigDict, batch_size: int) -> Timed:
    """G + E as one compiled function, from grey levels to probabilities."""
    jax.config.update("jax_enable_compilation_cache", False)
    with config.unlocked():
        config.batch_size = batch_size
    compiled = compiled_steps(config)
    state, faces, *_ = arguments(config, compiled, config.data.crop)
    program, facts = compile_phases(compiled.eval_step, state, faces.image)
    facts |= identity() | {"images": config.batch_size}
    return Timed(
        lambda: jax.block_until_ready(program(state, faces.image)),
        facts,
        partial(device.limits, config.dtype),
    )
