"""Sides in processes of their own: whose turn it is, and what becomes of one that fails."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmarks import system
from scripts.benchmarks.timing import WARM_UP, Side, Timed, alternate, spread


def noted(name: str, log: Path, seconds: float = 0.0) -> Timed:
    """A side that writes its name at each step, and "|" where those that count begin."""

    def write(text: str) -> None:
        with log.open("a") as stream:
            stream.write(text)

    def run() -> None:
        write(name)
        time.sleep(seconds)

    facts = {"name": name}
    return Timed(run, facts, lambda seconds: {"seconds": seconds}, begin=lambda: write("|"))


def raising(when: str) -> Timed:
    """A side that fails while it is built, at its third step, or at the end."""
    steps = 0

    def run() -> None:
        nonlocal steps
        steps += 1
        if when == "step" and steps == WARM_UP + 1:
            raise MemoryError("no room\nfor this")
        if when == "death" and steps == WARM_UP + 1:
            os._exit(7)
        if when == "sleep" and steps == WARM_UP + 1:
            time.sleep(60)

    def finish(_: float) -> dict[str, str]:
        raise OSError("at the end")

    if when == "build":
        raise ValueError("cannot be built")
    return Timed(run, {}, finish)


def test_sides_take_turns_in_reverse_every_other_round(tmp_path: Path):
    log = tmp_path / "log"
    sides = {name: Side(noted, (name, log), beside="a") for name in "abc"}
    found = alternate(sides, rounds=3, seconds=0.0, limit=30)
    warm = "".join(WARM_UP * name for name in "abc")
    assert log.read_text() == warm + "a|ab|bc|c" + "c|cb|ba|a" + "a|ab|bc|c"
    for name, side in found.items():
        assert len(side.times) == 3
        assert side.facts == {"name": name, "seconds": 0.0}
        assert not side.failed


def test_a_turn_holds_as_many_steps_as_fit(tmp_path: Path):
    log = tmp_path / "log"
    side = Side(noted, ("a", log, 0.05), beside="a")
    (found,) = alternate({"a": side}, rounds=2, seconds=0.2, limit=30).values()
    assert 2 * 3 <= len(found.times) <= 2 * 4  # of 0.05 s and a little more
    assert log.read_text().count("a") == WARM_UP + 2 + len(found.times)  # 2: one of each turn
    assert min(found.times) > 0.05
    assert found.first_run > 0.05


def test_all_take_as_many_steps_as_the_fastest(tmp_path: Path):
    """Else chance would weigh more with the slower."""
    sides = {
        name: Side(noted, (name, tmp_path / name, seconds), beside="slow")
        for name, seconds in (("slow", 0.2), ("fast", 0.05))
    }
    found = alternate(sides, rounds=1, seconds=0.2, limit=30)
    assert 3 <= len(found["slow"].times) == len(found["fast"].times) <= 4


def test_failures_are_told_and_the_others_go_on(tmp_path: Path):
    log = tmp_path / "log"
    failing = ("build", "step", "death", "sleep", "finish")
    sides = {name: Side(raising, (name,), beside="good") for name in failing}
    sides["good"] = Side(noted, ("a", log), beside="good")
    started = time.monotonic()
    found = alternate(sides, rounds=2, seconds=0.0, limit=10)
    assert time.monotonic() - started < 50
    assert {name: side.failed for name, side in found.items()} == {
        "build": "ValueError: cannot be built",
        "step": "MemoryError: no room",
        "death": "its process ended with status 7",
        "sleep": "not done after 10 s",
        "finish": "OSError: at the end",
        "good": "",
    }
    assert len(found["good"].times) == 2


def test_spread_is_of_all_times():
    found = spread([1.0, 2.0, 3.0, 4.0, 10.0])
    assert found == {
        "median_s": 3.0,
        "quartile_1_s": 2.0,
        "quartile_3_s": 4.0,
        "smallest_s": 1.0,
        "steps": 5,
    }


@pytest.mark.skipif(not system.STATUS.exists(), reason="reads /proc")
def test_peak_memory_is_forgotten_and_found_again():
    block = np.ones(64 * 2**20, np.uint8)
    del block
    system.forget_peak()
    before = system.peak_memory()
    block = np.ones(128 * 2**20, np.uint8)
    after = system.peak_memory()
    assert 0.9 * block.nbytes < after - before < 1.5 * block.nbytes


@pytest.mark.skipif(not system.STAT.exists(), reason="reads /proc")
def test_others_share_leaves_out_our_own_work(monkeypatch: pytest.MonkeyPatch):
    """Ten seconds on four cores: all processes worked 12 s, this one 8 s of them."""
    marks = iter([(5.0, 1.0, 100.0), (15.0, 9.0, 112.0)])
    monkeypatch.setattr(system.OthersWork, "_now", lambda self: next(marks))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert system.OthersWork().share() == pytest.approx(4 / 40)
    monkeypatch.undo()
    _, own, busy = system.OthersWork()._now()
    assert 0 < own < busy


@pytest.mark.parametrize(
    ("information", "name"),
    [
        (
            "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n",
            "AMD EPYC, family 26, model 2",
        ),
        ("model name\t: Cortex\n", "Cortex"),
    ],
)
def test_processors_of_one_name_are_told_apart(
    information: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "read_text", lambda path: information)
    assert system.processor() == name
