"""Runs that are killed again and again, or told to stop, and have to end as if never touched."""

import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from scripts.campaigns.faults import Outcome, Scene
from scripts.campaigns.judge import whole_steps
from scripts.campaigns.process import MOMENTS

AT_THE_END = {
    "train": ("any time of its life", "as it takes the workdir", "results being written"),
    "evaluate": ("any time of its life", "results being written"),
}
IN_TRAINING = tuple(name for name in MOMENTS if name != "results being written")
TESTS_KILLED = 6  # times that a run is hit after its training, before it is let go


def kills(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """SIGKILL, `number` times in all: a run is hit until it is done, then comes the next one."""
    yield from _hits(scene, rng, number, signal.SIGKILL)


def stops(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
    """SIGTERM, likewise: saves and exits with 0 while it trains, else ends as by a kill."""
    yield from _hits(scene, rng, number, signal.SIGTERM)


def _hits(
    scene: Scene, rng: random.Random, number: int, which: signal.Signals
) -> Iterator[Outcome]:
    while number > 0:
        hits = chain(scene, rng, number, which)
        number -= len(hits)
        yield from hits


def chain(scene: Scene, rng: random.Random, most: int, which: signal.Signals) -> list[Outcome]:
    """One run, hit at most so often and let go at last.

    What is wrong with it at the end is put down to its last hit.
    """
    workdir, hits, tested = scene.fresh(), list[Outcome](), 0
    while len(hits) < most and tested < TESTS_KILLED:
        trained = scene.last_step in whole_steps(workdir)
        tested += trained
        script = rng.choice(tuple(AT_THE_END)) if trained else "train"
        name = rng.choice(AT_THE_END[script] if trained else IN_TRAINING)
        was_hit, lost = hit(scene, workdir, script, name, rng, which)
        if was_hit or lost:
            hits.append(Outcome(of_script(script, name), "", lost))
    of_end = scene.judged("", workdir, scene.site.finish(workdir)).lost
    if not hits:
        return [Outcome("never hit", "", of_end)] if of_end else []
    return [*hits[:-1], hits[-1]._replace(lost=[*hits[-1].lost, *of_end])]


def of_script(script: str, moment: str) -> str:
    """A moment as tables call it."""
    return moment if script == "train" else f"{script}.py: {moment}"


def hit(
    scene: Scene,
    workdir: Path,
    script: str,
    name: str,
    rng: random.Random,
    which: signal.Signals,
) -> tuple[bool, list[str]]:
    """Start a script and send it a signal at a moment; whether that ended it, and what it lost."""
    before = max(whole_steps(workdir), default=0)
    process = scene.site.start(workdir, script)
    if reached := scene.reached(process, name, workdir, rng):
        seen = max(whole_steps(workdir), default=0)
        process.send(which)
    ended = process.end()
    lost = scene.judge.losses(workdir, max(before, seen if reached else 0))
    resumed = re.search(r"resuming at step (\d+)", ended.output)
    if resumed and int(resumed[1]) < before:
        lost.append(f"step {before} was saved, it resumed at {resumed[1]}")
    stopped = re.search(r"SIGTERM: saved at step (\d+)", ended.output)
    if stopped and int(stopped[1]) != max(whole_steps(workdir)):
        lost.append(f"{stopped[0]}, which is not there")
    if ended.status not in (0, -which):
        lost.append(ended.error())
    return ended.status == -which or stopped is not None, lost
