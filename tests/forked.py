"""Scripts as processes forked from one that has imported the libraries, as imports take long.

A run of the tiny config takes some 37 s of processor, 8 of them for imports; an error that is told
at once hardly anything else. What test_command_line.py starts, each script among it, and what the
campaigns start begin as a user's do.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from typing import Any
from unittest import mock

from scripts.campaigns.process import ROOT, Process

# Modules that define flags are for their scripts to import: no flag can be defined twice.
IMPORTED = [
    "ifgan_jax.data.builder",
    "ifgan_jax.evaluate",
    "ifgan_jax.train",
    "tests.forked",
]
# NumPy has threads by then, which wait, and end in a fork.
OF_THREADS = "ignore:This process (pid=:DeprecationWarning"
PYTHONPATH = os.environ.get("PYTHONPATH")  # as it is when tests begin
CONTEXT = multiprocessing.get_context("forkserver")


class Forked(Process):
    """Without a Python of its own, unless `environment` tells it where to find modules."""

    def _begin(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
        if environment.get("PYTHONPATH") != PYTHONPATH:
            return super()._begin(arguments, environment)
        warnings = f"{environment['PYTHONWARNINGS']},{OF_THREADS}"
        with mock.patch.dict(os.environ, environment, PYTHONWARNINGS=warnings):
            CONTEXT.set_forkserver_preload(IMPORTED)
            forkserver.ensure_running()
        arguments = arguments, dict(environment), self._output.name
        return _Child(CONTEXT.Process(target=_run, args=arguments))


class _Child:
    """A process of multiprocessing by the names of subprocess.Popen."""

    def __init__(self, process: Any) -> None:
        self._process = process
        process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(arguments: Sequence[str], environment: dict[str, str], output: str) -> None:
    """What `python *arguments` does, in this process."""
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    try:
        if arguments[0] == "-m":
            sys.argv = list(arguments[1:])
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(arguments)
            runpy.run_path(arguments[0], run_name="__main__")
    finally:  # as Python ends: first its threads, some of which need what atexit takes away
        threading._shutdown()
        atexit._run_exitfuncs()
