"""Runs that are hit, by the functions of scripts/campaign.py, which does it hundreds of times.

E alone is trained here: it starts in a third of the time (test_resume kills all three networks).
"""

import dataclasses
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from absl.testing import flagsaver

from ifgan_jax.checkpoint import folder_of
from scripts.benchmarks.system import status_bytes
from scripts.campaigns import crashes, damage, document, faults, kills, long_run, process
from scripts.campaigns.faults import Outcome, Scene
from scripts.campaigns.judge import whole_steps
from tests import runs
from tests.forked import Forked

FLAGS = (
    "--config=tests/tiny_config.py",
    *runs.BASELINE,
    "--config.epochs=6",
    "--config.batch_size=32",  # 3 steps an epoch
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    site = process.Site(FLAGS, runs.environment(), Forked)
    return faults.stage(site, tmp_path_factory.mktemp("crashes") / "reference", most=0)


def test_ten_kills_lose_nothing(scene: Scene):
    rng = random.Random(0)
    hits = list(kills.kills(scene, rng, 8))
    assert {hit.where for hit in hits} >= {"checkpoint being written", "epoch change"}
    assert [hit for hit in hits if hit.lost or hit.error] == []
    at_once, workdir = dataclasses.replace(scene, life=0.0), scene.unfinished()
    for script in ("train", "evaluate"):
        moment = "results being written"
        assert kills.hit(at_once, workdir, script, moment, rng, signal.SIGKILL) == (True, [])
    assert scene.judged("", workdir, scene.site.finish(workdir)).lost == []


def test_a_read_only_workdir_is_told(scene: Scene):
    workdir = scene.unfinished()
    try:
        with faults.read_only(workdir):
            refused = scene.site.finish(workdir)
    except faults.NotRunError as error:
        pytest.skip(str(error))
    assert refused.error() == "workdir cannot be written"


def test_an_odd_clock_odd_times_and_a_second_run(scene: Scene):
    """Faults that leave a run as it is: without effect, or refused with a line."""
    workdir = scene.unfinished()
    damage.set_times(workdir, random.Random(0), future=True)
    first = scene.site.start(workdir, **damage.backwards(-damage.YEARS))
    moment = process.MOMENTS["as it takes the workdir"](workdir, 0, 3, random.Random(0))
    assert first.wait_for(moment)
    first.send(signal.SIGSTOP)  # or it might be done before the second one begins
    second, test = scene.site.finish(workdir), scene.site.finish(workdir, "evaluate")
    first.send(signal.SIGCONT)
    assert second.error() == test.error() == "workdir in use by another process"
    assert scene.judged("", workdir, first.end()).lost == []


def test_the_judge_sees_what_is_lost(scene: Scene):
    last = scene.last_step
    workdir = scene.finished()
    assert scene.judge.losses(workdir, last) == []
    assert scene.judge.differences(workdir) == []
    (workdir / "predictions.csv").write_text("other")
    (workdir / "metrics.jsonl").write_text("")
    lacking = {"metrics.jsonl", "metrics.jsonl: not one row a step", "predictions.csv"}
    assert set(scene.judge.differences(workdir)) == lacking
    data = max(faults.files(folder_of(workdir / "checkpoints", last) / "state"), key=size)
    assert "flipped" in faults.flip(data, random.Random(0))
    (lost,) = scene.judge.losses(workdir, last)[:1]
    assert lost == f"{last} was saved, {whole_steps(workdir)[-2]} is restored"
    assert any("state" in name for name in scene.judge.differences(workdir))


def test_a_run_that_hangs_is_not_taken_for_killed(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process, "LIMIT", 0.0)
    rng = random.Random(0)
    hit, lost = kills.hit(scene, scene.fresh(), "train", "after a step", rng, signal.SIGKILL)
    assert (hit, lost) == (False, ["unclear: exit status 124, no word"])


def size(path: Path) -> int:
    return path.stat().st_size


def test_an_error_without_a_remedy_is_unclear():
    def kind(output: str, status: int = 1) -> str:
        return process.Ended(status, output).error()

    told = "error: a cannot be written ([Errno 30] Read-only file system): choose another folder"
    assert kind(told) == "workdir cannot be written"
    assert kind(f"Traceback\n{told}").startswith("unclear: error: a")
    assert kind("error: a cannot be written: [Errno 30]").startswith("unclear")
    assert kind(told, -signal.SIGSEGV).startswith("unclear")
    assert kind("error: [Errno 28] No space left on device").startswith("unclear: error: [")
    folds = (
        "error: a/folds_10.json is damaged (Expecting value): restore the fold file, or remove it"
    )
    assert kind(folds) == "fold file damaged"


def test_outcomes_are_counted_and_shown():
    """Lost is lost whatever the error, an unclear error no refusal; a fault may be impossible."""
    lost = Outcome("a", "", ["step 3"])
    told = [Outcome("a", "cut", []), Outcome("a", "cut", []), Outcome("b", "unclear: x", [])]
    survived = Outcome("b", "", [])

    def inject(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
        assert number == 7
        yield from (lost, *told, survived)
        raise faults.NotRunError("no mount")

    fault = crashes.Fault(inject, "SIGKILL")
    share = crashes.injected(fault, cast(Scene, None), random.Random(0), 7)
    found = crashes.counted(fault, [share])
    assert crashes.counted(fault, [share, share])["injected"] == 10
    counts = {key: found[key] for key in ("injected", "survived", "refused", "unclear", "lost")}
    assert counts == {"injected": 5, "survived": 1, "refused": 2, "unclear": 1, "lost": 1}
    assert found["errors"] == {"cut": 2, "unclear: x": 1}
    first, moments = crashes.tables({"seed": 0, "faults": {"kill": found}})
    assert first.rows == (("SIGKILL", "5", "1", "2", "1", "1", "not run: no mount"),)
    assert moments.rows == (("a", "3", "1"), ("b", "2", "0"))


def test_what_came_of_a_fault_is_kept_whatever_the_next_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Hours of injections: the file is there after each fault, and what no code expects is lost."""
    path, survived = tmp_path / "crashes.json", Outcome("a", "", [])
    found: list[dict] = []

    def good(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
        yield from (survived,) * 3

    def bad(scene: Scene, rng: random.Random, number: int) -> Iterator[Outcome]:
        found.append(json.loads(path.read_text())["faults"])
        yield survived
        raise ValueError("metrics.jsonl: line 3 is damaged")

    made = {"good": crashes.Fault(good, "good"), "bad": crashes.Fault(bad, "bad")}
    monkeypatch.setattr(crashes, "FAULTS", made)
    monkeypatch.setattr(crashes, "scene", lambda *_: None)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    with (
        flagsaver.flagsaver(faults=list(made), output=str(path)),
        pytest.raises(ValueError, match="1 injections lost something"),
    ):
        crashes.main()
    assert (found[0]["good"]["survived"], found[0]["bad"]["injected"]) == (3, 0)
    (one,) = (x for x in json.loads(path.read_text())["faults"]["bad"]["injections"] if x["lost"])
    assert one == {
        "where": "not judged",
        "error": "",
        "lost": ["ValueError('metrics.jsonl: line 3 is damaged')"],
    }


def test_kills_are_shared_out():
    assert crashes.shares("kill", 7, 2) == [("kill", 0, 4), ("kill", 1, 3)]
    assert crashes.shares("kill", 1, 2) == [("kill", 0, 1)]
    assert crashes.shares("disk", 7, 2) == [("disk", 0, 7)]


def test_a_long_run_is_watched():
    """The slopes of the memory after the warm-up, and what is compiled when."""
    watch = long_run.Watch()
    for _ in range(100):
        watch.logged()
    assert [reading.step for reading in watch.memory] == list(range(5, 101, 5))
    assert 50 < watch.memory[0].resident == pytest.approx(status_bytes("VmRSS") / 2**20, rel=0.2)
    watch.step = 50
    jax.jit(lambda x: 3 * x)(jnp.ones(7)).block_until_ready()
    assert watch.compiled[-1][0] == 50
    watch.step, watch.compiled = 100, [(9, "a"), (10, "b"), (11, "late"), (100, "test")]
    watch.memory = [
        long_run.Reading(step, 500.0 * (step <= 20) + 0.02 * step, 0.03 * step)
        for step in range(5, 101, 5)
    ]
    found = long_run.measured(watch, epoch=10, seconds=1.0)
    assert found["growth_mib"] == pytest.approx({"resident": 20.0, "in_use": 30.0})
    assert (found["compiled_first"], found["compiled_later"]) == (2, ["late"])
    names = ("warm_mib", "highest_mib", "last_mib")
    assert [found[name] for name in names] == pytest.approx([500.4, 2, 2])
    rows = dict(long_run.tables(found)[0].rows)
    assert rows["growth of memory in use for 1000 steps, by least squares"] == "+30.00 MiB"


def test_what_a_long_run_keeps_is_seen_as_in_use():
    """Arrays and small objects, and no longer once they are given back."""
    program = (
        "import numpy as np; from scripts.campaigns.long_run import Reading; a = Reading.now(0);"
        "kept = [np.ones(2**21), [object() for _ in range(2**18)]]; b = Reading.now(1);"
        "kept.clear(); c = Reading.now(2); print(b.in_use - a.in_use, c.in_use - a.in_use)"
    )
    command = [sys.executable, "-c", program]
    environment = {**runs.environment(), "PYTHONMALLOC": "malloc"}
    said = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    during, after = map(float, said.split())
    assert during == pytest.approx(16 + 2 + 8, abs=3)  # MiB: an object and its entry take 40 bytes
    assert after == pytest.approx(0, abs=2)


def test_a_long_run_that_cannot_count_pythons_objects_does_not_begin(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("PYTHONMALLOC", raising=False)
    with pytest.raises(ValueError, match="PYTHONMALLOC: set it to malloc"):
        long_run.main()


def test_the_clock_runs_backwards(tmp_path: Path):
    """In a process that is started so; its wait of 0.1 s is 0.1 s before its start."""
    program = tmp_path / "program.py"
    program.write_text("import time; a = time.time(); time.sleep(0.1); print(time.time() - a, a)")
    environment = {**runs.environment(), **damage.backwards(-1e8)}
    command = [sys.executable, str(program)]
    output = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    passed, start = map(float, output.split())
    assert passed < -0.09
    assert start == pytest.approx(time.time() - 1e8, abs=100)


def test_the_page_shows_the_committed_results(tmp_path: Path):
    page = Path("docs/reliability.md")
    assert document.page(page) == page.read_text()
    (tmp_path / "page.md").write_text(page.read_text().replace("<!-- end of fuzz -->", ""))
    with pytest.raises(ValueError, match=r"page\.md: <!-- fuzz --> and .* are expected"):
        document.page(tmp_path / "page.md")


def test_the_page_shows_all_kinds_of_results(tmp_path: Path):
    page, folder = tmp_path / "page.md", tmp_path / "page"
    marks = "".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in document.TABLES)
    page.write_text(f"before\n{marks}after\n")
    assert document.page(page).count("Not run yet.") == len(document.TABLES)
    folder.mkdir()
    target = {"tries": 9, "accepted": 4, "errors": {"cut": 3, "empty": 2}, "peak_mib": 1.5}
    target |= {"failures": ["try 2: …"], "commit": "of then"}
    content = {"command": "c", "date": "d", "commit": "e", "versions": {"jax": "1"}}
    (folder / "fuzz.json").write_text(json.dumps(content | {"targets": {"config": target}}))
    made = document.page(page)
    assert "| config | 9 | 4 | 5 | 1 | 2 MiB | cut: 3; empty: 2 | of then |" in made
    assert "`c` · d · jax 1 · commit e" in made
    page.write_text(made)
    assert document.page(page) == made
    assert made.startswith("before\n")
    assert made.endswith("after\n")
