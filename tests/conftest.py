"""Eight host devices for every test; float64 where a test asks for it; strict shapes."""

import contextlib
import fcntl
import gc
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

# Before jax is imported. Machine code is left unoptimised: a step compiles in two thirds of the
# time, and the tests run milliseconds of it. XLA's own passes, which decide memory and FLOPs, stay.
QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# And in half of that without XLA's newer way to emit fusions, which users and tests/parity have,
# and with 7 to 10 % less work where a program is not cut into parts for threads.
# Only for the jaxlibs of constraints*.txt: a later one aborts at a flag that it has no more.
OLDER_FUSIONS = " --xla_cpu_use_fusion_emitters=false"
ONE_PART = " --xla_cpu_parallel_codegen_split_count=1"
CONSTRAINTS = Path(__file__).parent.parent.glob("constraints*.txt")
if any(f"jaxlib=={version('jaxlib')}" in file.read_text().splitlines() for file in CONSTRAINTS):
    QUICK_COMPILATION += OLDER_FUSIONS + ONE_PART
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK_COMPILATION}"
os.environ["JAX_PLATFORMS"] = "cpu"
# Many tests compile the same step: what one of them, or a script they start, has compiled is kept.
CACHE = Path(tempfile.gettempdir()) / f"ifgan_jax_tests_{os.getuid()}_compiled"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # no program says where it comes from

from collections.abc import Iterator

import jax
import jaxtyping
import pytest

from scripts.command_line import COLLECT, HUGE_PAGES

gc.set_threshold(*COLLECT)
os.environ.setdefault("GLIBC_TUNABLES", HUGE_PAGES)  # no script that a test starts begins twice


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """tests/parity where it is not asked for.

    TensorFlow and PyTorch bring two LLVMs, which crash in one process: it runs in its own.
    """
    asked = any("parity" in argument for argument in config.invocation_params.args)
    return True if collection_path.name == "parity" and not asked else None


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 within the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", autouse=True)
def checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Shapes and types are checked, but in a module that says `UNCHECKED = True`.

    They take a sixth of the time of whole runs and recipes, whose parts have tests of their own.
    """
    yield from _checks(not getattr(request.module, "UNCHECKED", False))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turns the shape checks of the test run off, to see the errors that a user sees."""
    yield from _checks(False)


def _checks(on: bool) -> Iterator[None]:
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", not on)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny config, 3 epochs of 6 steps, that is done: of all workers, so copy it."""
    from tests import runs

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    workdir = shared / "finished"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker that asks makes it
        if not (workdir / "metrics.json").exists():
            status, output = runs.train(workdir)
            assert status == 0, output
    return workdir


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB: room for a run's small files, and for few checkpoints."""
    from scripts.campaigns import faults

    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(faults.small_disk(tmp_path / "small", 6))
        except faults.NotRunError as error:
            pytest.skip(str(error))
