"""Deliveries with wrong, missing, broken, locked or hostile files: what is told of each."""

from pathlib import Path

import pytest

from ifgan_jax.data.vendor import bu3dfe, ck_plus, mmi, raf_db
from ifgan_jax.data.vendor.example import differences, tally
from ifgan_jax.data.vendor.pictures import UnreadablePictureError, read_pictures
from ifgan_jax.data.vendor.tree import LayoutError, Tree
from tests.data import deliveries
from tests.data.small import SMALL

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
    ("mmi", put("Sessions/1/session.xml", f"<s>{' ' * 2**20}</s>"), "1048583 bytes are no session"),
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
    deliveries.write_rar(tmp_path / "F0001.rar", {"F0001/F0001_AN03WH_F2D.bmp": b"x"})

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
