"""The processes of one run: how they find each other, agree, take turns, and end together.

Each process of a run, on one host or on many, is started with the same command and does the same
steps; the first one writes config, metrics, logs and reports. With one process nothing here
communicates, and JAX's distributed runtime is not started.
"""

import contextlib
import faulthandler
import functools
import hashlib
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from ifgan_jax import sharding

LOGGER = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 60  # a process not heard of for so long is dead; JAX then ends all the others
PATIENCE = 24 * 3600 * 1000  # ms at a barrier: the first process may be rendering a data set
OF_THE_NETWORK = re.compile(  # errors that come of another process, not of this one
    "unavailable|deadline|connect|heartbeat|gloo|socket|peer|timed? ?out", re.IGNORECASE
)
LOST = (
    "another process of this run has stopped or cannot be reached; its own output, or JAX's "
    "message above, says which and why. Start the same command again in all processes: the run "
    "goes on from its last checkpoint"
)


@contextlib.contextmanager
def connected(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> Iterator[None]:
    """The block as one process of a run; with all None as SLURM or the TPU say, or alone.

    An error in one of several processes ends it at once with status 1: leaving in good order would
    wait for the others, which wait for this one. They end, too: see HEARTBEAT_SECONDS.

    Raises ValueError when only some of the three are given.
    """
    given = [x is not None for x in (coordinator_address, num_processes, process_id)]
    if num_processes != 1 and any(given) and not all(given):
        raise ValueError(
            "--coordinator_address, --num_processes and --process_id belong together: give all "
            "three, or none under SLURM and on TPU"
        )
    if num_processes == 1 or not (any(given) or _environment_tells()):
        yield
        return
    try:
        _initialize(coordinator_address, num_processes, process_id)
        yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, jax.errors.JaxRuntimeError):
            lost = OF_THE_NETWORK.search(str(error))
            print(f"error: {LOST} ({error})" if lost else f"error: {error}", file=sys.stderr)
        elif isinstance(error, (ValueError, OSError, FloatingPointError, ImportError)):
            print(f"error: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _environment_tells() -> bool:
    """Whether this is a SLURM step of several tasks, or a TPU: JAX finds the processes there."""
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return int(os.environ["SLURM_STEP_NUM_TASKS"]) > 1
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    return (platforms or "").startswith("tpu")  # as JAX sets it where it sees chips


def _initialize(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
    faulthandler.disable()  # where JAX aborts because of another process, its message is enough
    LOGGER.info("waiting for the other processes to start: at most 5 minutes")  # JAX's default
    jax.distributed.initialize(
        coordinator_address,
        num_processes,
        process_id,
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
    # Where devices talk by gloo, at their first meeting they wait 30 s for each other. Later one
    # process may come a compilation after the others; here all are about as far.
    bool(any_process(False))
    # JAX catches SIGTERM for a service of its own; ours is loop.Interruption, and else it ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    LOGGER.info(
        "process %d of %d, %d of %d devices; if another one dies, JAX ends this one: then the same "
        "command in all processes goes on from the last checkpoint",
        jax.process_index(),
        jax.process_count(),
        jax.local_device_count(),
        jax.device_count(),
    )
    tasks = re.match(r"\d+", os.environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    gpus = int(os.environ.get("SLURM_GPUS_ON_NODE", 0))
    if tasks and int(tasks[0]) < gpus:
        LOGGER.warning(
            "%s of the %d GPUs of a node are used: under SLURM JAX gives each task one; start as "
            "many tasks as GPUs (--ntasks-per-node=%d)",
            *(tasks[0], gpus, gpus),
        )
    if not is_first():
        logging.getLogger("ifgan_jax").setLevel(logging.ERROR)


def is_first() -> bool:
    """Whether this is the process that writes files and messages; alone, it is."""
    return jax.process_index() == 0


@functools.cache
def _everybody() -> tuple[Mesh, Callable]:
    """The mesh of all devices, and `any` over it."""
    mesh = sharding.make_mesh(jax.devices())
    return mesh, jax.jit(jnp.any, out_shardings=sharding.replicated(mesh))


def any_process(flag: bool) -> jax.Array | np.bool_:
    """Whether `flag` is set in any process. All must ask at the same point; nobody waits here.

    The answer comes when the devices have done what they were given before, and is waited for by
    `bool(…)`.
    """
    if jax.process_count() == 1:
        return np.bool_(flag)
    mesh, any_of = _everybody()
    return any_of(sharding.to_global(mesh, np.full(jax.local_device_count(), flag)))


def of_first(number: int) -> int:
    """The first process's number, in all. All must ask at the same point."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def barrier(name: str) -> None:
    """Return when every process has come here; may be called from any thread, once a name."""
    ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=PATIENCE)


@contextlib.contextmanager
def in_turn(name: str) -> Iterator[None]:
    """The first process goes through the block, then the others: it makes the files they read.

    All leave together: collectives of CPUs give up when one process comes half a minute late.
    """
    if not is_first():
        barrier(name)
    yield
    if is_first():
        barrier(name)
    barrier(f"{name}, all")


def check_same(what: str, text: str, remedy: str) -> None:
    """ValueError in all processes unless they have the same `text`."""
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    digests = multihost_utils.process_allgather(digest)
    if different := np.flatnonzero((digests != digests[0]).any(-1)).tolist():
        raise ValueError(f"{what} of process 0 and of {different} differ: {remedy}")


def check_shared(folder: Path) -> None:
    """FileNotFoundError in all processes unless each has the first one's `folder`."""
    mark = folder / f".first_{of_first(os.getpid())}"  # a name that no network disk remembers
    if is_first():
        mark.touch()
    barrier("marked")
    missing = bool(any_process(not mark.exists()))
    if is_first():
        mark.unlink()
    if missing:
        raise FileNotFoundError(
            f"{folder} is not one folder for all processes: it must be on a disk that they share"
        )
