"""Folds and splits (Sec. 4.1; docs/decisions.md, row o)."""

from pathlib import Path

import pytest

from ifgan_jax.data.protocol import Expression, load_folds, split_subjects, subject_folds


def test_expression_order_and_names():
    assert [e.label for e in Expression] == [
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"
    ]  # fmt: skip
    assert list(Expression) == list(range(7))


def test_folds_by_hand():
    subjects = ["d", "a", "g", "b", "b", "e", "c", "f", "a"]
    assert subject_folds(subjects, 3) == [["a", "d", "g"], ["b", "e"], ["c", "f"]]


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
