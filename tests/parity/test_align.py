"""MTCNN on rendered faces with known points; what becomes of pictures without a good face."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from ifgan_jax.data import align as align_module
from ifgan_jax.data.align import Aligned, align
from ifgan_jax.data.detector import Detection, Detector
from ifgan_jax.data.photographs import Shot, find_faces
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic.parallel import Request, record
from ifgan_jax.data.vendor.example import Example
from ifgan_jax.data.vendor.pictures import Picture, UnreadablePictureError
from ifgan_jax.data.warp import TEMPLATE, similarity
from tests import runs
from tests.data import deliveries


def example(name: str, dual: bool = False) -> Example:
    return Example(name, Expression.FEAR, "s", name, 0, 1.0, dual=dual)


def face(subject: int, difficulty: str = "easy", size: int = 256) -> tuple[Picture, np.ndarray]:
    made = record(Request(3, subject, Expression.NEUTRAL, 0.0, 0, size, difficulty))
    return made["image"], made["landmarks"].astype(np.float64)


def aligned(pictures: list, cache: Path | None = None, dual: bool = False) -> list[Aligned]:
    pairs = [(example(str(i), dual), picture) for i, picture in enumerate(pictures)]
    return [result for _, result in align(iter(pairs), "similarity", 256, cache)]


def test_eyes_of_frontal_faces_are_found():
    """Mean error at most 6 % of the distance between the eyes."""
    pictures, points = zip(*(face(subject) for subject in range(10)), strict=True)
    errors = []
    for result, truth in zip(aligned(list(pictures)), points, strict=True):
        assert result.status == "aligned"
        eyes = np.linalg.norm(truth[1] - truth[0])
        errors.append(np.linalg.norm(result.points[:2] - truth[:2], axis=1) / eyes)
    assert np.mean(errors) <= 0.06


def test_the_stored_face_is_the_warped_one():
    """Seen again, the aligned face has eyes and nose tip near the template's places."""
    picture, _ = face(1)
    small = np.pad(picture[::2, ::2], ((10, 60), (90, 20)), mode="edge")
    (result,) = aligned([small])
    again = aligned([result.image])[0].points
    assert np.abs(similarity(again[:3]) - similarity(TEMPLATE)).max() < 8  # pixels of shift
    assert result.image.shape == (256, 256)


def test_policies():
    """No face, several, upside down, tiny, unreadable: each has its status and reason."""
    (one, _), (two, _) = face(0), face(1)
    noise = np.random.default_rng(0).integers(0, 255, (256, 256)).astype(np.uint8)
    both = np.pad(np.hstack([two[::2, ::2], np.full((128, 60), 90, np.uint8)]), ((64, 64), (0, 0)))
    several = np.hstack([both, one])
    tiny = np.pad(one[::6, ::6], 100, mode="edge")
    error = UnreadablePictureError("x.png: no readable picture")
    results = aligned([one, noise, several, one[::-1, ::-1], tiny, error])
    assert [r.status for r in results] == [
        "aligned", "no_face", "several_faces", "upside_down", "tiny_face", "unreadable"
    ]  # fmt: skip
    assert [r.image is None for r in results] == [False, True, False, False, False, True]
    assert [bool(r.reason) for r in results] == [False, True, True, True, True, True]
    assert results[2].points[:, 0].min() > both.shape[1]  # the larger one, at the right
    turned, upright = results[3].image.astype(float), results[0].image.astype(float)
    assert np.abs(turned - upright).mean() < 12  # as if it had been upright


def test_the_frontal_face_has_its_nose_between_its_eyes():
    """Drawn by hand: the smaller face is frontal, in the larger the nose lies below one eye."""
    boxes = np.array([[0, 0, 120, 120], [150, 20, 230, 100]], np.float32)
    turned = [[40, 50], [80, 50], [85, 70], [45, 95], [75, 95]]
    frontal = [[175, 50], [205, 50], [190, 65], [180, 80], [200, 80]]
    points = np.array([turned, frontal], np.float32)
    detection = Detection(boxes, np.ones(2, np.float32), points, turned=False)
    picture = np.random.default_rng(0).integers(0, 256, (120, 240)).astype(np.uint8)
    for dual, expected in ((True, frontal), (False, turned)):
        face = align_module._aligned(picture, detection, "similarity", 72, dual)
        np.testing.assert_array_equal(face.points, expected)


def test_a_dual_view_gives_the_frontal_face():
    profile, frontal = face(2, "hard")[0], face(2)[0]
    points = [aligned([side])[0].points for side in (profile, frontal)]
    more = [align_module._frontality(p[None])[0] for p in points]
    side = int(np.argmax(more))
    (result,) = aligned([np.hstack([profile, frontal])], dual=True)
    assert (result.points[2, 0] > 256) == bool(side)
    assert result.status == "aligned"


def test_detections_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A second start detects nothing again; one that was cut off goes on."""
    cache = tmp_path / "new" / "detections.jsonl"
    pictures = [face(subject, size=72)[0] for subject in range(4)]
    first = aligned(pictures[:3], cache)
    content = cache.read_bytes()
    assert content.count(b"\n") == 3
    cache.write_bytes(content[:-40])  # killed within the last line
    runs = []
    real = Detector._run

    def counted(self: Detector, seen: list, turned: bool):
        runs.append(len(seen))
        return real(self, seen, turned)

    monkeypatch.setattr(Detector, "_run", counted)
    again = aligned(pictures, cache)
    assert sum(runs) == 2  # the one that was cut off, and the new one
    for a, b in itertools.product([0, 1, 2], repeat=2):
        assert np.array_equal(first[a].image, again[b].image) == (a == b)
    runs.clear()
    aligned(pictures, cache)
    assert runs == []


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    pictures = [face(subject, size=size)[0] for subject in range(3) for size in (72, 72, 108)]
    many = aligned(pictures)
    monkeypatch.setattr(align_module, "BATCH", 1)
    for a, b in zip(many, aligned(pictures), strict=True):
        np.testing.assert_allclose(a.points, b.points, atol=0.05)


def test_scripts_align_a_folder_and_a_delivery(tmp_path: Path):
    """align_faces and prepare_data with MTCNN: PNG files or records, and the report."""
    for subject in range(3):
        deliveries.write(tmp_path / "in" / "deep" / f"{subject}.jpg", face(subject, size=108)[0])
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "in" / "notes.txt").touch()
    for _ in range(2):  # the second finds the detections
        status, output = runs.finish(
            "align_faces", f"--source={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"
        )
        assert status == 0, output
        assert "left out: broken.png" in output
        assert "3 of 4 aligned" in output
        assert "1 files that are no pictures by their names" in output
    assert sorted(p.name for p in (tmp_path / "out/deep").iterdir()) == ["0.png", "1.png", "2.png"]
    status, output = runs.finish(
        "align_faces", f"--source={tmp_path / 'in'}", f"--output={tmp_path / 'in' / 'deep'}"
    )
    assert (status, "lies in --source, where pictures are read" in output) == (1, True)
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<figure>") == 3
    assert "Error of the detector" in page
    deliveries.bu3dfe(tmp_path / "bu", deliveries.rendered, females=2, males=1)
    status, output = runs.finish(
        "prepare_data", "--dataset=bu3dfe", "--config=72_similarity",
        f"--source={tmp_path / 'bu'}", f"--data_dir={tmp_path / 'data'}",
    )  # fmt: skip
    assert status == 0, output
    assert "bu3dfe/72_similarity: 39 images" in output
    assert "left out" not in output
    status, output = runs.finish(
        "align_faces", f"--source={tmp_path / 'none'}", f"--output={tmp_path / 'out'}"
    )
    assert status == 1
    assert "no such folder" in output


def test_unknown_alignment():
    with pytest.raises(ValueError, match="alignment 'rigid': choose one of similarity, affine"):
        list(align(iter([]), "rigid", 256, None))


def test_every_face_of_a_photograph_has_its_box_and_row():
    """Two people side by side, one of them smaller, and a wall."""
    (large, at), (small, below) = face(0), face(1, size=160)
    small = np.pad(small, ((40, 56), (30, 30)), mode="edge")
    wall = np.full((256, 300), 120, np.uint8)
    pictures = [(Shot("two.png", None), np.hstack([large, small])), (Shot("wall.png", None), wall)]
    first, second, none = find_faces(iter(pictures), "similarity", 64)
    offset = np.array([256 + 30, 40])
    for found, eyes in ((first, at[:2]), (second, below[:2] + offset)):
        left, top, right, bottom = found.box
        assert ((eyes > (left, top)) & (eyes < (right, bottom))).all()
        assert found.eyes == pytest.approx(np.linalg.norm(eyes[1] - eyes[0]), rel=0.15)
        assert found.image.shape == (64, 64)
        assert found.score > 0.7
    assert first.eyes > second.eyes
    assert (none.image, none.status) == (None, "no_face")
