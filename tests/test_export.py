"""The exported model in a process without this package: the same answers."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.predict import Predictor
from tests import runs

ALONE = """
import sys
import numpy as np
sys.path = [path for path in sys.path if path]  # not this folder
sys.modules["ifgan_jax"] = None  # importing it fails
from jax import export
model = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
images = np.load("images.npy")
for n in (1, 5, 11):
    np.savez(f"{n}.npz", **model.call(images[:n]))
"""


def test_exported_answers_are_the_runs(finished: Path, tmp_path: Path):
    output = tmp_path / "exported"
    status, told = runs.finish("export", f"--workdir={finished}", f"--output={output}")
    assert status == 0, told
    predictor = Predictor.load(finished)
    images = load_run_parts(predictor.config).test.images[:11]
    np.save(output / "images.npy", images)
    subprocess.run([sys.executable, "-c", ALONE], cwd=output, check=True)
    said = predictor(images)
    for n in (1, 5, 11):
        found = np.load(output / f"{n}.npz")
        np.testing.assert_allclose(found["probabilities"], said.probabilities[:n], atol=1e-6)
        np.testing.assert_allclose(found["generated"], said.generated[:n], atol=1e-6)
    card = (output / "model_card.md").read_text()
    assert "(n, 36, 36, 1)" in card
    assert "anger, disgust, fear, happiness, sadness, surprise" in card
    assert card.count("| 0.") + card.count("| 1.") == 6


def test_a_run_without_results_is_told(finished: Path, tmp_path: Path):
    workdir, output = shutil.copytree(finished, tmp_path / "run"), tmp_path / "exported"
    (workdir / "metrics.json").unlink()
    status, told = runs.finish("export", f"--workdir={workdir}", f"--output={output}")
    assert (status, "metrics.json is missing: run scripts/evaluate.py first" in told) == (1, True)
    assert not output.exists()
