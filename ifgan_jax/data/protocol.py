"""The experimental protocol (Sec. 4.1): canonical expressions and subject-disjoint folds.

Subject ids are strings; a fold is a number in [0, num_folds).
"""

import contextlib
import enum
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ifgan_jax.files import of_file, read_file


class Expression(enum.IntEnum):
    """The seven expressions in the one order used by labels, logits, tables and files.

    The six of Ekman come first, so that the posed data sets (Sec. 4.1) use labels 0 to 5 and
    neutral is the seventh class of RAF-DB alone.
    """

    ANGER = 0
    DISGUST = 1
    FEAR = 2
    HAPPINESS = 3
    SADNESS = 4
    SURPRISE = 5
    NEUTRAL = 6

    @property
    def label(self) -> str:
        """The name written in files and figures: "anger", "disgust", …"""
        return self.name.lower()


def class_names(num_classes: int) -> list[str]:
    """The labels of the first `num_classes` expressions, in their order."""
    return [Expression(k).label for k in range(num_classes)]


class Split(NamedTuple):
    """Sorted subject ids of the three parts of one cross-validation run."""

    train: list[str]
    validation: list[str]
    test: list[str]


def subject_folds(subjects: Iterable[str], num_folds: int) -> list[list[str]]:
    """Fold k holds every num_folds-th of the sorted unique ids, starting with the k-th.

    The published CK+ list (Emotion-FAN, CK+_10-fold_sample_IDascendorder_step10.txt) is made so:
    its ten folds are sorted(ids)[k::10] over all 118 labelled subjects. Pass the ids of the whole
    data set: the subjects left after dropping a class (contempt) give other folds.

    Raises:
        ValueError: fewer subjects than folds, or no fold asked for.
    """
    unique = sorted({str(subject) for subject in subjects})
    if not 1 <= num_folds <= len(unique):
        raise ValueError(
            f"num_folds={num_folds} with {len(unique)} subjects: choose 1 to {len(unique)} folds, "
            "so that each holds a subject."
        )
    return [unique[fold::num_folds] for fold in range(num_folds)]


def load_folds(path: pathlib.Path, subjects: Sequence[str], num_folds: int) -> list[list[str]]:
    """The folds of a data set from its fold file, which is written at the first time and kept.

    A JSON list of lists of ids, for people to read; whoever copies it to another machine has the
    same folds there.

    Raises:
        ValueError: the file is damaged, or its folds are not of these subjects; and as
            `subject_folds`.
    """
    if not path.exists():
        folds = subject_folds(subjects, num_folds)
        lines = ",\n".join(json.dumps(fold) for fold in folds)
        with contextlib.suppress(OSError):  # a folder that is read only: the rule stays the same
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}")
            partial.write_text(f"[{lines}]\n")
            partial.replace(path)
        return folds
    with of_file(path, "restore the fold file, or remove it"):
        folds = json.loads(read_file(path))
        found = sorted(str(subject) for fold in folds for subject in fold)
        if not all(isinstance(fold, list) for fold in folds):
            raise TypeError("a fold that is no list")
    if len(folds) != num_folds or found != sorted(set(subjects)):
        odd = sorted(set(found) ^ set(subjects))[:5]
        raise ValueError(
            f"{path}: its {len(folds)} folds are not {num_folds} folds of this data set's subjects"
            + (f" (they differ in {', '.join(odd)})" if odd else "")
            + "; remove it to have it made anew"
        )
    return folds


def split_subjects(folds: Sequence[list[str]], fold: int) -> Split:
    """One run of the cross-validation: 8/1/1 subsets when there are 10 folds (Sec. 4.1).

    Test is `fold`, validation the next one, (fold + 1) mod len(folds) (the paper names none), train
    the rest.

    Raises:
        ValueError: fold out of range, fewer than 3 folds.
    """
    num_folds = len(folds)
    if num_folds < 3:
        raise ValueError(
            f"num_folds={num_folds}: train, validation and test need at least 3 folds."
        )
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold={fold} is out of range: choose 0 to {num_folds - 1}.")
    following = (fold + 1) % num_folds
    rest = [folds[k] for k in range(num_folds) if k not in (fold, following)]
    return Split(sorted(itertools.chain.from_iterable(rest)), folds[following], folds[fold])
