"""Folds and splits (Sec. 4.1; docs/decisions.md, row o)."""

from pathlib import Path

import pytest

from ifgan_jax.data.protocol import Expression, load_folds, split_subjects, subject_folds

# CK+: labelled sequences of each of the 118 subjects, contempt included ("S" left out of the ids).
CK_PLUS = (
    "005:1 010:3 011:6 014:4 022:3 026:4 028:1 029:1 032:5 034:3 035:3 037:3 042:4 044:3 045:2 "
    "046:4 050:4 051:2 052:3 053:2 054:3 055:5 056:3 057:3 058:3 059:2 060:3 061:3 062:4 063:2 "
    "064:3 065:4 066:4 067:4 068:4 069:3 070:3 071:5 072:2 073:2 074:4 075:4 076:3 077:2 078:3 "
    "079:3 080:3 081:3 082:3 083:1 084:2 085:3 086:2 087:4 088:2 089:3 090:3 091:2 092:3 093:2 "
    "094:2 095:4 096:3 097:3 098:2 099:3 100:3 101:1 102:3 105:1 106:3 107:2 108:3 109:3 110:1 "
    "111:3 112:1 113:3 114:2 115:3 116:3 117:3 119:3 122:1 124:4 125:5 126:2 127:3 128:2 129:4 "
    "130:5 131:4 132:5 133:3 134:3 135:2 136:4 137:3 138:5 139:1 147:1 148:1 149:1 151:1 154:1 "
    "155:1 156:1 157:1 158:1 160:1 501:3 502:3 503:3 504:4 505:2 506:4 895:1 999:2"
)


def test_expression_order_and_names():
    assert [e.label for e in Expression] == [
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"
    ]  # fmt: skip
    assert list(Expression) == list(range(7))


def test_folds_by_hand():
    subjects = ["d", "a", "g", "b", "b", "e", "c", "f", "a"]
    assert subject_folds(subjects, 3) == [["a", "d", "g"], ["b", "e"], ["c", "f"]]


def test_folds_are_the_published_ones_of_ck_plus():
    """Sequences in each fold of Emotion-FAN's CK+_10-fold_sample_IDascendorder_step10.txt."""
    sequences = {"S" + s: int(n) for s, n in (item.split(":") for item in CK_PLUS.split())}
    folds = subject_folds(reversed(sequences), 10)
    assert folds[3] == sorted(sequences)[3::10]
    sizes = [sum(sequences[subject] for subject in fold) for fold in folds]
    assert sizes == [33, 39, 40, 35, 30, 37, 29, 29, 33, 22]


def test_split_by_hand():
    split = split_subjects(subject_folds("abcdefg", 3), fold=2)
    assert split.test == ["c", "f"]
    assert split.validation == ["a", "d", "g"]  # (2 + 1) mod 3 = 0
    assert split.train == ["b", "e"]


@pytest.mark.parametrize("fold", range(10))
def test_ten_folds_are_eight_one_one(fold):
    subjects = [f"S{i:03d}" for i in range(100)]
    folds = subject_folds(subjects, 10)
    split = split_subjects(folds, fold)
    assert list(map(len, split)) == [80, 10, 10]
    assert sorted([*split.train, *split.validation, *split.test]) == subjects
    assert split.validation == split_subjects(folds, (fold + 1) % 10).test
    assert split.train == sorted(split.train)


def test_fold_errors():
    folds = subject_folds(map(str, range(20)), 10)
    with pytest.raises(ValueError, match=r"fold=10 is out of range: choose 0 to 9"):
        split_subjects(folds, 10)
    with pytest.raises(ValueError, match=r"fold=-1 is out of range"):
        split_subjects(folds, -1)
    with pytest.raises(ValueError, match=r"num_folds=10 with 9 subjects: choose 1 to 9 folds"):
        subject_folds([*map(str, range(9)), "8"], 10)
    with pytest.raises(ValueError, match=r"num_folds=2: .* at least 3 folds"):
        split_subjects(folds[:2], 0)


def test_fold_files_are_written_once_and_obeyed(tmp_path: Path):
    path = tmp_path / "set" / "folds_3.json"
    folds = load_folds(path, list("abcdefg"), 3)
    assert folds == subject_folds("abcdefg", 3) == load_folds(path, list("abcdefg"), 3)
    assert path.read_text() == '[["a", "d", "g"],\n["b", "e"],\n["c", "f"]]\n'
    path.write_text('[["a"], ["b", "c", "d", "e"], ["g", "f"]]')  # somebody else's
    assert load_folds(path, list("abcdefg"), 3)[0] == ["a"]
    with pytest.raises(ValueError, match=r"folds_3\.json: its 3 folds .* differ in h"):
        load_folds(path, list("abcdefgh"), 3)
    path.write_text('[["a"], ["b", "c", "d", "e"], ["g", "f", "a"]]')
    with pytest.raises(ValueError, match=r"folds_3\.json: its 3 folds are not 3 folds"):
        load_folds(path, list("abcdefg"), 3)
    for damage in ("[[", "3", "[3]", '{"a": 1}'):
        path.write_text(damage)
        with pytest.raises(ValueError, match=r"folds_3\.json"):
            load_folds(path, list("abcdefg"), 3)
