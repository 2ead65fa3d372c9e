"""The parts of a run: cut by subject before classes are left out, averages of the training part."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifgan_jax.data.faces import Faces, Prepared, image_array
from ifgan_jax.data.parts import Parts, load_parts
from ifgan_jax.data.pipeline import fake_faces, train_epoch

SIZE, SUBJECTS, FOLDS = 12, 10, 5


def load(data_dir: str | Path = "", **changes) -> Parts:
    arguments = {
        "name": f"fake_faces/{SIZE}_{SUBJECTS}",
        "data_dir": data_dir,
        "num_classes": 6,
        "image_size": SIZE,
        "channels": 1,
        "num_folds": FOLDS,
        "fold": 1,
        "additional": (),
        "averages_from": (),
        "validation_fraction": 0.1,
        "strict": False,
    }
    return load_parts(**(arguments | changes))


def test_averages_are_of_the_training_part_alone():
    parts = load()
    for label, average in enumerate(parts.averages.images):
        images = parts.train.images[parts.train.labels == label]
        np.testing.assert_allclose(average, images.mean(0, dtype=np.float64), rtol=1e-6)
    assert parts.averages.counts.tolist() == [6] * 6  # 6 of the 10 subjects


def test_parts_are_the_folds_of_all_subjects():
    """Fold 1 of 5 tests every fifth subject from the second on, fold 2 validates."""
    parts = load()
    ids = [f"fake{i:04d}" for i in range(SUBJECTS)]
    assert sorted(set(parts.test.subjects)) == ids[1::5]
    assert sorted(set(parts.validation.subjects)) == ids[2::5]
    assert sorted(set(parts.train.subjects)) == sorted(ids[0::5] + ids[3::5] + ids[4::5])


def test_images_that_do_not_fit_stream_from_nameless_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Parts, hashes, averages and batches are what they are in memory; chunks end within a part."""
    monkeypatch.setattr("ifgan_jax.data.faces.CHUNK", 7)
    inside = load(additional=(f"fake_faces/{SIZE}_5",), fold=0)
    monkeypatch.setattr("ifgan_jax.data.faces.available_memory", lambda: 0.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outside = load(additional=(f"fake_faces/{SIZE}_5",), fold=0)
    assert not any(tmp_path.iterdir())
    for part in ("train", "validation", "test"):
        few, many = getattr(outside, part), getattr(inside, part)
        assert isinstance(few.images, np.memmap)
        assert not isinstance(many.images, np.memmap)
        np.testing.assert_array_equal(few.images, many.images)
        assert few.hash() == many.hash()
    assert outside.data_hash == inside.data_hash
    assert outside.averages.hash == inside.averages.hash
    for a, b in zip(
        *(train_epoch(p.train, batch_size=8, seed=0, epoch=0) for p in (inside, outside)),
        strict=True,
    ):
        np.testing.assert_array_equal(a.image, b.image)


def test_a_full_disk_is_told_before_images_are_read(monkeypatch: pytest.MonkeyPatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ifgan_jax.data.faces.available_memory", lambda: 0.0)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"0\.1 GB of images fit neither .*No space.*set TMPDIR"):
        image_array((10_000, 100, 100, 1))


def on_disk(faces: Faces) -> dict[str, Any]:
    prepared = Prepared({"faces": faces}, sorted(set(faces.subjects.tolist())))
    return {"name": "on_disk", "load": lambda data_dir, name: prepared}


def test_a_class_left_out_leaves_the_folds(tmp_path: Path):
    """Seven expressions on disk, six in use: the same people in each part, the same data hash."""
    seven = fake_faces(7 * SUBJECTS, SIZE, SUBJECTS, seed=0)
    six = load(tmp_path, **on_disk(seven))
    whole = load(tmp_path, **on_disk(seven), num_classes=7)
    assert six.data_hash == whole.data_hash == seven.hash()
    for part in ("train", "validation", "test"):
        few, all_seven = getattr(six, part), getattr(whole, part)
        assert set(few.labels) == set(range(6))
        assert set(few.subjects) == set(all_seven.subjects)
        assert len(all_seven) == len(few) + len(set(few.subjects))


def test_an_empty_part_is_named(tmp_path: Path):
    faces = fake_faces(6 * SUBJECTS, SIZE, SUBJECTS, seed=0, num_classes=6)
    known = np.isin(faces.subjects, [f"fake{i:04d}" for i in (1, 6)])  # fold 1's test subjects
    faces.labels[known] = 6
    with pytest.raises(ValueError, match="no image of the first 6 expressions in test;"):
        load(tmp_path, **on_disk(faces))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 16}, "12×12×1, the config says data.image_size 16"),
        ({"channels": 3}, "data.channels 3"),
        ({"fold": 5}, "fold=5 is out of range"),
        ({"name": "fake_faces/12"}, "write fake_faces/SIZE_SUBJECTS"),
        ({"name": f"fake_faces/12_{10**6}"}, "write fake_faces/SIZE_SUBJECTS"),
        ({"name": "fake_faces/9999_999999"}, "so many faces do not fit in memory; name fewer"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        load(**changes)
