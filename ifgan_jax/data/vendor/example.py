"""What a parser returns: examples by file and frame, the folds' subjects, and what was odd."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from ifgan_jax.data.protocol import Expression


@dataclasses.dataclass(frozen=True)
class Example:
    """One labelled picture, not yet decoded.

    Attributes:
      file: path in the `Tree`: a picture, or a video.
      label: what is shown.
      subject: who; "" where the owner does not say (RAF-DB).
      sequence: which recording; unique in the data set.
      frame: its number in the sequence, from 0; in a video, the frame to decode.
      intensity: 0 neutral to 1 full; 1 where nothing is known.
      split: "faces", or the owner's own "train" and "test".
      dual: two views of the face side by side (MMI): the more frontal one is meant.
    """

    file: str
    label: Expression
    subject: str
    sequence: str
    frame: int
    intensity: float
    split: str = "faces"
    dual: bool = False


class Found(NamedTuple):
    """A parsed folder.

    examples: by subject, sequence, frame. subjects: sorted ids that the folds are cut from; those
    without an example count too. remarks: a line for each odd thing, an error with --strict; notes:
    what is as it should be, and worth knowing.
    """

    examples: list[Example]
    subjects: list[str]
    remarks: list[str]
    notes: list[str] = []  # noqa: RUF012  (never changed in place)


def ordered(examples: list[Example]) -> list[Example]:
    """By split, subject, sequence and frame."""
    return sorted(examples, key=lambda e: (e.split, e.subject, e.sequence, e.frame))


def tally(examples: list[Example]) -> dict[str, int]:
    """Images by split and class, and by subject: "faces/anger": 200, "subject F0001": 13."""
    counts = collections.Counter(f"{e.split}/{e.label.label}" for e in examples)
    counts.update(f"subject {e.subject}" for e in examples if e.subject)
    return dict(counts)


def differences(counts: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """A line for each count that is not the expected one; subjects only where `expected` has any,
    classes only those it has.

    >>> differences({"faces/anger": 3}, {"faces/anger": 5})
    ['faces/anger: 3 images, expected 5 (2 missing)']
    """
    by_subject = any(key.startswith("subject ") for key in expected)
    keys = {*expected, *(key for key in counts if by_subject and key.startswith("subject "))}
    lines = []
    for key in sorted(keys):
        found, wanted = counts.get(key, 0), expected.get(key, 0)
        if found != wanted:
            what = f"{wanted - found} missing" if found < wanted else f"{found - wanted} extra"
            lines.append(f"{key}: {found} images, expected {wanted} ({what})")
    return lines
