"""The ONNX model in a process that has onnxruntime and numpy alone: the same answers."""

from pathlib import Path

import numpy as np
import pytest

from ifgan_jax import export
from scripts.campaigns import exported
from tests import runs, untrained
from tests.test_export import said_by_card

pytest.importorskip("jax2onnx", reason="needs the extra onnx")

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 36, 36, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("changes", "noisy"),
    [
        (untrained.IFGAN, True),
        ({"generator.output_noise": 0.0}, False),
        (untrained.BASELINE, False),
    ],
    ids=["ifgan", "without noise", "baseline"],
)
def test_onnxruntime_answers_as_the_package(changes: dict, noisy: bool, tmp_path: Path):
    """With the noise that the package draws, given as the input that takes its place."""
    predictor = untrained.predictor(changes)
    untrained.write_model("onnx", changes, tmp_path / "model.onnx")
    said = predictor(IMAGES)
    assert 0.01 < said.probabilities.min() < said.probabilities.max() < 0.9  # or E hardly matters
    given = exported.inputs(predictor, IMAGES, said)
    assert ("noise" in given) == noisy
    for found in exported.ask("onnx", tmp_path, given, (1, 3)).values():
        differences = exported.differences(found, said._asdict())
        assert differences["probabilities"] < 1e-4
        assert differences["generated"] < 2e-3  # of 2
        assert differences["other_classes"] == 0


def test_a_trained_runs_card_says_how_it_is_called(finished: Path, tmp_path: Path):
    """The card's own lines are run."""
    output = tmp_path / "exported"
    flags = [f"--workdir={finished}", f"--output={output}", "--format=onnx"]
    status, told = runs.finish("export", *flags)
    assert status == 0, told
    assert told.splitlines() == [told.strip()], told  # and nothing of the converter's own
    assert told.startswith("written: ")
    card = (output / "model.onnx.md").read_text()
    assert "\n`noise`: what the generated faces carry" in card
    shapes = "[answers[name].shape for name in ('probabilities', 'generated')]"
    said = said_by_card(output, "onnx", "numpy.zeros((2, 36, 36, 1), 'u1')", shapes)
    assert said == "[(2, 6), (2, 32, 32, 1)]\n"


def test_a_run_in_bfloat16_is_refused():
    predictor = untrained.predictor({"dtype": "bfloat16"})
    with pytest.raises(ValueError, match="dtype bfloat16: ONNX is written of float32 runs"):
        export.onnx(predictor)
