"""Whatever lies in the files: an error that names the file, or no example; never a wrong label."""

import re
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.vendor import bu3dfe, ck_plus, mmi, raf_db
from ifgan_jax.data.vendor.tree import LayoutError, Tree

QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# Hypothesis draws strings of the code that is imported, too, and names that begin as the owners'
# do are found, rightly.
OWNERS = re.compile(r"[FMS]\d+[_-]", re.IGNORECASE)
# Nothing that would be another folder or no name at all.
NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and not OWNERS.match(name))
CONTENT = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")),
    st.text(max_size=30).map(lambda text: text.encode("utf-16", "replace")),
)
FINDERS = (bu3dfe.find, ck_plus.find, mmi.find, raf_db.find)


def put(root: Path, path: str, content: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


@QUICK
@given(st.dictionaries(NAMES, CONTENT, max_size=6))
def test_arbitrary_names_give_nothing(files: dict[str, bytes]):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            for name, content in files.items():
                put(root, name, content)
        except OSError:
            return  # a name that this file system does not take
        for find in FINDERS:
            try:
                assert find(Tree(root)).examples == []
            except LayoutError as error:  # an archive that is none, a list that is none
                assert str(root) in str(error)


def ck_plus_with(label: bytes) -> list[Expression] | None:
    """The labels of one sequence with this label file; None after an error that names it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in range(1, 6):
            put(root, f"S005_001_{i:08d}.png", b"")
        put(root, "S005_001_00000005_emotion.txt", label)
        try:
            return [example.label for example in ck_plus.find(Tree(root)).examples]
        except LayoutError as error:
            assert "S005_001_00000005_emotion.txt" in str(error)
            return None


@QUICK
@given(CONTENT)
def test_ck_plus_label_files(content: bytes):
    labels = ck_plus_with(content)
    if labels:  # then it was a number, written in some way
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        assert ck_plus.CODES[int(float(content.decode(encoding)))] == labels[-1]


@QUICK
@given(
    st.sampled_from(sorted(ck_plus.CODES)),
    st.sampled_from(["\n", "\r\n", "", "  \n\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([".7e", "d", ".1f"]),
)
def test_ck_plus_right_labels_however_written(code: int, end: str, encoding: str, form: str):
    labels = ck_plus_with(f"   {code:{form}}{end}".encode(encoding))
    assert labels == [Expression.NEUTRAL, *[ck_plus.CODES[code]] * 3]


LINE = st.one_of(
    st.text(max_size=20),
    st.tuples(st.sampled_from(["train_00001.jpg", "train_00002.jpg"]), st.integers(-1, 9)).map(
        lambda pair: f"{pair[0]} {pair[1]}"
    ),
)


@QUICK
@given(st.lists(LINE, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_raf_db_lists(lines: list[str], end: str):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        text = end.join(lines).encode("utf-8", "replace")
        put(root, "list_patition_label.txt", text)
        for name in ("train_00001", "train_00002"):
            put(root, f"aligned/{name}_aligned.jpg", b"")
        try:
            examples = raf_db.find(Tree(root)).examples
        except LayoutError as error:
            assert "list_patition_label.txt" in str(error)
            return
        stated = [line.split() for line in text.decode().splitlines() if line.split()]
        for example in examples:
            codes = {code for name, code in stated if name == f"{example.sequence}.jpg"}
            assert codes == {next(c for c, e in raf_db.CODES.items() if e == example.label)}
        assert len(examples) == len({name for name, _ in stated})


XML = b'<Metadata><Metatag Name="Emotion" Value="3"/></Metadata>'
SESSION = b'<session><track filename="S001-002.avi" view="0"/></session>'


@QUICK
@given(st.integers(0, len(XML)), st.one_of(st.just(b""), CONTENT))
def test_mmi_xml_cut_and_followed_by_anything(cut: int, rest: bytes):
    """No clip can be read here: a truncated XML is an error, a whole one goes on to the video."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        put(root, "Sessions/1/S001-002.avi", b"no video")
        put(root, "Sessions/1/session.xml", SESSION)
        put(root, "Sessions/1/S001-002.xml", XML[:cut] + rest)
        try:
            found = mmi.find(Tree(root))
        except LayoutError as error:
            assert "S001-002.xml" in str(error)
        else:
            assert found.examples == []
            assert any("S001-002.avi" in r or "without one" in r for r in found.remarks)


@QUICK
@given(
    st.from_regex(r"[FM][0-9]{4}_[A-Z]{2}[0-9]{2}[A-Z]{2}_F2D\.(bmp|PNG)", fullmatch=True),
    st.sampled_from(["", *bu3dfe.CODES]),
    st.sampled_from(["", "00", "01", "03", "04", "05"]),
)
def test_bu3dfe_names(name: str, known: str, number: str):
    name = f"{name[:6]}{known or name[6:8]}{number or name[8:10]}{name[10:]}"
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), name, b"")
        code, level = name[6:8], int(name[8:10])
        try:
            examples = bu3dfe.find(Tree(folder)).examples
        except LayoutError as error:
            assert name in str(error)
            assert (
                code not in bu3dfe.CODES
                or level not in (0, 1, 2, 3, 4)
                or ((code == "NE") != (level == 0))
            )
        else:
            assert [e.label for e in examples] == [bu3dfe.CODES[code]] * (level in (0, 3, 4))
