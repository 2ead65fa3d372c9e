"""Several data sets in one run: whose images train, test and average (Sec. 4.1 to 4.3)."""

from pathlib import Path

import numpy as np
import pytest

from ifgan_jax.data.faces import Faces, Prepared
from ifgan_jax.data.parts import Parts, load_parts
from ifgan_jax.data.pipeline import fake_faces
from ifgan_jax.data.protocol import Expression

SIZE, FOLDS = 12, 5
NAMES = ("bu3dfe", "ck_plus", "mmi")


def posed(number: int) -> Faces:
    """Ten people of seven expressions, each once, or twice in the first set; one set's ids are the
    other's, too.
    """
    return fake_faces(70 if number else 140, SIZE, 10, seed=number)


def in_the_wild() -> Prepared:
    train, test = (fake_faces(n, SIZE, 1, seed=s) for n, s in ((140, 8), (35, 9)))
    nobody = [
        Faces(f.images, f.labels, np.array([""] * len(f)), names, f.frames, f.intensities)
        for f, word in ((train, "train"), (test, "test"))
        for names in [np.array([f"{word}_{i:05d}" for i in range(len(f))])]
    ]
    return Prepared(dict(zip(("train", "test"), nobody, strict=True)), [])


@pytest.fixture
def load(tmp_path: Path):
    sets = {name: Prepared({"faces": posed(i)}, [f"fake{k:04d}" for k in range(10)])
            for i, name in enumerate(NAMES)} | {"raf_db": in_the_wild()}  # fmt: skip

    def run(name: str, **changes) -> Parts:
        arguments = {
            "num_classes": 6, "image_size": SIZE, "channels": 1, "num_folds": FOLDS, "fold": 1,
            "additional": (), "averages_from": (), "validation_fraction": 0.1, "strict": False,
        }  # fmt: skip
        arguments |= {"load": lambda data_dir, name: sets[name]}
        return load_parts(name, tmp_path, **(arguments | changes))

    run.sets = sets
    return run


def rows(faces: Faces) -> set[bytes]:
    return {image.tobytes() for image in faces.images}


def test_additional_sets_give_their_training_part_only(load):
    own, more = load("ck_plus"), load("ck_plus", additional=("bu3dfe", "mmi"))
    assert rows(own.train) < rows(more.train)
    for part in ("validation", "test"):
        assert rows(getattr(own, part)) == rows(getattr(more, part))
    training = [load(name).train for name in ("bu3dfe", "mmi")]
    assert rows(more.train) == rows(own.train).union(*map(rows, training))
    assert {s.partition(":")[0] for s in more.train.subjects if ":" in s} == {"bu3dfe", "mmi"}
    assert len(set(more.train.subjects)) == 3 * 6  # one id in two sets is two people
    assert own.data_hash != more.data_hash
    assert own.folds_hash != more.folds_hash


def test_neutral_is_left_out_under_six_classes_and_of_added_posed_sets(load):
    parts = load("mmi", additional=("bu3dfe", "raf_db"))
    assert set(parts.train.labels) == set(range(6))
    parts = load("raf_db", additional=("bu3dfe",), averages_from=NAMES, num_classes=7)
    assert set(parts.train.labels) == set(range(7))
    posed = parts.train.subjects != ""
    assert set(parts.train.labels[posed]) == set(range(6))
    own = load("raf_db", additional=("bu3dfe",), num_classes=7)  # averages of the training part
    assert own.averages.counts.tolist() == [12] * 7  # six people of ten train, twice each


def test_an_added_raf_db_trains_with_all_of_its_training_part(load):
    """What validates, validates RAF-DB's own runs."""
    parts = load("mmi", additional=("raf_db",))
    train = load.sets["raf_db"].splits["train"]
    assert (parts.train.subjects == "").sum() == (train.labels < 6).sum()


def test_posed_averages_see_training_parts_of_posed_sets_only(load):
    parts = load("ck_plus", additional=("bu3dfe", "raf_db"))
    posed_training = [load(name).train for name in ("ck_plus", "bu3dfe")]
    for label in range(6):
        images = np.concatenate([f.images[f.labels == label] for f in posed_training])
        expected = images.mean(0, dtype=np.float64)
        np.testing.assert_allclose(parts.averages.images[label], expected, rtol=1e-6)
    assert parts.averages.counts.tolist() == [6 + 2 * 6] * 6


def test_raf_db_has_its_owners_parts_and_posed_averages(load):
    parts = load("raf_db", averages_from=NAMES, num_classes=7)
    train, test = (load.sets["raf_db"].splits[name] for name in ("train", "test"))
    assert rows(parts.test) == rows(test)
    assert rows(parts.train) | rows(parts.validation) == rows(train)
    assert not rows(parts.train) & rows(parts.validation)
    assert np.bincount(parts.validation.labels).tolist() == [2] * 7  # a tenth of each class
    for label in Expression:
        sides = [load.sets[name].splits["faces"] for name in NAMES]
        images = np.concatenate([faces.images[faces.labels == label] for faces in sides])
        expected = images.mean(0, dtype=np.float64)  # each image counts alike, not each set
        np.testing.assert_allclose(parts.averages.images[label], expected, rtol=1e-6)
    again = load("raf_db", averages_from=NAMES, num_classes=7)
    assert np.array_equal(again.validation.images, parts.validation.images)
    other = load("raf_db", averages_from=NAMES, num_classes=7, fold=2)
    assert rows(other.validation) != rows(parts.validation)


def test_raf_db_may_train_on_all(load):
    parts = load("raf_db", averages_from=NAMES, num_classes=7, validation_fraction=0.0)
    assert len(parts.validation) == 0
    assert rows(parts.train) == rows(load.sets["raf_db"].splits["train"])


def test_shared_images_raise_in_our_folds_and_are_told_in_an_owners(load):
    load.sets["mmi"].splits["faces"].images[10] = load.sets["mmi"].splits["faces"].images[3]
    with pytest.raises(ValueError, match="overlap in 0 subjects and 1 images"):
        load("mmi")
    raf = load.sets["raf_db"].splits
    raf["test"].images[4] = raf["train"].images[4]
    parts = load("raf_db", averages_from=NAMES, num_classes=7)
    assert any("the same image is" in remark for remark in parts.remarks)
    with pytest.raises(ValueError, match="and 1 images"):
        load("raf_db", averages_from=NAMES, num_classes=7, strict=True)


def test_an_added_set_may_not_hold_a_test_image(load):
    ours, theirs = (load.sets[name].splits["faces"] for name in ("mmi", "ck_plus"))
    test, train = (np.flatnonzero(ours.subjects == f"fake000{k}")[0] for k in (1, 0))
    theirs.images[train] = ours.images[test]
    with pytest.raises(ValueError, match=r"train example .*ck_plus:.* and test example"):
        load("mmi", additional=("ck_plus",))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("raf_db", {"num_classes": 7}, "raf_db is not posed; name posed sets"),
        ("raf_db", {"averages_from": ("raf_db",)}, "raf_db is not posed, its faces"),
        ("mmi", {"additional": ("mmi",)}, "mmi is in use twice"),
        ("mmi", {"averages_from": ("ck_plus",)}, "mmi is posed itself"),
        ("raf_db", {"averages_from": NAMES, "validation_fraction": 1.0}, "validation_fraction 1.0"),
    ],
)
def test_what_makes_no_sense_is_named(load, name, changes, message, monkeypatch):
    monkeypatch.setattr("ifgan_jax.data.parts.audit", None)  # it takes long, and comes after
    with pytest.raises(ValueError, match=message):
        load(name, **changes)


def test_folds_are_written_beside_the_set_and_kept(load, tmp_path: Path):
    first = load("mmi")
    path = tmp_path / "mmi" / f"folds_{FOLDS}.json"
    assert path.exists()
    swapped = path.read_text().replace("fake0001", "x").replace("fake0002", "fake0001")
    path.write_text(swapped.replace('"x"', '"fake0002"'))
    second = load("mmi")
    assert "fake0002" in second.test.subjects
    assert first.folds_hash != second.folds_hash
