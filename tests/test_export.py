"""The exported model in a process without this package: the same answers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifgan_jax import export
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.predict import Predictor
from ifgan_jax.workdir import read_folds
from scripts.campaigns import exported
from tests import runs, untrained

UNCHECKED = True  # as its users run it


def said_by_card(folder: Path, kind: str, images: str, told: str) -> str:
    """What the lines of a model's card give, run beside it in a process without this package.

    images, told: Python, of the images that are given and of what is printed of the answers.
    """
    card = (folder / f"model.{kind}.md").read_text()
    lines = card.partition("```python\n")[2].partition("```")[0]
    alone = "import sys\nsys.modules['ifgan_jax'] = None\nimport numpy"
    code = f"{alone}\nimages = {images}\n{lines}\nprint({told})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def test_exported_answers_are_the_runs(finished: Path, tmp_path: Path):
    output = tmp_path / "exported"
    status, told = runs.finish("export", f"--workdir={finished}", f"--output={output}")
    assert status == 0, told
    predictor = Predictor.load(finished)
    images = load_run_parts(predictor.config).test.images[:11]
    said = predictor(images)
    for found in exported.ask("stablehlo", output, {"images": images}, (1, 5, 11)).values():
        np.testing.assert_allclose(found["probabilities"], said.probabilities, atol=1e-6)
        np.testing.assert_allclose(found["generated"], said.generated, atol=1e-6)
    card = (output / "model.stablehlo.md").read_text()
    assert sorted(path.name for path in output.glob("model*")) == [
        "model.stablehlo",
        "model.stablehlo.md",
    ]
    apart = "abs(answers['probabilities'] - numpy.load('11.npz')['probabilities']).max()"
    assert float(said_by_card(output, "stablehlo", "numpy.load('given.npz')['images']", apart)) == 0
    assert "(n, 36, 36, 1)" in card
    assert "anger, disgust, fear, happiness, sadness, surprise" in card
    assert card.count("| 0.") + card.count("| 1.") == 6
    folds = read_folds(finished)
    assert ", fold 0 of 10, by" in card
    assert f"Trained on {len(folds['train'])} people" in card
    assert f"selected by validation accuracy on {len(folds['validation'])} people; " in card
    assert f"tested on {len(folds['test'])} people (" in card
    assert "- patterns: nobody" in card
    assert "aligned\nas 'similarity' of scripts/predict.py does." in card
    for word in ("an expression is not an emotion", "surveillance", "hiring"):
        assert word in card


@pytest.mark.parametrize(
    "changes", [untrained.IFGAN, untrained.BASELINE], ids=["ifgan", "baseline"]
)
def test_weights_inside_are_rounded_as_the_run_s(changes: dict[str, Any], tmp_path: Path):
    """Normalised by statistics, as after training, where constants could be folded. In one batch:
    in others XLA sums in another order.
    """
    changes = {**changes, "evaluation.batch_size": 11}
    untrained.write_model("stablehlo", changes, tmp_path / "model.stablehlo")
    images = np.random.default_rng(1).integers(0, 256, (11, 36, 36, 1)).astype(np.uint8)
    found = exported.ask("stablehlo", tmp_path, {"images": images}, (11,))[11]
    said = untrained.predictor(changes)(images)
    np.testing.assert_allclose(found["generated"], said.generated, atol=1e-6)
    np.testing.assert_allclose(found["probabilities"], said.probabilities, atol=1e-6)


def test_a_card_of_people_without_names_and_a_class_without_images(finished: Path):
    predictor = Predictor.load(finished)
    predictor.config.data.name, predictor.config.data.additional = "raf_db/72_given", ("theirs",)
    metrics = json.loads((finished / "metrics.json").read_text())
    metrics["per_class_recall"]["fear"] = None
    nobody = {"train": [""], "validation": [""], "test": [""]}
    card = export.model_card(predictor, metrics, nobody, "stablehlo")
    assert "Trained on people who are not named; selected by validation accuracy on" in card
    assert "on people who are not named; tested on people who are not named (" in card
    assert ", its owner's parts, by" in card
    assert " fold " not in card
    assert "aligned\nas their owner aligned them." in card
    assert "| fear | no images |" in card
    assert "Generated faces are averages" in card
    predictor.config.method = "baseline"
    baselines = export.model_card(predictor, metrics, nobody, "stablehlo")
    assert "Generated faces are averages" not in baselines
    assert "- RAF-DB: pictures of the internet" in card
    assert "- theirs: its owner has to tell" in card


def test_a_card_of_people_with_and_without_names_and_of_the_last_checkpoint(finished: Path):
    """The paper's own training data, RAF-DB among it; no part that could validate."""
    predictor = Predictor.load(finished)
    metrics = json.loads((finished / "metrics.json").read_text()) | {"validation_accuracy": None}
    folds = {"train": ["S1", "", "S2", "", "S1"], "validation": [], "test": ["S3"]}
    card = export.model_card(predictor, metrics, folds, "stablehlo")
    assert (
        "Trained on 2 people and people who are not named; the last checkpoint, as none was "
        "selected; tested on 1 people (" in card
    )


def test_results_of_another_checkpoint_are_no_model_s(finished: Path, tmp_path: Path):
    """As where training went on after the evaluation."""
    workdir, output = shutil.copytree(finished, tmp_path / "run"), tmp_path / "exported"
    metrics = json.loads((workdir / "metrics.json").read_text())
    step = metrics["selected_step"]
    (workdir / "metrics.json").write_text(json.dumps({**metrics, "selected_step": step - 1}))
    status, told = runs.finish("export", f"--workdir={workdir}", f"--output={output}")
    assert status == 1
    assert f"is of step {step - 1}, the model is of step {step}: run scripts/evaluate.py" in told
    assert not output.exists()


def test_a_run_without_results_is_told(finished: Path, tmp_path: Path):
    workdir, output = shutil.copytree(finished, tmp_path / "run"), tmp_path / "exported"
    (workdir / "metrics.json").unlink()
    status, told = runs.finish("export", f"--workdir={workdir}", f"--output={output}")
    assert (status, "metrics.json is missing: run scripts/evaluate.py first" in told) == (1, True)
    assert not output.exists()


@pytest.mark.parametrize(
    ("model", "probabilities", "generated", "classes", "close"),
    [
        (exported.WITH, 9e-7, 9e-7, 0, True),
        (exported.WITH, 2e-6, 0.0, 0, False),
        (exported.WITH, 0.0, 2e-6, 0, False),
        (exported.WITHOUT, 2e-6, 0.0, 0, False),
        (exported.APART, 2e-6, 2e-6, 0, True),
        (exported.APART, 2e-5, 0.0, 0, False),
        (exported.APART, 0.0, 0.0, 1, False),
        (exported.ONNX, 9e-5, 1e-3, 0, True),
        (exported.ONNX, 2e-4, 0.0, 0, False),
        (exported.ONNX, float("nan"), 0.0, 0, False),
        (exported.OTHER_NOISE, 0.1, 0.2, 3, True),
    ],
)
def test_answers_that_are_apart_fail_the_campaign(
    model: str, probabilities: float, generated: float, classes: int, close: bool
):
    row = {"probabilities": probabilities, "generated": generated, "other_classes": classes}
    assert exported.is_close({"model": model, **row}) == close
