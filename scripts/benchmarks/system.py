"""What the operating system tells of this process, and of the others beside it."""

import ctypes
import math
import os
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np

STATUS, FORGET, STAT = (Path("/proc") / name for name in ("self/status", "self/clear_refs", "stat"))


def processor() -> str:
    """Its name; on x86 with family and model, for several kinds may share a name."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    parted = (line.partition(":") for line in lines)
    facts = {key.strip(): value.strip() for key, _, value in parted}
    name = facts.get("model name") or platform.processor()
    kind = ("cpu family", "model")
    if not all(key in facts for key in kind):
        return name
    return "{}, family {}, model {}".format(name, *(facts[key] for key in kind))


def forget_peak() -> None:
    """Start `peak_memory` anew, without what compiling left behind (Linux; else nothing)."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    if FORGET.exists():
        FORGET.write_text("5")


class _Mallinfo(ctypes.Structure):
    """As mallinfo2(3) has it."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]  # fmt: skip


def malloc_in_use() -> int:
    """Bytes that malloc has given out and not got back, in arenas and mapped apart (glibc)."""
    tell = ctypes.CDLL(None).mallinfo2
    tell.restype = _Mallinfo
    found = tell()
    return found.uordblks + found.hblkhd


def status_bytes(field: str) -> int:
    """What /proc/self/status tells in kB (Linux): "VmRSS", "VmHWM", its peak, or "VmSize"."""
    content = STATUS.read_text()
    return 1024 * int(content.partition(f"{field}:")[2].split(maxsplit=1)[0])


def peak_memory() -> int:
    """Bytes that this process held at its peak; elsewhere than on Linux, or its parent before."""
    if STATUS.exists():
        return status_bytes("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class OthersWork:
    """What other processes do with the processors, from its making to `share()`."""

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """0 when all others slept, 1 when they had every core; NaN but on Linux."""
        wall, own, busy = (b - a for a, b in zip(self._start, self._now(), strict=True))
        return float(np.maximum(0.0, busy - own)) / (wall * (os.cpu_count() or 1))

    def _now(self) -> tuple[float, float, float]:
        """Seconds: the clock, this process's on processors, all processes'."""
        busy = math.nan
        if STAT.exists():  # user nice system idle iowait irq softirq steal, in ticks
            ticks = [int(field) for field in STAT.read_text().split("\n")[0].split()[1:9]]
            busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), time.process_time(), busy
