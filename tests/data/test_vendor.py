"""The parsers of the four deliveries, against the writers' tables; and what people do to them."""

import collections
import errno
import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifgan_jax.data.protocol import Expression, subject_folds
from ifgan_jax.data.vendor import bu3dfe, ck_plus, mmi, raf_db
from ifgan_jax.data.vendor.example import Example, Found, differences, tally
from ifgan_jax.data.vendor.pictures import read_pictures
from ifgan_jax.data.vendor.tree import LayoutError, Tree
from tests.data import deliveries
from tests.data.deliveries import Row
from tests.data.small import SMALL

E = Expression


def rows(found: Found) -> list[Row]:
    return sorted(Row(e.label, e.subject, e.sequence, e.frame, e.split) for e in found.examples)


def by_class(found: Found, split: str = "faces") -> list[int]:
    counts = collections.Counter(e.label for e in found.examples if e.split == split)
    return [counts[label] for label in E]


# The whole sets, with tiny pictures.


def test_bu3dfe_whole(tmp_path: Path):
    truth = deliveries.bu3dfe(tmp_path)
    found = bu3dfe.find(Tree(tmp_path))
    assert rows(found) == sorted(truth)
    assert by_class(found) == [200] * 6 + [100]  # 1,200 images and the neutral ones
    assert len(found.subjects) == 100
    assert {e.intensity for e in found.examples} == {0.0, 0.75, 1.0}
    assert differences(tally(found.examples), bu3dfe.EXPECTED) == []
    assert found.remarks == []


def test_ck_plus_whole(tmp_path: Path):
    truth = deliveries.ck_plus(tmp_path)
    found = ck_plus.find(Tree(tmp_path))
    assert rows(found) == sorted(truth)
    assert by_class(found) == [135, 177, 75, 207, 84, 249, 309]
    assert sum(by_class(found)[:6]) == 927
    assert differences(tally(found.examples), ck_plus.EXPECTED) == []
    assert found.remarks == []
    assert len(found.subjects) == 118
    folds = subject_folds(found.subjects, 10)
    labelled = collections.Counter(subject for subject, _, _ in deliveries.ck_sequences())
    # As in Emotion-FAN's CK+_10-fold_sample_IDascendorder_step10.txt.
    sizes = [sum(labelled[subject] for subject in fold) for fold in folds]
    assert sizes == [33, 39, 40, 35, 30, 37, 29, 29, 33, 22]
    six = {e.sequence: e for e in found.examples if e.label != E.NEUTRAL}.values()
    of_fold = [[e.label for e in six if e.subject in fold] for fold in folds]
    assert list(map(len, of_fold)) == [32, 37, 38, 33, 28, 35, 27, 28, 31, 20]
    assert E.FEAR not in of_fold[9]
    assert all(E.FEAR in fold for fold in of_fold[:9])


def test_mmi_whole(tmp_path: Path):
    truth = deliveries.mmi(tmp_path)
    found = mmi.find(Tree(tmp_path))
    assert rows(found) == sorted(truth)
    assert sum(by_class(found)[:6]) == 624
    assert by_class(found)[6] == 208
    assert len(found.subjects) == 31
    assert found.remarks == []
    assert sorted(note.split(" ")[0] for note in found.notes) == ["3", "3"]  # left out
    duals = {e.sequence for e in found.examples if e.dual}
    assert len(duals) == len(range(3, 208, 11))


@pytest.mark.parametrize("kaggle", [False, True])
def test_raf_db_whole(tmp_path: Path, kaggle: bool):
    truth = deliveries.raf_db(tmp_path, kaggle=kaggle)
    found = raf_db.find(Tree(tmp_path))
    assert rows(found) == sorted(truth)
    assert by_class(found, "train") == [705, 717, 281, 4772, 1982, 1290, 2524]
    assert by_class(found, "test") == [162, 160, 74, 1185, 478, 329, 680]
    assert (sum(by_class(found, "train")), sum(by_class(found, "test"))) == (12271, 3068)
    assert differences(tally(found.examples), raf_db.EXPECTED) == []
    assert found.remarks == []


# What copies look like in the wild.


@pytest.fixture(scope="module", params=SMALL)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp(request.param)
    write, find = SMALL[request.param]
    return root, sorted(write(root)), find


def upper_case(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.upper()))


def lower_case(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))


def deeper(root: Path) -> None:
    inner = root / "some folder" / "Subjects"
    inner.mkdir(parents=True)
    for path in root.iterdir():
        if path.name != "some folder":
            path.rename(inner / path.name)


def zip_parts(root: Path) -> None:
    for path in list(root.iterdir()):
        if path.is_dir():
            deliveries.zipped(path)


def zip_all(root: Path) -> None:
    inner = root / "delivery"
    inner.mkdir()
    for path in root.iterdir():
        if path != inner:
            path.rename(inner / path.name)
    deliveries.zipped(inner)


def zip_beside(root: Path) -> None:
    """Unpacked, and the archives kept."""
    for path in list(root.iterdir()):
        if path.is_dir():
            shutil.make_archive(str(path), "zip", path)


def rar_all(root: Path) -> None:
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    shutil.rmtree(root)
    root.mkdir()
    deliveries.write_rar(root / "delivery.rar", files)


def windows(root: Path) -> None:
    """Marks and line ends of another system in every text, and its litter."""
    for path in root.rglob("*"):
        if path.suffix in (".txt", ".csv", ".TXT"):
            text = path.read_text().replace("\r", "").replace("\n", "\r\n")
            path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        if path.is_dir():
            (path / "Thumbs.db").write_bytes(b"\x00")
            (path / "._S005_001_00000011.png").write_bytes(b"\x00\x05\x16\x07")


def utf16(root: Path) -> None:
    for path in root.rglob("*"):
        if path.suffix in (".txt", ".csv"):
            path.write_bytes(path.read_text().encode("utf-16"))


def loops(root: Path) -> None:
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "nothing.png").symlink_to(root / "gone.png")


CHANGES = [
    upper_case, lower_case, deeper, zip_parts, zip_all, zip_beside, rar_all, windows, utf16, loops
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_copies_in_the_wild(small, change, tmp_path: Path):
    source, truth, find = small
    root = Path(shutil.copytree(source, tmp_path / "copy"))
    change(root)
    tree = Tree(root)
    assert rows(find(tree)) == truth
    assert tree.unread == {}


def test_linked_folders_are_listed_once(tmp_path: Path):
    deliveries.bu3dfe(tmp_path / "set", females=1, males=0)
    plain = Tree(tmp_path / "set").files
    loops(tmp_path / "set")
    assert Tree(tmp_path / "set").files == plain


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, caplog, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "private").mkdir()
    (tmp_path / "a.png").touch()
    listed = os.scandir

    def failing(path: str) -> Any:
        if path.endswith("private"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", failing)
    assert Tree(tmp_path).files == ["a.png"]
    assert f"{tmp_path}/private cannot be listed ([Errno 13] Permission denied" in caplog.text


def test_pictures_are_the_written_ones(tmp_path: Path):
    """Every picture of a small BU-3DFE, bit for bit, also out of a zip."""
    deliveries.bu3dfe(tmp_path, females=1, males=1)
    expected = {
        (s, label, level): deliveries.patch(s, label, level / 4, 0)
        for s in ("F0001", "M0001")
        for label, level in [*itertools.product(list(E)[:6], (3, 4)), (E.NEUTRAL, 0)]
    }
    for packed in (False, True):
        if packed:
            zip_parts(tmp_path)
        tree = Tree(tmp_path)
        for example, picture in read_pictures(tree, bu3dfe.find(tree).examples):
            np.testing.assert_array_equal(
                picture, expected[example.subject, example.label, example.frame]
            )


def test_video_frames_are_upright_and_the_right_ones(tmp_path: Path):
    def face(subject: str, label: Expression, strength: float, number: int) -> np.ndarray:
        """Bright above, dark below; the left edge tells the frame's number."""
        picture = np.repeat(np.array([[200], [60]], np.uint8), 2, 1)
        return np.hstack([np.full((2, 1), 20 * (number % 7) + 60, np.uint8), picture])

    deliveries.mmi(tmp_path, face, sequences=6, subjects=6, others=0)
    tree = Tree(tmp_path)
    shapes = set()
    for example, picture in read_pictures(tree, mmi.find(tree).examples):
        height, width = picture.shape
        shapes.add(picture.shape)
        if example.dual:
            continue
        right = picture[:, width * 2 // 3 + 20 :].astype(float)
        assert right[: height // 4].mean() > right[-height // 4 :].mean() + 50
        assert abs(picture[:, : width // 8].mean() - (20 * example.frame + 60)) < 9
    assert shapes == {(480, 640), (720, 576)}


def test_mmi_xml_may_have_a_namespace(tmp_path: Path):
    truth = deliveries.mmi(tmp_path, sequences=6, subjects=3, others=0)
    for path in tmp_path.rglob("*.xml"):
        text = path.read_text()
        for root in ("<session ", "<Metadata"):
            text = text.replace(root, f'{root.rstrip()} xmlns="urn:some" ')
        path.write_text(text)
    assert rows(mmi.find(Tree(tmp_path))) == sorted(truth)


def test_a_session_list_is_obeyed(tmp_path: Path):
    deliveries.mmi(tmp_path, sequences=6, subjects=3, others=2)
    (tmp_path / "sessions.txt").write_text("# mine\n1\n s002-001  # a clip\r\n\n")
    asked = mmi.read_sessions(tmp_path / "sessions.txt")
    found = mmi.find(Tree(tmp_path), asked)
    assert {e.sequence for e in found.examples} == {"S001-001", "S002-001"}
    with pytest.raises(LayoutError, match="has no session 99"):
        mmi.find(Tree(tmp_path), frozenset({"1", "99"}))


def test_examples_are_ordered_and_unique(small):
    root, _, find = small
    examples: list[Example] = find(Tree(root)).examples
    keys = [(e.split, e.subject, e.sequence, e.frame) for e in examples]
    assert keys == sorted(set(keys))
