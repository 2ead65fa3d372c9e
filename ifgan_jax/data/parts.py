"""The three parts of a cross-validation run, audited, and the averages of the training part."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ifgan_jax.data.averages import Averages, average_faces
from ifgan_jax.data.faces import Faces, load_faces
from ifgan_jax.data.pipeline import fake_faces
from ifgan_jax.data.protocol import audit, split_subjects

FAKE = "fake_faces"  # fake_faces/SIZE_SUBJECTS: patterns in place of faces, for tests and timing


class Parts(NamedTuple):
    """Faces by part, the target faces, and the SHA-256 of the whole data set."""

    train: Faces
    validation: Faces
    test: Faces
    averages: Averages
    data_hash: str


def load_parts(
    name: str,
    data_dir: str | Path,
    *,
    num_classes: int,
    image_size: int,
    channels: int,
    num_folds: int,
    fold: int,
) -> Parts:
    """Read the prepared data set `name` and split it by subject (Sec. 4.1).

    Folds are cut from all subjects, then labels from num_classes on are left out. Raises ValueError
    for another image size or overlapping parts, and what `load_faces` raises.
    """
    if name.startswith(f"{FAKE}/"):
        if not (numbers := re.fullmatch(r"(\d+)_(\d+)", name.removeprefix(f"{FAKE}/"))):
            raise ValueError(f"data.name {name}: write {FAKE}/SIZE_SUBJECTS, such as {FAKE}/72_20")
        size, subjects = map(int, numbers.groups())
        faces = fake_faces(num_classes * subjects, size, subjects, seed=0, num_classes=num_classes)
    else:
        faces = load_faces(data_dir, name)
    if faces.images.shape[1:] != (image_size, image_size, channels):
        height, width, found = faces.images.shape[1:]
        raise ValueError(
            f"{name} holds images of {height}×{width}×{found}, the config says data.image_size "
            f"{image_size} and data.channels {channels}"
        )
    split = split_subjects(faces.subjects, fold, num_folds)
    known = faces.labels < num_classes
    parts = {
        part: faces.select(known & np.isin(faces.subjects, subjects))
        for part, subjects in split._asdict().items()
    }
    if empty := [part for part, of_part in parts.items() if not len(of_part)]:
        raise ValueError(
            f"{name}, fold {fold} of {num_folds}: no image of the first {num_classes} expressions "
            f"in {', '.join(empty)}; choose another data.fold or fewer data.num_folds"
        )
    audit(parts)
    return Parts(
        **parts, averages=average_faces(parts["train"], num_classes), data_hash=faces.hash()
    )
