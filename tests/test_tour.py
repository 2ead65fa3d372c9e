"""scripts/tour.py on a run of its own: its figures are the run's, and the edit reaches G alone."""

import json
import re
from pathlib import Path

import pytest

from tests import runs


def numbers(told: str, pattern: str) -> list[float]:
    """What a line of the tour says behind its words."""
    (line,) = re.findall(rf"^ *{pattern} +(.*)$", told, re.M)
    return [float(part) for part in line.split(" → ")]


def test_the_tour_tells_what_the_run_is(finished: Path, tmp_path: Path):
    output = tmp_path / "tour"
    status, told = runs.finish("tour", f"--workdir={finished}", f"--output={output}")
    assert status == 0, told
    found = json.loads((finished / "metrics.json").read_text())
    assert f"of unseen people: {found['test_accuracy']:.4f}" in told
    assert f"to the right average: {found['transfer_accuracy']:.4f}" in told
    assert f"that remains: {found['identity_variance']:.4f}" in told
    pictures = sorted(path.name for path in output.iterdir())
    assert pictures == ["attention.png", "confusion.png", "face.png"]
    sums = [float(text) for text in re.findall(r"the map sums to (\S+),", told)]
    assert sums == pytest.approx([1, 1, 1], abs=2e-3)

    _, edit = told.split("λ2 from 1000 to 100")
    before, after = numbers(edit, "at the face, l1_gradient")
    assert after == pytest.approx(before / 10, rel=1e-3)
    for same in ("of the discriminator", "of the classifier", "at the face, adversarial_gradient"):
        before, after = numbers(edit, same)
        assert before == after, same
    before, after = numbers(edit, "of the generator")
    assert after < before


def test_a_folder_without_a_run_is_told(tmp_path: Path):
    status, told = runs.finish("tour", f"--workdir={tmp_path}", f"--output={tmp_path / 'tour'}")
    assert status == 1
    assert told.strip().splitlines()[-1].startswith("error: ")


def test_an_unknown_flag_is_told(tmp_path: Path):
    status, told = runs.finish("tour", f"--workdir={tmp_path}", "--outptu=x")
    assert (status, "unknown: --outptu=x" in told) == (2, True)
