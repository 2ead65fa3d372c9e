"""Worker processes: how many, and how they start without the parent's TensorFlow."""

import contextlib
import os
import sys
import types
from collections.abc import Iterator


def usable_cores() -> int:
    """Cores that this process may use, where the system tells (Linux), else those it has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def hidden_main_module() -> Iterator[None]:
    """Spawned workers import the parent's main script, which may load TensorFlow: hide it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
