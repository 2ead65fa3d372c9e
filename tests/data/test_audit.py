"""The audit: shared subjects and images are named; near-duplicates are told."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifgan_jax.data.audit import NEAR, audit, difference_hash, image_hashes
from ifgan_jax.data.faces import Faces
from ifgan_jax.data.pipeline import fake_faces
from ifgan_jax.data.protocol import Expression
from tests.data import deliveries


def run(splits: dict[str, Faces], own: bool = True, strict: bool = False) -> list[str]:
    return audit(splits, own=own, strict=strict, cache=None)


def splits() -> dict[str, Faces]:
    """18 examples of six subjects, two for each part."""
    faces = fake_faces(18, 8, num_subjects=6, seed=0, num_classes=3)
    rows = np.arange(18).reshape(3, 6)
    return {name: faces.select(rows[k]) for k, name in enumerate(("train", "validation", "test"))}


def test_audit_passes_disjoint_splits_and_repeats_within_one():
    parts = splits()
    assert run(parts) == []
    assert run({**parts, "train": parts["train"].select(np.array([0, 1, 1]))}) == []


def test_audit_names_a_shared_subject():
    parts = splits()
    subjects = parts["test"].subjects.copy()
    subjects[4] = "fake0001"  # rows 3, 4, 5 of train
    parts["test"] = dataclasses.replace(parts["test"], subjects=subjects)
    with pytest.raises(
        ValueError,
        match=r"overlap in 1 subjects and 0 images:\n"
        r"  subject fake0001 is in train \(examples 3, 4, 5\) and test \(examples 4\)\n",
    ):
        run(parts)


def test_audit_names_a_repeated_image():
    parts = splits()
    images = parts["validation"].images.copy()
    images[2] = parts["train"].images[5]
    parts["validation"] = dataclasses.replace(parts["validation"], images=images)
    with pytest.raises(
        ValueError,
        match=r"overlap in 0 subjects and 1 images:\n"
        r"  the same image is train example 5 \(subject fake0001, sequence 000, frame 0\) and "
        r"validation example 2 \(subject fake0002, sequence 000, frame 0\)\n",
    ):
        run(parts)


def test_audit_sees_one_grey_level():
    parts = splits()
    images = parts["validation"].images.copy()
    images[2] = parts["train"].images[5]
    images[2, 0, 0, 0] ^= 1
    run({**parts, "validation": dataclasses.replace(parts["validation"], images=images)})


def test_audit_keeps_a_long_list_short():
    faces = fake_faces(60, 8, num_subjects=20, seed=0, num_classes=3)
    with pytest.raises(ValueError, match=r"20 subjects and 60 images:\n(.*\n){10}  … and 70 more"):
        run({"train": faces, "test": faces})


def test_an_owners_split_is_told_unless_strict():
    faces = fake_faces(12, 8, num_subjects=4, seed=0, num_classes=3)
    nobody = dataclasses.replace(faces, subjects=np.array([""] * 12))
    parts = {"train": nobody.select(np.arange(8)), "test": nobody.select(np.arange(7, 12))}
    (line,) = run(parts, own=False)
    assert line.startswith("the same image is train example 7")
    with pytest.raises(ValueError, match="in 0 subjects and 1 images"):
        run(parts, own=False, strict=True)
    with pytest.raises(ValueError, match="in 0 subjects and 1 images"):
        run(parts)


def copied(image: np.ndarray) -> np.ndarray:
    """Dimmed, scaled to and fro, compressed."""
    dim = Image.fromarray((image * 0.9 + 12).astype(np.uint8))
    stream = io.BytesIO()
    dim.resize((64, 64)).resize(dim.size).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream))


def test_near_duplicates_are_told_and_other_people_are_not():
    images = [
        deliveries.rendered(f"p{person}", label, 1.0, 0)
        for person in range(12)
        for label in (Expression.HAPPINESS, Expression.FEAR)
    ]
    hashes = np.array([difference_hash(image[..., None]) for image in images])
    bits = np.bitwise_count(hashes[:, None] ^ hashes).sum(-1)
    people = np.arange(24) // 2
    assert bits[people[:, None] != people].min() > NEAR
    copies = np.array([difference_hash(copied(image)[..., None]) for image in images])
    assert np.median(np.bitwise_count(hashes ^ copies).sum(-1)) <= NEAR

    base = fake_faces(4, 72, num_subjects=4, seed=0, num_classes=1)
    base = dataclasses.replace(base, images=np.stack(images[::6])[..., None])
    other = base.images.copy()
    other[3] = copied(base.images[0, ..., 0])[..., None]
    test = dataclasses.replace(base, images=other, subjects=np.array(["x"] * 4))
    parts = {"train": base.select(np.arange(3)), "test": test.select(np.array([3]))}
    (line,) = run(parts)
    assert "train example 0" in line
    assert "test example 0 (subject x" in line
    assert "are nearly the same image" in line
    with pytest.raises(ValueError, match="nearly the same"):
        run(parts, strict=True)


def test_hashes_are_cached_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    faces = fake_faces(6, 8, num_subjects=2, seed=0, num_classes=3)
    first = image_hashes(faces, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{faces.hash()}.npz"]
    monkeypatch.setattr("ifgan_jax.data.audit.difference_hash", None)
    again = image_hashes(faces, tmp_path)
    assert np.array_equal(first.exact, again.exact)
    assert np.array_equal(first.near, again.near)


def test_damaged_hashes_are_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Cut short, or with any one bit flipped: right hashes, never an error."""
    faces = fake_faces(6, 8, num_subjects=2, seed=0, num_classes=3)
    first = image_hashes(faces, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = [(i, whole[i] ^ 1 << i % 8) for i in range(len(whole))]
    damaged = [whole[:i] + bytes([byte]) + whole[i + 1 :] for i, byte in flipped[::7]]
    for content in (b"", whole[: len(whole) // 2], *damaged):
        path.write_bytes(content)
        again = image_hashes(faces, tmp_path)
        assert np.array_equal(first.exact, again.exact)
        assert np.array_equal(first.near, again.near)
    assert "is damaged" in caplog.text
