"""The experimental protocol (Sec. 4.1): canonical expressions, subject-disjoint folds, the audit.

Numpy only. Subject ids are strings; a fold is a number in [0, num_folds).
"""

import collections
import enum
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32, Shaped, UInt8

_SHOWN = 10  # offenders written out in one error message


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


@runtime_checkable
class Examples(Protocol):
    """What the audit reads of a data set; `ifgan_jax.data.faces.Faces` is one."""

    @property
    def images(self) -> UInt8[np.ndarray, "n h w c"]: ...
    @property
    def subjects(self) -> Shaped[np.ndarray, " n"]: ...
    @property
    def sequences(self) -> Shaped[np.ndarray, " n"]: ...
    @property
    def frames(self) -> Int32[np.ndarray, " n"]: ...


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


def split_subjects(subjects: Iterable[str], fold: int, num_folds: int) -> Split:
    """One run of the cross-validation: 8/1/1 subsets when num_folds is 10 (Sec. 4.1).

    Test is `fold`, validation the next one, (fold + 1) mod num_folds (the paper names none), train
    the rest.

    Raises:
        ValueError: fold out of range, fewer than 3 folds, fewer subjects than folds.
    """
    folds = subject_folds(subjects, num_folds)
    if num_folds < 3:
        raise ValueError(
            f"num_folds={num_folds}: train, validation and test need at least 3 folds."
        )
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold={fold} is out of range: choose 0 to {num_folds - 1}.")
    following = (fold + 1) % num_folds
    rest = [folds[k] for k in range(num_folds) if k not in (fold, following)]
    return Split(sorted(itertools.chain.from_iterable(rest)), folds[following], folds[fold])


def audit(splits: Mapping[str, Examples]) -> None:
    """Pass if no subject and no image is in two of the named splits.

    Images are the same when the SHA-256 of their bytes is. A repeat within one split passes.

    Raises:
        ValueError: naming the subjects, the examples (their row in the split) and the splits.
    """
    subjects = _shared({name: [str(s) for s in part.subjects] for name, part in splits.items()})
    images = _shared(
        {
            name: [hashlib.sha256(image.tobytes()).hexdigest() for image in part.images]
            for name, part in splits.items()
        }
    )
    offenders = [
        f"subject {subject} is in "
        + " and ".join(f"{name} (examples {_listed(rows)})" for name, rows in places.items())
        for subject, places in subjects.items()
    ] + [
        "the same image is "
        + " and ".join(_example(name, splits[name], rows[0]) for name, rows in places.items())
        for places in images.values()
    ]
    if offenders:
        raise ValueError(
            f"The splits {', '.join(splits)} overlap in {len(subjects)} subjects and "
            f"{len(images)} images:\n  "
            + "\n  ".join(offenders[:_SHOWN])
            + (f"\n  … and {len(offenders) - _SHOWN} more" if len(offenders) > _SHOWN else "")
            + "\nSplit by subject (split_subjects) and keep one copy of each repeated image."
        )


def _shared(keys: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[int]]]:
    """The keys found in more than one split → split → rows."""
    places: dict[str, dict[str, list[int]]] = collections.defaultdict(dict)
    for name, column in keys.items():
        for row, key in enumerate(column):
            places[key].setdefault(name, []).append(row)
    return {key: found for key, found in places.items() if len(found) > 1}


def _listed(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:3])) + (", …" if len(rows) > 3 else "")


def _example(name: str, part: Examples, row: int) -> str:
    return (
        f"{name} example {row} (subject {part.subjects[row]}, "
        f"sequence {part.sequences[row]}, frame {part.frames[row]})"
    )
