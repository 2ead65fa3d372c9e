"""A trained run asked from Python: the same answers as its evaluation, from any thread."""

import csv
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ifgan_jax.data.faces import Faces
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.predict import Predictor


@pytest.fixture(scope="module")
def trained(finished: Path) -> tuple[Predictor, Faces]:
    """A tiny run and the faces that it was tested on."""
    predictor = Predictor.load(str(finished))
    return predictor, load_run_parts(predictor.config).test


def test_it_says_what_evaluation_said(trained: tuple[Predictor, Faces]):
    predictor, test = trained
    said = predictor(test.images)
    with (predictor.workdir / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for name, column in zip(predictor.class_names, said.probabilities.T, strict=True):
        assert column == pytest.approx([float(row[name]) for row in rows], abs=2e-6)
    assert said.generated.shape == (len(test), 32, 32, 1)
    listed = predictor(list(test.images))
    np.testing.assert_array_equal(listed.probabilities, said.probabilities)
    assert said.probabilities.sum(-1) == pytest.approx(np.ones(len(test)), abs=1e-5)


def test_threads_ask_at_once_and_nothing_is_compiled_again(trained: tuple[Predictor, Faces]):
    """Their first questions, too, which compile."""
    asked, test = trained
    predictor = Predictor.load(asked.workdir)
    numbers = [1, 3, 8, 12, 5, 9, 2, 12]  # of faces: less than a batch, one, more than one
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: predictor(test.images[:n]).probabilities, numbers))
    alone = [asked(test.images[:n]).probabilities for n in numbers]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert predictor.compiled.eval_step._cache_size() == 1


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 32, 32, 1), np.uint8),
        np.zeros((2, 36, 36, 1), np.float32),
        np.zeros((2, 36, 36, 3), np.uint8),
        np.zeros((36, 36, 1), np.uint8),
        np.zeros((0, 36, 36, 1), np.uint8),
        [np.zeros((36, 36, 1), np.uint8), np.zeros((36, 37, 1), np.uint8)],
        [np.zeros((36, 36, 1), np.uint8), np.zeros((36, 36, 1), np.int64)],
    ],
)
def test_other_images_are_refused(
    images: np.ndarray | list[np.ndarray], trained: tuple[Predictor, Faces]
):
    with pytest.raises(ValueError, match=r"at least one face, uint8 of shape \(n, 36, 36, 1\)"):
        trained[0](images)


def test_a_run_of_a_machine_with_other_devices(trained: tuple[Predictor, Faces], tmp_path: Path):
    """16 of them, and batches that do not divide over the 8 that are here."""
    predictor, test = trained
    workdir = shutil.copytree(predictor.workdir, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["devices"], config["evaluation"]["batch_size"] = 16, 9
    (workdir / "config.json").write_text(json.dumps(config))
    said = Predictor.load(workdir)(test.images).probabilities
    assert said == pytest.approx(predictor(test.images).probabilities, abs=1e-5)


def test_a_folder_without_a_run_is_told(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        Predictor.load(tmp_path)


def test_another_config_than_the_runs_is_told(finished: Path, tmp_path: Path):
    """A config.json that somebody, or a disk, changed: nothing is computed with it."""
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["generator"]["output_noise"] = 9.0
    (workdir / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json is not what this run was trained with"):
        Predictor.load(workdir)
