"""The average identity, "averaging all same-label expressive images in its training set" (4.3)."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from ifgan_jax.data.averages import Averages, average_faces
from ifgan_jax.data.faces import Faces
from ifgan_jax.data.pipeline import fake_faces
from ifgan_jax.data.protocol import split_subjects, subject_folds


@pytest.fixture
def faces() -> Faces:
    return fake_faces(60, 8, num_subjects=10, seed=3, num_classes=3)


def flat(levels: list[int], labels: list[int]) -> Faces:
    """Images of one grey level each."""
    num = len(levels)
    return Faces(
        images=np.tile(np.array(levels, np.uint8)[:, None, None, None], (1, 2, 4, 1)),
        labels=np.array(labels, np.int32),
        subjects=np.array(["a"] * num),
        sequences=np.array(["0"] * num),
        frames=np.arange(num, dtype=np.int32),
        intensities=np.ones(num, np.float32),
    )


def test_closed_form():
    """Sums above 255 and a mean that is no grey level: (250 + 251 + 251) / 3."""
    result = average_faces(flat([250, 10, 251, 20, 251], [1, 0, 1, 0, 1]), num_classes=2)
    assert result.images.dtype == np.float32
    assert result.images.shape == (2, 2, 4, 1)
    np.testing.assert_array_equal(result.images[0], 15.0)
    np.testing.assert_array_equal(result.images[1], np.float32(752 / 3))
    np.testing.assert_array_equal(result.counts, [2, 3])


def test_exact_over_many_images():
    """2^17 bright images and a dark one: a float32 sum (24 bits) would lose the remainder."""
    num = 2**17
    one = flat([255], [0])
    many = one.select(np.zeros(num + 1, int))
    many.images[-1] = 0
    assert average_faces(many, 1).images[0, 0, 0, 0] == np.float32(255 * num / (num + 1))


def test_order_of_examples_does_not_matter(faces):
    shuffled = faces.select(np.random.default_rng(0).permutation(len(faces)))
    assert average_faces(shuffled, 3).hash == average_faces(faces, 3).hash


def test_saving_writes_through_no_link(faces: Faces, tmp_path: Path):
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    for name in ("averages.npz", "averages.npz.partial"):
        (tmp_path / name).symlink_to("mine")
    averages = average_faces(faces, 3)
    averages.save(tmp_path / "averages.npz")
    assert mine.read_bytes() == b"mine"
    assert not (tmp_path / "averages.npz").is_symlink()
    assert Averages.load(tmp_path / "averages.npz").hash == averages.hash


def test_only_training_images_count(faces):
    """Other validation and test images: the same averages; another training image: others."""
    split = split_subjects(subject_folds(faces.subjects.tolist(), 10), fold=0)
    training = np.isin(faces.subjects, split.train)
    before = average_faces(faces.select(training), 3)
    images = faces.images.copy()
    images[~training] = 255 - images[~training]
    held_out_changed = dataclasses.replace(faces, images=images)
    assert average_faces(held_out_changed.select(training), 3).hash == before.hash
    assert before.counts.sum() == 8 * 6
    images[np.flatnonzero(training)[0], 0, 0, 0] ^= 1
    changed = dataclasses.replace(faces, images=images)
    assert average_faces(changed.select(training), 3).hash != before.hash


def test_errors_name_the_expression(faces):
    without = faces.select(faces.labels != 1)
    with pytest.raises(ValueError, match=r"training part has no image of: disgust\."):
        average_faces(without, 3)
    with pytest.raises(ValueError, match=r"no image of: happiness, sadness"):
        average_faces(faces, 5)
    with pytest.raises(ValueError, match=r"Labels \[2\] are outside 0 to 1 .*select the classes"):
        average_faces(faces, 2)


def test_save(faces, tmp_path):
    saved = average_faces(faces, 3)
    saved.save(tmp_path / "averages.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["averages.npz"]
    with np.load(tmp_path / "averages.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["images"], saved.images)
        np.testing.assert_array_equal(stored["counts"], saved.counts)
        assert stored["sha256"] == saved.hash


def test_a_damaged_file_is_named(faces, tmp_path):
    """Cut short, another archive, and pictures that are not those of the stored hash."""
    path = tmp_path / "averages.npz"
    saved = average_faces(faces, 3)
    saved.save(path)
    assert Averages.load(path).hash == saved.hash
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"averages\.npz is damaged .*train the run again"):
        Averages.load(path)
    path.rename(tmp_path / "cut.npz")
    os.mkfifo(path)  # nobody waits for a writer
    with pytest.raises(FileNotFoundError, match=r"averages\.npz is no file"):
        Averages.load(path)
    path.unlink()
    np.savez(path, images=saved.images)
    with pytest.raises(ValueError, match=r"averages\.npz is damaged .*counts"):
        Averages.load(path)
    np.savez(path, images=saved.images + 1, counts=saved.counts, sha256=saved.hash)
    with pytest.raises(ValueError, match=r"averages\.npz is damaged \(another hash\)"):
        Averages.load(path)


def test_hash_is_of_shape_pixels_and_counts():
    """The bytes in the order that the docstring gives, so that other programs can check them."""
    result = average_faces(flat([7, 9], [0, 1]), 2)
    content = b"(2, 2, 4, 1)" + np.repeat([7, 9], 8).astype("<f4").tobytes()
    content += np.array([1, 1], "<i8").tobytes()
    assert result.hash == hashlib.sha256(content).hexdigest()
