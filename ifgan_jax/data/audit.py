"""The audit before every training: nobody, and no image, is in two parts; what is nearly so, told.

Exact duplicates by SHA-256 of the pixels. Near-duplicates by a difference hash of 16 × 16 bits: a
copy that was scaled, dimmed and compressed differs in 12 bits of 256 on average, rendered faces of
two people in 29 at least (2,600 images of 200 people; fewer in tests/data/test_audit.py).
"""

import collections
import contextlib
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ifgan_jax.data.faces import Faces
from ifgan_jax.files import read_arrays

LOGGER = logging.getLogger(__name__)
SIDE = 16  # of the difference hash
NEAR = 16  # bits of 256 up to which two images are called near-duplicates
SHOWN = 10  # offenders written out in one message


class Hashes(NamedTuple):
    """Of n images: SHA-256 as 32 bytes, difference hash as 32 bytes."""

    exact: UInt8[np.ndarray, "n 32"]
    near: UInt8[np.ndarray, "n 32"]


def audit(splits: Mapping[str, Faces], *, own: bool, strict: bool, cache: Path | None) -> list[str]:
    """Lines on what is shared between the named splits; a repeat within one split is no matter.

    Args:
      own: the splits are ours: a shared subject or image is an error, in an owner's it is told.
      strict: every line is an error.
      cache: folder of hashes by content; None keeps none.

    Raises:
      ValueError: naming subjects, examples (their row in the split) and splits.
    """
    hashes = {name: image_hashes(part, cache) for name, part in splits.items()}
    subjects = _shared({name: part.subjects.tolist() for name, part in splits.items()})
    subjects.pop("", None)  # not known
    images = _shared({name: [row.tobytes().hex() for row in h.exact] for name, h in hashes.items()})
    exact = [
        f"subject {subject} is in "
        + " and ".join(f"{name} (examples {_listed(rows)})" for name, rows in places.items())
        for subject, places in subjects.items()
    ] + [
        "the same image is "
        + " and ".join(_example(name, splits[name], rows[0]) for name, rows in places.items())
        for places in images.values()
    ]
    near = _near(splits, hashes)
    if (exact and own) or (strict and (exact or near)):
        lines = exact + (near if strict else [])
        raise ValueError(
            f"The splits {', '.join(splits)} overlap in {len(subjects)} subjects and "
            f"{len(images)} images:\n  "
            + "\n  ".join(lines[:SHOWN])
            + (f"\n  … and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
            + "\nSplit by subject (split_subjects) and keep one copy of each repeated image."
        )
    return exact + near


def image_hashes(faces: Faces, cache: Path | None) -> Hashes:
    """The hashes of each image; read from `cache` when the same faces were hashed before.

    A damaged file there is told, and made anew.
    """
    path = cache / f"{faces.hash()}.npz" if cache else None
    if path and path.exists():
        try:
            return _stored(path, len(faces))
        except ValueError as error:
            LOGGER.warning("%s", error)
    exact = [hashlib.sha256(image.tobytes()).digest() for image in faces.images]
    hashes = Hashes(
        np.frombuffer(b"".join(exact), np.uint8).reshape(-1, 32),
        np.array([difference_hash(x) for x in faces.images], np.uint8).reshape(-1, 32),
    )
    if path:
        with contextlib.suppress(OSError):  # a folder that is read only: hashed again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.npz")
            np.savez(partial, **hashes._asdict())
            partial.replace(path)
    return hashes


def _stored(path: Path, count: int) -> Hashes:
    remedy = "the images are hashed anew"
    hashes = Hashes(**read_arrays(path, {"exact": "u1", "near": "u1"}, remedy))
    if any(array.shape != (count, 32) for array in hashes):
        raise ValueError(f"{path} is damaged (not the hashes of {count} images): {remedy}")
    return hashes


def difference_hash(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, " 32"]:
    """Whether each of 16 × 16 fields is darker than its right neighbour; of the channels' mean."""
    gray = Image.fromarray(image.mean(-1).astype(np.uint8))
    small = np.asarray(gray.resize((SIDE + 1, SIDE), Image.Resampling.BOX))
    return np.packbits(small[:, 1:] > small[:, :-1])


def _near(splits: Mapping[str, Faces], hashes: Mapping[str, Hashes]) -> list[str]:
    """A line for each pair of splits' images that are nearly, but not exactly, the same."""
    lines = []
    names = list(splits)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            theirs = hashes[b].near.view(np.uint64)
            for row, ours in enumerate(hashes[a].near.view(np.uint64)):
                bits = np.bitwise_count(theirs ^ ours).sum(-1)
                for other in np.flatnonzero(bits <= NEAR):
                    if (hashes[a].exact[row] != hashes[b].exact[other]).any():
                        lines.append(
                            f"{_example(a, splits[a], row)} and "
                            f"{_example(b, splits[b], int(other))} "
                            f"are nearly the same image ({bits[other]} of 256 bits differ)"
                        )
    return lines


def _shared(keys: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[int]]]:
    """The keys found in more than one split → split → rows."""
    places: dict[str, dict[str, list[int]]] = collections.defaultdict(dict)
    for name, column in keys.items():
        for row, key in enumerate(column):
            places[key].setdefault(name, []).append(row)
    return {key: found for key, found in places.items() if len(found) > 1}


def _listed(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:3])) + (", …" if len(rows) > 3 else "")


def _example(name: str, part: Faces, row: int) -> str:
    return (
        f"{name} example {row} (subject {part.subjects[row]}, "
        f"sequence {part.sequences[row]}, frame {part.frames[row]})"
    )
