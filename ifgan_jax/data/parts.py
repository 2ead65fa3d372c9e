"""The three parts of a run, audited, with their averages: the protocol of Sec. 4.1 to 4.3."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ifgan_jax.data.audit import audit
from ifgan_jax.data.averages import Averages, average_faces
from ifgan_jax.data.faces import (
    RAF_DB,
    SYNTHETIC,
    Faces,
    Load,
    Prepared,
    available_memory,
    joined,
    load_prepared,
)
from ifgan_jax.data.pipeline import fake_faces
from ifgan_jax.data.protocol import Expression, Split, load_folds, split_subjects, subject_folds

FAKE = "fake_faces"  # fake_faces/SIZE_SUBJECTS: patterns in place of faces, for tests and timing
FAKE_BYTES = 5  # at most, for a pixel of all of them, while they are made


@dataclasses.dataclass(frozen=True)
class Parts:
    """Faces by part, the target faces, and what identifies and what is odd about them.

    data_hash: SHA-256 of every data set in use, whole. folds_hash: of their folds. remarks: the
    audit's lines. `validation` may be empty (RAF-DB with validation_fraction 0).
    """

    train: Faces
    validation: Faces
    test: Faces
    averages: Averages
    data_hash: str
    folds_hash: str
    remarks: list[str]


def load_parts(
    name: str,
    data_dir: str | Path,
    *,
    num_classes: int,
    image_size: int,
    channels: int,
    num_folds: int,
    fold: int,
    additional: Sequence[str],
    averages_from: Sequence[str],
    validation_fraction: float,
    strict: bool,
    load: Load = load_prepared,
) -> Parts:
    """Read the prepared data sets and cut them (Sec. 4.1), as docs/decisions.md rows n, o, y say.

    Posed sets are split by subject into folds of all their subjects; RAF-DB has its owner's parts,
    of whose training part `validation_fraction` validates (the same share of each class), where it
    is `name` itself. Then labels from num_classes on are left out.

    Args:
      additional: data sets whose training part (of the same fold) is trained on, too; without the
        neutral faces of posed ones, which Sec. 4.1 does not count.
      averages_from: for RAF-DB: posed sets whose images, all of them, make the target faces; empty,
        for all others: the posed images of the training part.
      strict: everything that the audit finds is an error.
      load: (data_dir, name) → the data set; `load_prepared`, or for data of one's own a function
        that gives its faces and the people among whom folds are cut (docs/extending.md).

    Raises:
      ValueError: another image size, a fold or name that does not exist, an empty or overlapping
        part, RAF-DB in an average; and what `load_prepared` raises.
    """
    if repeated := {n for n in (name, *additional) if (name, *additional).count(n) > 1}:
        raise ValueError(f"data.additional: {', '.join(sorted(repeated))} is in use twice")
    if unposed := [n for n in averages_from if n.partition("/")[0] == RAF_DB]:
        raise ValueError(
            f"data.averages_from: {unposed[0]} is not posed, its faces are not averaged"
        )
    sets = {
        n: _load(n, data_dir, (image_size, image_size, channels), num_classes, load)
        for n in dict.fromkeys((name, *additional, *averages_from))
    }
    posed = [n for n in (name, *additional) if sets[n].subjects]
    _check_averages(name, posed, averages_from)
    folds: dict[str, list[list[str]]] = {}
    cut = {}
    for n in (name, *additional):
        if sets[n].subjects:
            folds[n] = _folds(n, data_dir, sets[n].subjects, num_folds)
            cut[n] = _by_subject(sets[n].splits["faces"], split_subjects(folds[n], fold))
        else:
            held_out = validation_fraction if n == name else 0.0
            cut[n] = _by_owner(sets[n], fold, num_folds, held_out)
    others = [_added(n, cut[n]["train"], posed=n in posed) for n in additional]
    parts = cut[name] | {"train": joined([cut[name]["train"], *others])}
    used = {part: faces.select(faces.labels < num_classes) for part, faces in parts.items()}
    for part, faces in used.items():
        if not len(faces) and (part != "validation" or sets[name].subjects or validation_fraction):
            raise ValueError(
                f"{name}, fold {fold} of {num_folds}: no image of the first {num_classes} "
                f"expressions in {part}; choose another data.fold or fewer data.num_folds"
            )
    remarks = audit(
        used,
        own=bool(sets[name].subjects),
        strict=strict,
        cache=None if name.startswith(FAKE) else Path(data_dir) / "hashes",
    )
    averaged = joined(
        [sets[n].splits["faces"] for n in averages_from] or [cut[n]["train"] for n in posed]
    )
    return Parts(
        **used,
        averages=average_faces(averaged.select(averaged.labels < num_classes), num_classes),
        data_hash=_combined([s.hash() for n in sets for s in sets[n].splits.values()]),
        folds_hash=hashlib.sha256(json.dumps(folds).encode()).hexdigest(),
        remarks=remarks,
    )


def _load(
    name: str, data_dir: str | Path, shape: tuple[int, int, int], classes: int, load: Load
) -> Prepared:
    if name.startswith(f"{FAKE}/"):
        numbers = re.fullmatch(r"(\d{1,4})_([1-9]\d{0,5})", name.removeprefix(f"{FAKE}/"))
        if not numbers:
            raise ValueError(f"data.name {name}: write {FAKE}/SIZE_SUBJECTS, such as {FAKE}/72_20")
        size, subjects = map(int, numbers.groups())
        if FAKE_BYTES * size**2 * classes * subjects > available_memory():
            raise ValueError(f"data.name {name}: so many faces do not fit in memory; name fewer")
        faces = fake_faces(classes * subjects, size, subjects, seed=0, num_classes=classes)
        prepared = Prepared({"faces": faces}, sorted(set(faces.subjects.tolist())))
    else:
        prepared = load(data_dir, name)
    for faces in prepared.splits.values():
        if faces.images.shape[1:] != shape:
            height, width, found = faces.images.shape[1:]
            raise ValueError(
                f"{name} holds images of {height}×{width}×{found}, the config says data.image_size "
                f"{shape[0]} and data.channels {shape[2]}"
            )
    return prepared


def _check_averages(name: str, posed: Sequence[str], averages_from: Sequence[str]) -> None:
    """posed: those of the sets that are trained on."""
    if averages_from and name in posed:
        raise ValueError(
            f"data.averages_from: {name} is posed itself: faces outside its training part would "
            "reach its target faces; leave it empty, and name the sets in data.additional"
        )
    if not (averages_from or posed):
        raise ValueError(f"data.averages_from: {name} is not posed; name posed sets to average")


def _folds(name: str, data_dir: str | Path, subjects: list[str], num_folds: int) -> list[list[str]]:
    """From the set's fold file; made-up faces have none."""
    if name.startswith(FAKE):
        return subject_folds(subjects, num_folds)
    folder = name if name.startswith(SYNTHETIC) else name.partition("/")[0]
    return load_folds(Path(data_dir) / folder / f"folds_{num_folds}.json", subjects, num_folds)


def _by_subject(faces: Faces, split: Split) -> dict[str, Faces]:
    return {
        part: faces.select(np.isin(faces.subjects, subjects))
        for part, subjects in split._asdict().items()
    }


def _by_owner(prepared: Prepared, fold: int, num_folds: int, fraction: float) -> dict[str, Faces]:
    """RAF-DB: the owner's test part; of his training part a share of each class validates.

    Which images these are is drawn with `fold` as the seed: the folds do nothing else here.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"data.validation_fraction {fraction}: must be from 0 to below 1")
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold={fold} is out of range: choose 0 to {num_folds - 1}.")
    train = prepared.splits["train"]
    draws = np.random.PCG64(fold).random_raw(len(train))  # a stream that numpy guarantees
    held = np.zeros(len(train), bool)
    for label in np.unique(train.labels):
        rows = np.flatnonzero(train.labels == label)
        held[rows[np.argsort(draws[rows])][: round(fraction * len(rows))]] = True
    return {
        "train": train.select(~held),
        "validation": train.select(held),
        "test": prepared.splits["test"],
    }


def _added(name: str, train: Faces, *, posed: bool) -> Faces:
    """What an additional set trains with: of posed ones the six expressions alone (Sec. 4.1).

    Subjects and sequences go under their set's name, as ids of two may be alike (S005 of CK+ and of
    MMI); an unknown subject stays so.
    """
    faces = train.select(train.labels != Expression.NEUTRAL) if posed else train
    prefix = name.partition("/")[0]
    return dataclasses.replace(
        faces,
        subjects=np.array([s and f"{prefix}:{s}" for s in faces.subjects.tolist()], np.str_),
        sequences=np.array([f"{prefix}:{s}" for s in faces.sequences.tolist()], np.str_),
    )


def _combined(hashes: Sequence[str]) -> str:
    """One set's hash as it is; of several, the hash of theirs."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
