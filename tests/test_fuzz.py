"""Bad input, a fixed list of tries (scripts/campaign.py fuzz makes a million); what counts it."""

import ctypes
import importlib
import importlib.util
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.benchmarks.system import forget_peak
from scripts.campaigns import fuzz, tries
from scripts.campaigns.tries import Attempt, Target, Trial
from tests import watched

SEEDS = (1, 2)  # the campaign's is 0
TARGETS = fuzz.all_targets()
SLOW = 25  # tries of what takes 0.1 s and more; the others: 150
MADE_ANEW = ("detections", "hashes")
NEEDS = {"torch_files": "torch", "safetensors": "safetensors", "videos": "av"}


@pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy's, of arithmetic on what is bad
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow and PyTorch, about what is odd
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections' way
@pytest.mark.parametrize("name", TARGETS)
def test_bad_input_is_read_or_ends_in_a_clear_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if name in NEEDS and not importlib.util.find_spec(NEEDS[name]):
        pytest.skip(f"needs {NEEDS[name]}")
    total = tries.Tally()
    for seed in SEEDS:
        (folder := tmp_path / str(seed)).mkdir()
        monkeypatch.chdir(folder)  # what content makes in "." is then seen
        trial = Trial(TARGETS[name], seed, folder)
        total.add(trial.run(range(150 if TARGETS[name].tries > 10_000 else SLOW)))
    assert total.failures == []
    assert total.errors or name in MADE_ANEW
    assert total.accepted


def target(attempt: Callable[[Path], object], named: str = "file.txt") -> Target:
    def prepare(folder: Path) -> Attempt:
        return lambda rng: attempt(folder)

    return Target(prepare, (named,), 1)


def make_by_c(folder: Path) -> None:
    """As a library would that tells Python nothing."""
    ctypes.CDLL(None).mkdir(bytes(folder), 0o755)


def raise_(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("attempt", "failure"),
    [
        (lambda folder: raise_(KeyError("a")), r"KeyError\('a'\) at raise_"),
        (lambda folder: raise_(AssertionError("wrong answer")), "wrong answer"),
        (lambda folder: raise_(ValueError("bad")), r"unclear: ValueError\('bad'\)"),
        (lambda folder: make_by_c(folder.parent / "new"), "wrote or ran something: new"),
        (lambda folder: (folder.parent.parent / "touched").touch(), "open .*/touched"),
        (lambda folder: (folder.parent.parent / "made").mkdir(), "os.mkdir .*/made"),
        (lambda folder: subprocess.run(["true"], check=True), "subprocess.Popen .*true"),
        (lambda folder: pickle.loads(pickle.dumps(Path)), "pickle.find_class .*Path"),
        (lambda folder: socket.socket().connect_ex(("127.0.0.1", 9)), "socket.connect"),
        (lambda folder: bytearray(2**30 + 2**28).count(1), "MiB more"),
    ],
)
def test_what_is_no_clear_error_is_a_failure(
    attempt: Callable[[Path], object], failure: str, tmp_path: Path
):
    forget_peak()  # of the tests before
    tally = Trial(target(attempt), 0, tmp_path).run([7])
    assert len(tally.failures) == 1
    assert tally.failures[0].startswith("try 7: ")
    assert re.search(failure, tally.failures[0])


def test_a_module_that_is_first_imported_then_is_no_failure(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    elsewhere = tmp_path_factory.mktemp("library")
    (elsewhere / "imported_late.py").write_text("")
    monkeypatch.syspath_prepend(elsewhere)
    library = target(lambda folder: importlib.import_module("imported_late"))
    assert Trial(library, 0, tmp_path).run([0]).failures == []
    assert not sys.dont_write_bytecode


def test_errors_are_told_apart_by_their_shape(tmp_path: Path):
    errors = iter(ValueError(f"{tmp_path}/file.txt: line {n} of {word!r}")
                  for n, word in ((1, "a"), (23, "b")))  # fmt: skip
    tally = Trial(target(lambda folder: raise_(next(errors))), 0, tmp_path).run(range(2))
    assert tally.failures == []
    assert list(tally.errors.values()) == [2]


def test_a_try_that_dies_or_hangs_is_named_and_the_others_are_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tries, "SECONDS", 3.0)
    tally = tries.run_watched(Target(watched.moody, (), 8), 9, 0, 8)
    assert tally.failures == ["try 3: the process died, exit code 17", "try 5: hangs for 3 s"]
    assert tally.accepted == 6


def test_what_code_makes_where_it_stands_is_seen():
    tally = tries.run_watched(Target(watched.by_the_way, (), 1), 9, 0, 1)
    assert tally.failures == ["try 0: os.mkdir ran", "try 0: wrote or ran something: ran"]


def test_only_whole_work_of_the_same_code_is_not_done_again():
    wanted = {"seeds": [0], "first": 0, "tries": 9, "commit": "a"}
    found: dict = wanted | {"failures": []}
    assert fuzz._is_done(found, wanted)
    for other in ({"failures": ["try 1"]}, {"commit": "b"}, {"seeds": [1]}, {"tries": 8}):
        assert not fuzz._is_done(found | other, wanted)
    assert not fuzz._is_done(None, wanted)
    changed = {"commit": "a+"}
    assert not fuzz._is_done(found | changed, wanted | changed)


def test_a_try_that_the_limit_of_memory_ends_is_made_again_without(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tries, "SECONDS", 300.0)  # where memory is slow to come
    tally = tries.run_watched(Target(watched.hungry, ("file.txt",), 1), 9, 0, 1)
    (failure,) = tally.failures
    assert re.fullmatch(r"try 0: 307\d MiB more", failure)
    assert tally.peak_mib > 3000
