"""The TFDS builders over written deliveries, as tfds.testing.DatasetBuilderTestCase would."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifgan_jax.data import builder as builders
from ifgan_jax.data.check import check, prepared_builders
from ifgan_jax.data.faces import load_prepared
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.vendor.tree import LayoutError
from tests import runs
from tests.data import deliveries

import tensorflow_datasets as tfds  # isort: skip

BICUBIC = Image.Resampling.BICUBIC
CONTEMPT = [s for s in deliveries.ck_sequences() if s[2] == "contempt"][2:4]  # nothing else
CK_PLUS = [*deliveries.ck_sequences()[:38], *CONTEMPT]
WRITERS = {
    "bu3dfe": lambda root: deliveries.bu3dfe(root, females=7, males=5),
    "ck_plus": lambda root: deliveries.ck_plus(root, sequences=CK_PLUS),
    "mmi": lambda root: deliveries.mmi(root, sequences=20, subjects=10, others=2),
    "raf_db": lambda root: deliveries.raf_db(root, counts={"train": (9,) * 7, "test": (3,) * 7}),
}


@pytest.fixture(scope="module", params=WRITERS)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Name, truth, data_dir of a set that was prepared as it is given, at 72 px."""
    root = tmp_path_factory.mktemp(request.param)
    truth = WRITERS[request.param](root / "source")
    builder = builders.open_builder(root / "data", f"{request.param}/72_given")
    builders.prepare(builder, root / "source")
    return request.param, truth, root


def test_records_are_the_truth(prepared):
    name, truth, root = prepared
    sets = load_prepared(root / "data", f"{name}/72_given")
    found = sorted(
        (label, subject, sequence, frame, split)
        for split, faces in sets.splits.items()
        for label, subject, sequence, frame in zip(
            faces.labels.tolist(), faces.subjects.tolist(), faces.sequences.tolist(),
            faces.frames.tolist(), strict=True,
        )
    )  # fmt: skip
    assert found == sorted((int(r.label), r.subject, r.sequence, r.frame, r.split) for r in truth)
    faces = sets.splits.get("faces")
    if name in ("bu3dfe", "ck_plus"):  # their pictures are kept without loss
        for i, label in enumerate(faces.labels.tolist()):
            sequence, frame = faces.sequences[i][-3:], int(faces.frames[i])
            number = deliveries.ck_number(sequence, frame) if name == "ck_plus" else 0
            given = faces.subjects[i], label, round(float(faces.intensities[i]), 6), number
            picture = Image.fromarray(deliveries.patch(*given)).resize((72, 72), BICUBIC)
            np.testing.assert_array_equal(faces.images[i, ..., 0], picture, str(given))
    if name == "mmi":
        assert (faces.intensities == (faces.labels != Expression.NEUTRAL)).all()
    expected = sorted({r.subject for r in truth} - {""})
    if name == "ck_plus":  # folds are cut from contempt's subjects, too
        expected = sorted({subject for subject, _, _ in CK_PLUS})
    assert sets.subjects == expected


def test_the_builder_is_a_good_tfds_citizen(prepared):
    name, truth, root = prepared
    builder = builders.open_builder(root / "data", f"{name}/72_given")
    info = builder.info
    assert builder.name == name
    assert info.features["label"].names == [e.label for e in Expression]
    counts = Counter(row.split for row in truth)
    assert {split: i.num_examples for split, i in info.splits.items()} == counts
    for text in (
        info.citation,
        info.homepage,
        info.description,
        builder.MANUAL_DOWNLOAD_INSTRUCTIONS,
    ):
        assert text
    assert "licence" in str(info.redistribution_info.license)
    seen = set()
    for split in info.splits:
        source = builder.as_data_source(split=split)
        for example in source:  # random access
            assert example["image"].shape == (72, 72, 1)
            assert example["alignment"] == b"given"
            key = (example["sequence"], example["frame"])
            assert key not in seen
            seen.add(key)


def test_a_second_start_reads_the_cache(prepared, monkeypatch):
    name, _, root = prepared
    monkeypatch.setattr(builders, "read_pictures", None)
    builders.prepare(builders.open_builder(root / "data", f"{name}/72_given"), root / "source")


def test_check_prints_a_table(prepared):
    name, truth, root = prepared
    (builder,) = prepared_builders(root / "data")
    text = check(builder, root / "data", strict=False)
    anger = sum(row.label == Expression.ANGER for row in truth if row.split in ("faces", "train"))
    assert f"anger      {anger:6}   expected" in text
    assert f"{len(truth)} given" in text or name == "raf_db"
    assert "audit: nothing shared" in text
    if name != "mmi":
        with pytest.raises(ValueError, match="differences, the first: "):
            check(builder, root / "data", strict=True)


def test_every_builder_has_all_configs():
    for name, builder in builders.BUILDERS.items():
        assert builder.name == name
        assert len(builder.builder_configs) == 9
        default = "256_given" if name == "raf_db" else "256_similarity"
        assert builder.default_builder_config.name == default
        assert issubclass(builder, tfds.core.GeneratorBasedBuilder)


def test_unreadable_pictures_are_left_out_and_told(tmp_path: Path):
    WRITERS["bu3dfe"](tmp_path / "source")
    next((tmp_path / "source").rglob("F0002_AN03*F2D.bmp")).write_bytes(b"BM cut")
    builder = builders.open_builder(tmp_path / "data", "bu3dfe/72_given")
    builders.prepare(builder, tmp_path / "source")
    (faces,) = load_prepared(tmp_path / "data", "bu3dfe/72_given").splits.values()
    assert len(faces) == 12 * 13 - 1
    facts = json.loads((tmp_path / "data/bu3dfe/72_given_faces.json").read_text())
    assert facts["statuses"] == {"given": 155, "unreadable": 1}
    assert "F0002_AN03" in facts["odd"][0]["name"]
    assert "no readable picture" in facts["odd"][0]["reason"]
    page = (tmp_path / "data/bu3dfe/72_given_faces.html").read_text()
    assert page.count("<figure>") >= 48
    assert "F0002_AN03" in page
    strict = builders.open_builder(tmp_path / "strict", "bu3dfe/72_given", strict=True)
    with pytest.raises(LayoutError, match="differences, the first: faces/"):
        builders.prepare(strict, tmp_path / "source")


def test_archives_that_cannot_be_read_are_told_when_images_are_missing(tmp_path: Path):
    (tmp_path / "part.7z").write_bytes(b"7z")
    builder = builders.open_builder(tmp_path / "data", "bu3dfe/72_given")
    with pytest.raises(LayoutError, match=r"1 archives cannot be read here.*\n  7z x .*part\.7z"):
        builders.prepare(builder, tmp_path)


def test_scripts_and_tfds_build(tmp_path: Path):
    """The two command lines of the README make the same records."""
    WRITERS["ck_plus"](tmp_path / "source")
    status, output = runs.finish(
        "prepare_data", "--dataset=ck_plus", f"--source={tmp_path / 'source'}",
        f"--data_dir={tmp_path / 'ours'}", "--config=72_given",
    )  # fmt: skip
    assert status == 0, output
    assert "nothing shared" in output
    code = (  # what `tfds build` runs, without the sub-commands that want apache-beam
        "import sys; from tensorflow_datasets.scripts.cli import build, cli_utils;"
        "cli_utils.make_flags_parser(build.Args, description='')(sys.argv).execute()"
    )
    subprocess.run(
        [
            sys.executable, "-c", code, "ck_plus/72_given", "--imports=ifgan_jax.data.builder",
            f"--manual_dir={tmp_path / 'source'}", f"--data_dir={tmp_path / 'theirs'}",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    sets = [load_prepared(tmp_path / side, "ck_plus/72_given") for side in ("ours", "theirs")]
    assert sets[0].splits["faces"].hash() == sets[1].splits["faces"].hash()
    assert sets[0].subjects == sets[1].subjects
    status, output = runs.finish("prepare_data", "--check", f"--data_dir={tmp_path / 'ours'}")
    assert status == 0, output
    assert "ck_plus/72_given: " in output
    for flags, message in (
        (("--dataset=ck_plus",), "give --dataset and --source"),
        (("--dataset=ck_plus", "--source=/nowhere/at/all"), "nowhere"),
        (("--dataset=ck_plus", f"--source={tmp_path}", "--sessions=x"), "is for --dataset=mmi"),
        (("--dataset=mmi", f"--source={tmp_path / 'source'}"), "holds no image of mmi"),
        (("--check", f"--data_dir={tmp_path / 'none'}"), "no data set is prepared there"),
    ):
        status, output = runs.finish("prepare_data", *flags, f"--data_dir={tmp_path / 'new'}")
        assert status == 1, output
        assert message in output
        assert "Traceback" not in output


def test_given_pictures_are_only_scaled(tmp_path: Path):
    """Whole, whatever their shape: a ramp down and across, up to what JPEG leaves of it."""
    ramp = np.rint(np.add.outer(np.linspace(0, 150, 30), np.linspace(0, 100, 60))).astype(np.uint8)
    deliveries.raf_db(tmp_path / "s", lambda *a: ramp, {"train": (1,) * 7, "test": (1,) * 7})
    builder = builders.open_builder(tmp_path / "d", "raf_db/72_given")
    builders.prepare(builder, tmp_path / "s")
    sets = load_prepared(tmp_path / "d", "raf_db/72_given")
    assert set(sets.splits) == {"train", "test"}
    expected = np.asarray(Image.fromarray(ramp).resize((72, 72), BICUBIC), int)
    assert np.abs(sets.splits["test"].images[..., 0] - expected).max() <= 4
