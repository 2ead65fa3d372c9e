"""Runs as users start and lose them: killed, stopped, damaged, on a full disk."""

import contextlib
import json
import random
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ifgan_jax.checkpoint import write_manifest
from ifgan_jax.predict import Predictor
from ifgan_jax.train import train
from scripts.campaigns.faults import enlarge, files, flip
from scripts.campaigns.process import Ended, rows
from tests import runs, tiny_config


def kill_when(workdir: Path, condition: Callable[[], bool], number: int) -> Ended:
    """Start the run, send a signal as soon as `condition` holds."""
    process = runs.start("train", "--config=tests/tiny_config.py", f"--workdir={workdir}")
    assert process.wait_for(condition), process.end().output
    process.send(number)
    return process.end()


def test_stopped_killed_and_damaged_it_ends_as_if_never_touched(finished: Path, tmp_path: Path):
    """All three networks; at other moments test_crashes kills E alone, which starts sooner.

    The first of the three begins from nothing, as `finished` did: the same commands give the same
    bytes, every number of every step, each answer on the test part, and the checkpoints' arrays.
    """
    workdir = tmp_path / "run"
    status, output = kill_when(workdir, lambda: rows(workdir) >= 8, signal.SIGTERM)
    assert status == 0, output
    assert "SIGTERM: saved at step" in output
    step = runs.last_state(workdir)[1]["step"]
    assert 8 <= step < 18
    assert rows(workdir) == step  # within an epoch, and nothing lost

    folder = workdir / "checkpoints"

    def saving() -> bool:
        return any("tmp" in path.name for path in folder.iterdir())

    status, output = kill_when(workdir, saving, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert f"resuming at step {step}" in output

    before, newest = sorted(path.parent for path in folder.glob("*/manifest.json"))[-2:]
    flip(max(files(newest / "state"), key=lambda path: path.stat().st_size), random.Random(0))
    status, output = runs.train(workdir)
    assert status == 0, output
    assert "is damaged; trying the one before" in output
    assert f"resuming at step {int(before.name)}" in output
    for name in ("metrics.jsonl", "metrics.json", "predictions.csv", "folds.json"):
        assert (workdir / name).read_bytes() == (finished / name).read_bytes(), name
    runs.assert_same_run(workdir, finished)


def copy(workdir: Path, tmp_path: Path) -> Path:
    """A finished run to be changed."""
    return Path(shutil.copytree(workdir, tmp_path / "copy"))


def test_other_config_is_refused_and_more_epochs_are_not(finished: Path, tmp_path: Path):
    workdir = copy(finished, tmp_path)
    status, output = runs.train(workdir, "--config.seed=1", "--config.loss.l1_weight=3.0")
    assert status == 1
    assert "loss.l1_weight" in output
    assert "seed: 0 there, 1 now" in output
    status, output = runs.train(workdir, "--config.epochs=4", "--config.checkpoint_every_epochs=2")
    assert status == 0, output
    assert "epochs extended from 3 to 4" in output
    assert rows(workdir) == 24
    assert json.loads((workdir / "config.json").read_text())["epochs"] == 4


def test_damaged_best_checkpoint_is_not_passed_off(finished: Path, tmp_path: Path):
    """Evaluation tests the last checkpoint in its place, and claims no validation accuracy."""
    workdir = copy(finished, tmp_path)
    before, last = sorted((workdir / "checkpoints").iterdir())[-2:]
    progress = json.loads((last / "metadata" / "metadata").read_text())
    progress["best_step"] = int(before.name)
    (last / "metadata" / "metadata").write_text(json.dumps(progress))
    (last / "manifest.json").unlink()
    write_manifest(last)
    status, output = runs.finish("evaluate", f"--workdir={workdir}")
    assert status == 0, output
    assert json.loads((workdir / "metrics.json").read_text())["selected_step"] == int(before.name)
    assert int(Predictor.load(workdir).state.step) == int(before.name)
    answers = [(run / "predictions.csv").read_bytes() for run in (workdir, finished)]
    assert answers[0] != answers[1]
    flip(max(files(before / "state"), key=lambda path: path.stat().st_size), random.Random(0))
    status, output = runs.finish("evaluate", f"--workdir={workdir}")
    assert status == 0, output
    results = json.loads((workdir / "metrics.json").read_text())
    assert results["selected_step"] == results["last_step"] == int(last.name)
    assert results["validation_accuracy"] is None
    assert "is damaged; taking the last one in its place" in output


def test_not_a_number_stops_the_run_and_names_term_and_step(tmp_path: Path):
    """E alone, which compiles in a third of the time; test_numerical_trouble.py has all three."""
    workdir = tmp_path / "diverged"
    rate = "--config.optimizers.classifier.learning_rate=1e38"
    status, output = runs.train(workdir, *runs.BASELINE, rate)
    assert status == 1
    assert "train/classifier/" in output
    assert "at step" in output
    assert "Traceback" not in output
    assert not list((workdir / "checkpoints").glob("*/manifest.json"))


def test_full_disk_at_a_checkpoint(small_disk: Path):
    """The error names the file and the remedy; with room made, the same command goes on.

    Of E alone, which compiles in a third of the time; all three players meet full disks in
    `scripts/campaign.py crashes --faults=disk`.
    """
    filler = small_disk / "filler"
    workdir = small_disk / "run"

    def fill() -> bool:
        """Once the first checkpoint is whole, take all the room that is left."""
        if not list((workdir / "checkpoints").glob("*/manifest.json")):
            return False
        with contextlib.suppress(OSError):  # the run takes some of it meanwhile
            filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
        return True

    flags = ("--config=tests/tiny_config.py", f"--workdir={workdir}", *runs.BASELINE)
    process = runs.start("train", *flags)
    process.wait_for(fill)
    status, output = process.end()
    assert status == 1, output
    assert "could not be written" in output
    assert "start the same command again" in output
    filler.unlink()
    enlarge(small_disk, 64)
    status, output = runs.train(workdir, *runs.BASELINE)
    assert status == 0, output
    assert "resuming at step" in output


BAD_INPUT = [
    ({"batch_size": 17}, "batch_size 17 .* 16 and 24"),
    ({"batch_size": 128}, "larger than the training part"),
    ({"seed": -1}, "seed -1: must be from 0 to 4294967295"),
    ({"data.crop": 0}, r"data\.crop 0: must be"),
    ({"data.name": "fake_faces/a"}, "fake_faces/a: write fake_faces/SIZE_SUBJECTS"),
    ({"epochs": 0}, "epochs 0: must be at least 1"),
    ({"optimizers.generator.decay_every_epochs": 0}, "decay_every_epochs 0: must be at least 1"),
    ({"seed": 10**20}, "seed 100000000000000000000: must be from 0 to 4294967295"),
    ({"classifier.width": 0}, r"classifier\.width 0: must be at least 1"),
    ({"generator.widths": (0, 8, 8, 8)}, r"generator\.widths 0: must be at least 1"),
    ({"generator.output_noise": -1.0}, r"generator\.output_noise -1\.0: must be at least 0"),
    ({"centre_deviation": 0.0}, r"centre_deviation 0\.0: must be at least 0\.001"),
    ({"loss.l1_weight": -5.0}, r"loss\.l1_weight -5\.0: must be at least 0"),
    ({"loss.l1_weight": float("nan")}, r"loss\.l1_weight nan: must be from 0 to 1000"),
    (
        {"optimizers.classifier.beta1": 1.0},
        r"optimizers\.classifier\.beta1 1\.0: must be from 0 to",
    ),
    (
        {"optimizers.generator.learning_rate": float("inf")},
        "learning_rate inf: must be from 0 to 1000",
    ),
    ({"data.name": "fake_faces/36_0"}, "fake_faces/36_0: write fake_faces/SIZE_SUBJECTS"),
    ({"data.num_classes": 8}, r"data\.num_classes 8: choose one of 2, 3"),
    ({"classifier.inputs": "source"}, "would not look at the generated face"),
    ({"data.crop": 28}, "28×28 px.*divisible by 8"),
    ({"data.crop": 40}, r"data\.crop 40 is larger than data\.image_size 36"),
    ({"data.name": "bu3dfe"}, "bu3dfe.*must be asked for from their owners"),
    ({"data.name": "synthetic_faces/73"}, "no config '73'"),
    ({"data.image_size": 40}, r"36×36×1, the config says data\.image_size 40"),
    ({"data.fold": 10}, "fold=10 is out of range"),
    ({"method": "gan"}, "method 'gan': choose one of ifgan, baseline"),
    ({"method": "baseline"}, r"set classifier\.inputs to 'source'"),
    ({"dtype": "float64"}, "dtype 'float64': choose one of float32, bfloat16"),
    ({"classifier.depth": 20}, r"classifier\.depth 20: choose one of 10, 18, 34"),
    ({"classifier.inputs": "both"}, r"classifier\.inputs 'both'"),
    ({"classifier.pretrained": "no/such"}, "no weights at no/such"),
    ({"generator.attention_reduction": 16}, "leaves no channel of the 8"),
    ({"loss.island_reduction": "max"}, r"loss\.island_reduction 'max'"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_INPUT, ids=[m for _, m in BAD_INPUT])
def test_bad_input(changes: dict, message: str, tmp_path: Path):
    """An error that names the key, before any work; the folder stays free for the right command."""
    config = tiny_config.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        train(config, tmp_path / "run")
    assert re.search(message, str(error.value)), error.value
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_workdir_below_a_file(tmp_path: Path):
    (tmp_path / "file").touch()
    status, output = runs.train(tmp_path / "file" / "run")
    assert status == 1
    assert "cannot be written" in output
    assert "Traceback" not in output


def test_unknown_flag_is_refused(tmp_path: Path):
    status, output = runs.train(tmp_path / "run", "--config.no_such_key=1")
    assert status == 1
    assert "no such config key: " in output
    assert "no_such_key" in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()
