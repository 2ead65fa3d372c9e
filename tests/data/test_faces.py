"""The decoded data set."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ifgan_jax.data import faces, synthetic_faces
from ifgan_jax.data.faces import Faces, load_prepared


def example_faces(n=4):
    return Faces(
        images=np.arange(n * 9, dtype=np.uint8).reshape(n, 3, 3, 1),
        labels=np.arange(n, dtype=np.int32),
        subjects=np.array([f"s{i // 2}" for i in range(n)]),
        sequences=np.array([f"q{i}" for i in range(n)]),
        frames=np.arange(n, dtype=np.int32),
        intensities=np.linspace(0, 1, n, dtype=np.float32),
    )


def changed(**fields):
    return dataclasses.replace(example_faces(), **fields)


def test_select_by_index_and_mask():
    faces = example_faces()
    assert len(faces) == 4
    picked = faces.select(np.array([2, 0]))
    assert picked.sequences.tolist() == ["q2", "q0"]
    np.testing.assert_array_equal(picked.images, faces.images[[2, 0]])
    masked = faces.select(faces.subjects == "s1")
    assert masked.labels.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"subjects": np.array(["s0"] * 3)}, "subjects has 3 entries for 4 images"),
        ({"sequences": np.arange(4)}, "sequences is int64, needs strings"),
        ({"labels": np.array([0, 1, 7, 2], np.int32)}, "example 2 .*label 7"),
        ({"labels": np.array([0, -1, 3, 2], np.int32)}, "example 1 .*label -1"),
        ({"intensities": np.array([0, 1, 1.5, 0], np.float32)}, "example 2 .*intensity 1.5"),
        ({"intensities": np.array([np.nan, 1, 1, 0], np.float32)}, "example 0 .*intensity nan"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        changed(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": np.zeros(4)}, "labels is float64, needs int32"),
        ({"images": np.zeros((4, 3, 3), np.uint8)}, "images has 3 axes, needs 4"),
        ({"intensities": np.zeros(4)}, "intensities is float64, needs float32"),
        ({"subjects": np.zeros(4)}, "subjects is float64, needs strings"),
    ],
)
def test_wrong_types_are_refused(fields, message: str, unchecked):
    """Where no types are checked, as at a user's."""
    with pytest.raises(ValueError, match=message):
        changed(**fields)


def test_hash_sees_images_labels_and_subjects():
    base = example_faces()
    digest = base.hash()
    assert len(digest) == 64
    assert digest == example_faces().hash()
    images = base.images.copy()
    images[3, 2, 2, 0] += 1
    others = [
        changed(images=images),
        changed(images=base.images.reshape(4, 9, 1, 1)),
        changed(labels=base.labels[::-1].copy()),
        changed(subjects=np.array(["s0", "s0", "s0", "s1"])),
        base.select(np.array([1, 0, 2, 3])),
    ]
    assert len({digest, *(other.hash() for other in others)}) == 6


def test_unknown_set_and_config(tmp_path):
    with pytest.raises(ValueError, match="'imagenet/72' is unknown: choose one of bu3dfe"):
        load_prepared(tmp_path, "imagenet/72")
    with pytest.raises(FileNotFoundError, match=r"'ck_plus' is not prepared.*--dataset=ck_plus"):
        load_prepared(tmp_path, "ck_plus")
    with pytest.raises(ValueError, match="ck_plus has no config '64': choose one of 256_simil"):
        load_prepared(tmp_path, "ck_plus/64")
    with pytest.raises(ValueError, match=r"no config '73'; a name is .*72_200"):
        load_prepared(tmp_path, "synthetic_faces/73")
    assert not any(tmp_path.iterdir())


def test_label_out_of_range_on_disk_is_named(tmp_path, monkeypatch):
    row = {"image": np.zeros((72, 72, 1), np.uint8), "subject": b"s0000", "frame": 1}
    row |= {"sequence": b"s0000_anger_0", "intensity": 1.0}
    two = SimpleNamespace(builder_config=SimpleNamespace(requests=lambda: range(2)))
    monkeypatch.setattr(synthetic_faces, "prepare", lambda *_: two)
    monkeypatch.setattr(synthetic_faces, "read", lambda _: [row | {"label": k} for k in (6, 9)])
    with pytest.raises(ValueError, match=r"example 1 .*s0000_anger_0.*label 9"):
        load_prepared(tmp_path, "synthetic_faces/72")


def test_a_jobs_memory_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A container or SLURM job has less than the machine: its limit minus what it uses."""
    whole = faces.available_memory()
    monkeypatch.setattr(faces, "GROUPS", tmp_path)
    monkeypatch.setattr(faces, "PROCESS_GROUPS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("1:cpu:/\n0::/job/step\n")
    job = tmp_path / "job" / "step"
    job.mkdir(parents=True)
    (job / "memory.current").write_text("300\n")
    (job / "memory.max").write_text("1000\n")
    assert faces.available_memory() == 700
    (job / "memory.max").write_text("max\n")
    assert faces.available_memory() == pytest.approx(whole, rel=0.5)
    (tmp_path / "job" / "memory.current").write_text("900\n")  # of all its steps
    (tmp_path / "job" / "memory.max").write_text("2000\n")
    assert faces.available_memory() == 1100
