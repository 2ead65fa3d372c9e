"""What a fault needs to be injected, and what comes of it."""

import contextlib
import dataclasses
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ifgan_jax.checkpoint import folder_of
from scripts.campaigns.judge import Judge, whole_steps
from scripts.campaigns.process import MOMENTS, Ended, Process, Site


class Outcome(NamedTuple):
    """One injection. error: kind of the error that the run ended with, "" for none.

    lost: what was not as promised, be it only another bit at the end; empty is right.
    """

    where: str
    error: str
    lost: list[str]


class NotRunError(Exception):
    """A fault that cannot be injected here, and why: counted as such."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """Where faults are injected.

    life: seconds that the reference took when all was compiled. epoch: steps of one. most: at most
    so many injections of a fault that has a number of its own, such as one for each file; 0: all.
    """

    site: Site
    judge: Judge
    folder: Path
    life: float
    epoch: int
    most: int

    @property
    def last_step(self) -> int:
        return max(whole_steps(self.judge.reference))

    def fresh(self) -> Path:
        """A workdir of nobody, in place of the one before."""
        workdir = self.folder / "run"
        shutil.rmtree(workdir, ignore_errors=True)
        return workdir

    def finished(self) -> Path:
        """A copy of the finished reference."""
        return Path(shutil.copytree(self.judge.reference, self.fresh()))

    def unfinished(self) -> Path:
        """The same before its last epoch: what follows it is gone."""
        workdir = self.finished()
        shutil.rmtree(folder_of(workdir / "checkpoints", self.last_step))
        for path in ("metrics.json", "predictions.csv", "report.html"):
            (workdir / path).unlink()
        shutil.rmtree(workdir / "pictures")
        return workdir

    def judged(self, where: str, workdir: Path, ended: Ended, error: str = "") -> Outcome:
        """A run that should have ended like the reference."""
        if ended.status == 0:
            return Outcome(where, error, self.judge.differences(workdir))
        return Outcome(where, error or ended.error(), [f"it did not go on: {ended.error()}"])

    def reached(self, process: Process, name: str, workdir: Path, rng: random.Random) -> bool:
        """Whether a moment of the life of a process just started came before it ended."""
        return process.wait_for(MOMENTS[name](workdir, self.life, self.epoch, rng))

    def attempt(self, where: str, workdir: Path, remedy: Callable[[str], None]) -> Outcome:
        """Start a run; if it is refused, do what the error says and start it again.

        remedy: is given the error's kind.
        """
        ended = self.site.finish(workdir)
        error = ended.error() if ended.status else ""
        if error:
            remedy(error)
            ended = self.site.finish(workdir)
        return self.judged(where, workdir, ended, error)

    def chosen(self, things: list[Path], rng: random.Random) -> list[Path]:
        return rng.sample(things, self.most) if 0 < self.most < len(things) else things


def stage(site: Site, reference: Path, most: int) -> Scene:
    """A place for faults: the folder of `reference`, where a run is made that nobody disturbs."""
    started = time.monotonic()
    ended = site.finish(reference)
    life = time.monotonic() - started
    if ended.status:
        raise ValueError(f"the undisturbed run failed, status {ended.status}: {ended.output}")
    before, last = whole_steps(reference)[-2:]  # a checkpoint an epoch
    return Scene(site, Judge(reference), reference.parent, life, last - before, most)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def truncate(path: Path, rng: random.Random) -> str:
    """Leave a random part of the file; says how much."""
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"cut to {size} bytes"


def flip(path: Path, rng: random.Random) -> str:
    """Flip one bit of one byte; says which."""
    content = bytearray(path.read_bytes())
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"byte {place}, bit {bit} flipped"


@contextlib.contextmanager
def small_disk(mount: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of that size at `mount`. Raises NotRunError where nothing can be mounted."""
    mount.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(mount))
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def enlarge(mount: Path, mebibytes: int) -> None:
    """Make room on a `small_disk`."""
    _mount("-o", f"remount,size={mebibytes}m", str(mount))


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """`folder` through a read-only mount: file modes do not bind root."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise NotRunError(f"nothing can be mounted: {done.stderr.strip()}")
