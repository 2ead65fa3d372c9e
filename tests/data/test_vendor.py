"""The parsers of the four deliveries, against the writers' tables; and what people do to them."""

import collections
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from ifgan_jax.data.protocol import Expression, subject_folds
from ifgan_jax.data.vendor import bu3dfe, ck_plus, mmi, raf_db
from ifgan_jax.data.vendor.example import Example, Found, differences, tally
from ifgan_jax.data.vendor.pictures import UnreadablePictureError, read_pictures
from ifgan_jax.data.vendor.tree import LayoutError, Tree
from tests.data import deliveries
from tests.data.deliveries import Row

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


SMALL = {
    "bu3dfe": (lambda root: deliveries.bu3dfe(root, females=2, males=1), bu3dfe.find),
    "ck_plus": (
        lambda root: deliveries.ck_plus(root, sequences=deliveries.ck_sequences()[:6]),
        ck_plus.find,
    ),
    "mmi": (lambda root: deliveries.mmi(root, sequences=6, subjects=3, others=2), mmi.find),
    "raf_db": (
        lambda root: deliveries.raf_db(root, counts={"train": (2,) * 7, "test": (1,) * 7}),
        raf_db.find,
    ),
}


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
    deliveries.stored_rar(root / "delivery.rar", files)


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


# Wrong files: an error that names the file, or a remark; never a wrong label.


def put(path: str, content: bytes | str):
    def change(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


EMOTION = "Emotion/S005/001/S005_001_00000008_emotion.txt"
LIST = "basic/EmoLabel/list_patition_label.txt"
WRONG = [
    ("bu3dfe", put("F0001/F0001_XX03WH_F2D.bmp", "x"), "F0001_XX03WH_F2D.bmp: XX03 is no"),
    ("bu3dfe", put("F0001/F0001_AN05WH_F2D.bmp", "x"), "AN05 is no expression and level"),
    ("bu3dfe", put("copy/F0001_AN03AE_F2D.bmp", "x"), "one name and two contents"),
    ("ck_plus", put(EMOTION, ""), "S005_001_00000008_emotion.txt: holds ''"),
    ("ck_plus", put(EMOTION, "9.0"), "holds '9.0', no label from 0 to 7"),
    ("ck_plus", put(EMOTION, "3.5"), "holds '3.5'"),
    ("ck_plus", put(EMOTION, "nan"), "holds 'nan'"),
    ("ck_plus", put(EMOTION, b"\xff\xfe\x00"), "is not UTF-8 text"),
    ("ck_plus", put(EMOTION.replace("8_", "7_"), "3"), "has a second label"),
    ("mmi", put("Sessions/1/S001-001.xml", "<Metadata><Metatag Na"), "S001-001.xml: no readable"),
    ("mmi", put("Sessions/1/S001-001.xml", ""), "S001-001.xml: no readable XML"),
    (
        "mmi",
        put(
            "Sessions/1/S001-001.xml",
            '<M><Metatag Name="Emotion" Value="1"/><Metatag Name="Emotion" Value="2"/></M>',
        ),
        "has 2 emotions",
    ),
    ("mmi", put("Sessions/1/session.xml", '<s><track view="5"/></s>'), "needs one of 0, 1, 2"),
    ("raf_db", put(LIST, "train_00001.jpg 8\n"), "line 1: 'train_00001.jpg 8' is no image name"),
    ("raf_db", put(LIST, "train_00001.jpg\n"), "line 1: 'train_00001.jpg' is no"),
    ("raf_db", put(LIST, "train_00001.jpg 5\ntrain_00001.jpg 4\n"), "has the labels"),
    ("raf_db", put("test/1/train_00001_aligned.jpg", "x"), "a train image in test"),
    ("raf_db", put("part.zip", b"PK\x03\x04 cut"), "part.zip: damaged archive"),
    ("raf_db", put("part.rar", b"Rar!"), "part.rar: damaged archive"),
]


@pytest.mark.parametrize(("name", "change", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_wrong_files_are_named(name, change, message, tmp_path: Path):
    write, find = SMALL[name]
    write(tmp_path)
    change(tmp_path)
    with pytest.raises(LayoutError, match=message) as error:
        find(Tree(tmp_path))
    assert str(tmp_path) in str(error.value)


def test_missing_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Tree(tmp_path / "nowhere")


def test_missing_files_are_told(tmp_path: Path):
    deliveries.bu3dfe(tmp_path / "bu")
    next((tmp_path / "bu/F0007").glob("*SU04*F2D*")).unlink()
    lines = differences(tally(bu3dfe.find(Tree(tmp_path / "bu")).examples), bu3dfe.EXPECTED)
    assert lines == [
        "faces/surprise: 199 images, expected 200 (1 missing)",
        "subject F0007: 12 images, expected 13 (1 missing)",
    ]
    deliveries.raf_db(tmp_path / "raf", counts={"train": (2,) * 7, "test": (1,) * 7})
    next((tmp_path / "raf").rglob("train_00003_aligned.jpg")).unlink()
    assert raf_db.find(Tree(tmp_path / "raf")).remarks == [
        "train_00003: labelled, but without an image; left out"
    ]
    deliveries.ck_plus(tmp_path / "ck", sequences=deliveries.ck_sequences()[:6])
    next((tmp_path / "ck").rglob("S005_001_00000008.png")).unlink()
    remark = ck_plus.find(Tree(tmp_path / "ck")).remarks[0]
    assert remark == "S005_001: 5 frames, the label is of 00000008: some are missing; left out"


def test_unreadable_pictures_come_with_their_error(tmp_path: Path):
    deliveries.bu3dfe(tmp_path / "bu", females=1, males=0)
    wrong = next((tmp_path / "bu").rglob("*AN03*F2D*"))
    wrong.write_bytes(b"BM, but no more")
    tree = Tree(tmp_path / "bu")
    results = list(read_pictures(tree, bu3dfe.find(tree).examples))
    assert [type(picture) for _, picture in results].count(UnreadablePictureError) == 1
    assert wrong.name in next(str(p) for e, p in results if e.sequence == "F0001_AN")
    deliveries.mmi(tmp_path / "mmi", sequences=2, subjects=2, others=0)
    clip = tmp_path / "mmi/Sessions/1/S001-001.avi"
    clip.write_bytes(clip.read_bytes()[:200])
    found = mmi.find(Tree(tmp_path / "mmi"))
    assert {e.sequence for e in found.examples} == {"S002-001"}
    assert "S001-001.avi" in found.remarks[0]


# Archives.


def test_archives_that_lead_out_or_blow_up(tmp_path: Path):
    import zipfile

    for name in ("../F0001_AN03WH_F2D.bmp", "/F0001_AN03WH_F2D.bmp", "a\\..\\..\\F0001.bmp"):
        with zipfile.ZipFile(tmp_path / "part.zip", "w") as archive:
            archive.writestr(name, b"x")
        with pytest.raises(LayoutError, match=r"part\.zip: its member .* lies outside"):
            Tree(tmp_path)
    with zipfile.ZipFile(tmp_path / "part.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("F0001_AN03WH_F2D.bmp", bytes(2**25))
    with pytest.raises(LayoutError, match=r"would take 33554432 bytes"):
        Tree(tmp_path)


def test_locked_and_foreign_archives_have_their_command(tmp_path: Path, monkeypatch):
    """An encrypted zip, a rar without reader and a 7z are told with what unpacks them."""
    import rarfile

    locked = tmp_path / "images.zip"
    locked.write_bytes(deliveries.locked_zip("a.txt", b"hello\n", b"secret"))
    (tmp_path / "more.7z").write_bytes(b"7z")
    deliveries.stored_rar(tmp_path / "F0001.rar", {"F0001/F0001_AN03WH_F2D.bmp": b"x"})

    def no_tool(*arguments):
        raise rarfile.RarCannotExec("no unrar")

    monkeypatch.setattr(rarfile.RarFile, "open", no_tool)
    tree = Tree(tmp_path)
    assert tree.unread == {
        "images.zip": f"7z x {locked}",
        "more.7z": f"7z x {tmp_path / 'more.7z'}",
        "F0001.rar": f"unrar x {tmp_path / 'F0001.rar'}",
    }
    with pytest.raises(LayoutError, match=r"images\.zip: the password does not fit"):
        Tree(tmp_path, password="wrong")
    assert Tree(tmp_path, password="secret").read("images.zip/a.txt") == b"hello\n"


def test_examples_are_ordered_and_unique(small):
    root, _, find = small
    examples: list[Example] = find(Tree(root)).examples
    keys = [(e.split, e.subject, e.sequence, e.frame) for e in examples]
    assert keys == sorted(set(keys))
