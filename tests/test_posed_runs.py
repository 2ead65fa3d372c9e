"""The configs of the paper's four data sets, demo-sized, on deliveries of made-up faces.

Each trains an epoch and is tested at its end, as its user would do it; RAF-DB's, which has no
validation part, goes on for a second one and is tested once more.
"""

import json
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ifgan_jax.data import builder as builders
from ifgan_jax.data.pipeline import fake_faces
from ifgan_jax.data.protocol import Expression
from tests import runs
from tests.data import deliveries

WRITERS = {
    "bu3dfe": lambda root, face: deliveries.bu3dfe(root, face, females=6, males=6),
    "ck_plus": lambda root, face: deliveries.ck_plus(
        root, face, deliveries.ck_sequences()[:36], frames=4, unlabelled=1
    ),
    "mmi": lambda root, face: deliveries.mmi(root, face, sequences=12, subjects=12, frames=5),
    "raf_db": lambda root, face: deliveries.raf_db(
        root, face, {"train": (4,) * 7, "test": (2,) * 7}
    ),
}
SMALL = (
    "--config.epochs=1",
    "--config.batch_size=16",
    "--config.data.image_size=72",
    "--config.data.crop=64",
    "--config.data.fold=3",
    "--config.data.validation_fraction=0.25",
    "--config.generator.widths=(8, 8, 8, 8)",
    "--config.generator.convs_per_stage=1",
    "--config.discriminator.width=4",
    "--config.classifier.depth=10",
    "--config.classifier.width=4",
    "--config.classifier.pretrained=",
    "--config.evaluation.batch_size=8",
)


def made_up(name: str, subject: str, label: Expression, intensity: float, frame: int) -> np.ndarray:
    """A pattern for the expression, with noise that no other picture has."""
    seed = zlib.crc32(repr((name, subject, label, intensity, frame)).encode())
    return fake_faces(len(Expression), 72, 1, seed).images[label, ..., 0]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four sets, prepared as they are given, at 72 px."""
    root = tmp_path_factory.mktemp("four")
    for name, write in WRITERS.items():
        write(root / name, partial(made_up, name))
        builders.prepare(builders.open_builder(root / "data", f"{name}/72_given"), root / name)
    return root / "data"


@pytest.mark.parametrize("name", WRITERS)
def test_trains_and_is_tested(name: str, data_dir: Path, tmp_path: Path):
    others = [f"{other}/72_given" for other in WRITERS if other != name]
    flags = [
        f"--config=configs/{'default' if name == 'bu3dfe' else name}.py",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.data_dir={data_dir}",
        f"--config.data.name={name}/72_given",
        f"--config.data.additional={tuple(others)}",
        *SMALL,
    ]
    if name == "raf_db":
        flags.append(f"--config.data.averages_from={tuple(others)}")
        flags.append("--config.data.validation_fraction=0.0")  # train on all, as the paper did
    status, output = runs.finish("train", *flags)
    assert status == 0, output
    if name == "raf_db":
        status, output = runs.finish("train", *flags, "--config.epochs=2")
        assert status == 0, output
        assert "epochs extended from 1 to 2" in output
    results = json.loads((tmp_path / "run" / "metrics.json").read_text())
    folds = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert results["folds_hash"] == folds["folds_hash"]
    assert len(results["class_names"]) == (7 if name == "raf_db" else 6)
    if name == "raf_db":
        assert results["num_test_images"] == 14
        assert results["num_test_subjects"] == 0
        assert results["validation_accuracy"] is None
        assert results["selected_step"] == results["last_step"]
        assert results["identity_variance"] is None  # nobody is named
        status, output = runs.finish("evaluate", f"--workdir={tmp_path / 'run'}")
        assert status == 0, output
        assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == results
        pictures = f"--output={tmp_path / 'tour'}"
        status, output = runs.finish("tour", f"--workdir={tmp_path / 'run'}", pictures)
        assert status == 0, output
        assert "that remains: undefined of fewer than two people" in output
    else:
        assert results["num_test_subjects"] >= 1
        assert (data_dir / name / "folds_10.json").exists()
    assert (tmp_path / "run" / "report.html").exists()
