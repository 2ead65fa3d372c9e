"""Faults that are no signals: full and read-only disks, damaged files, odd clocks, two runs."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from ifgan_jax.checkpoint import folder_of
from scripts.campaigns import faults
from scripts.campaigns.faults import Outcome, Scene
from scripts.campaigns.kills import AT_THE_END, of_script
from scripts.campaigns.process import MOMENTS, ROOT

DISK = 16  # MiB: a whole run of `patterns` takes about 6
LEFT = {"nothing": 0, "a page": 4096, "the metrics": 200_000}  # bytes; a checkpoint has a million
CLOCK = ROOT / "scripts" / "campaigns" / "clock"
LATER = ("as it takes the workdir", "checkpoint being written", "results being written")
YEARS = 10 * 365 * 86400.0  # seconds


def full_disk(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """Filled at a moment; the script is started again on the full disk, then with room."""
    for i in range(number):
        script = "evaluate" if i % 5 == 4 else "train"
        name = rng.choice(AT_THE_END["evaluate"] if script == "evaluate" else tuple(MOMENTS))
        left = rng.choice(list(LEFT))
        with faults.small_disk(scene.folder / "disk", DISK) as disk:
            workdir, filler = disk / "run", disk / "filler"
            if script == "evaluate":
                shutil.copytree(scene.judge.reference, workdir)
            process = scene.site.start(workdir, script)
            reached = scene.reached(process, name, workdir, rng)
            _fill(filler, LEFT[left])
            first = process.end()
            if not reached and first.status == 0:  # done before: nothing was injected
                continue
            again = scene.site.finish(workdir, script)
            errors = [ended.error() for ended in (first, again) if ended.status]
            filler.unlink()
            faults.enlarge(disk, 10 * DISK)
            where = f"{of_script(script, name)}, room for {left}"
            yield scene.judged(where, workdir, scene.site.finish(workdir, script), *errors[:1])
            if len(errors) == 2:
                start = of_script(script, "start on the full disk")
                yield Outcome(f"{start}, room for {left}", errors[1], [])


def _fill(path: Path, left: int) -> None:
    """Take all room but `left` bytes of the disk that `path` is on."""
    with path.open("wb") as stream:
        while (room := shutil.disk_usage(path.parent).free - left) > 0:
            try:
                stream.write(bytes(min(room, 65536)))
                stream.flush()
            except OSError:  # the run takes some of it meanwhile
                return


def read_only(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """Training and testing below a read-only mount, then one that comes during a run's life."""
    for script in ("train", "evaluate"):
        workdir = scene.unfinished() if script == "train" else scene.finished()
        with faults.read_only(workdir):
            refused = scene.site.finish(workdir, script)
        yield scene.judged(script, workdir, scene.site.finish(workdir), refused.error())
    for _ in range(number):
        workdir, name = scene.unfinished(), rng.choice(list(MOMENTS))
        process = scene.site.start(workdir)
        if not scene.reached(process, name, workdir, rng):
            process.end()  # done before: nothing was injected
            continue
        with faults.read_only(workdir):
            met = process.end()
        ended = scene.site.finish(workdir) if met.status else met  # 0: all was written before
        error = met.error() if met.status else ""
        yield scene.judged(f"it comes: {name}", workdir, ended, error)


def two_runs(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """Two started in one workdir at once, or the second at a moment of the first's life."""
    for i in range(number):
        workdir, name = scene.unfinished(), rng.choice(LATER)
        first = scene.site.start(workdir)
        if late := i % 2 == 1 and scene.reached(first, name, workdir, rng):
            first.send(signal.SIGSTOP)  # or it might be done before the second one begins
        second = scene.site.finish(workdir)
        if late:
            first.send(signal.SIGCONT)
        ended = first.end()
        done, refused = (ended, second) if ended.status == 0 else (second, ended)
        where = f"the second {name}" if late else "both at once"
        if refused.status == 0:
            if late:  # the first, which is stopped, had it
                yield Outcome(where, "", ["two runs held one workdir"])
            continue  # else the second came when the first was done: nothing was injected
        yield scene.judged(where, workdir, done, refused.error())


def checkpoint(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """Each file of the last checkpoint, cut short and with one bit flipped."""
    newest = folder_of(scene.judge.reference / "checkpoints", scene.last_step)
    for file in scene.chosen(faults.files(newest), rng):
        for harm in (faults.truncate, faults.flip):
            workdir = scene.finished()
            name = file.relative_to(newest)
            what = harm(workdir / file.relative_to(scene.judge.reference), rng)
            yield scene.attempt(f"{_kind(name)}: {what}", workdir, lambda error: None)


def _kind(path: Path) -> str:
    """A file's name, without those that are drawn by chance."""
    return str(path.parent / "*") if len(path.name) == 32 else str(path)


def data_set(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """Each file of the rendered data set; a fresh run, then the remedy that the error names."""
    folder = scene.folder / "data"
    intact = Path(shutil.copytree(folder, scene.folder / "data_intact", dirs_exist_ok=True))
    for file in scene.chosen(faults.files(folder), rng):
        for harm in (faults.truncate, faults.flip):
            what = f"{_hashless(file.relative_to(folder))}: {harm(file, rng)}"

            def remedy(error: str, file: Path = file) -> None:
                shutil.rmtree(file.parent) if "rendered again" in error else file.unlink()

            yield scene.attempt(what, scene.fresh(), remedy)
            shutil.rmtree(folder)
            shutil.copytree(intact, folder)


def _hashless(path: Path) -> str:
    return str(path.with_stem("*")) if len(path.stem) == 64 else str(path)


def compiled(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """Each file of the compilation cache that such a run has; one starts, and one resumes."""
    cache = Path(scene.site.environment["JAX_COMPILATION_CACHE_DIR"])
    intact = Path(shutil.copytree(cache, scene.folder / "cache_intact", dirs_exist_ok=True))
    for file in scene.chosen(faults.files(cache), rng):
        program = file.name.rpartition("-")[0].rpartition("-")[0]
        for harm in (faults.truncate, faults.flip):
            for begins, begin in (("starts", scene.fresh), ("resumes", scene.unfinished)):
                what = f"{program}: {harm(file, rng)}, a run {begins}"
                yield scene.attempt(what, begin(), lambda error: None)
                shutil.copytree(intact, cache, dirs_exist_ok=True)


def file_times(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """Times of all files of workdir, data set and compilation cache."""
    cache = Path(scene.site.environment["JAX_COMPILATION_CACHE_DIR"])
    for i in range(number):
        workdir, future = scene.unfinished(), i % 2 == 1
        for folder in (workdir, scene.folder / "data", cache):
            set_times(folder, rng, future=future)
        where = "in the future" if future else "shuffled"
        yield scene.attempt(where, workdir, lambda error: None)


def set_times(folder: Path, rng: random.Random, *, future: bool) -> None:
    """Of all that is in it: within ten years of now, or all ten years ahead."""
    for path in folder.rglob("*"):
        at = time.time() + (YEARS if future else rng.uniform(-YEARS, YEARS))
        os.utime(path, (at, at))


def clock(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """`time.time` runs backwards; killed, and resumed at an earlier time than that it began at."""
    for _ in range(number):
        workdir = scene.unfinished()
        name = rng.choice(("after a step", "checkpoint being written"))
        process = scene.site.start(workdir, **backwards(0.0))
        reached = scene.reached(process, name, workdir, rng)
        if reached:
            process.send(signal.SIGKILL)
        if process.end().status == 0:  # done before: nothing was injected
            continue
        ended = scene.site.finish(workdir, **backwards(-rng.uniform(1, YEARS)))
        yield scene.judged(name, workdir, ended)


def backwards(offset: float) -> dict[str, str]:
    """What makes a process's `time.time` run backwards, from so many seconds after now."""
    return {"PYTHONPATH": f"{CLOCK}:{ROOT}", "CLOCK_OFFSET": str(offset)}
