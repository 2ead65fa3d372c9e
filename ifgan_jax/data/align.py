"""Aligning faces (Sec. 4.2): MTCNN finds eyes and nose tip, `warp` puts them onto fixed places."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from ifgan_jax.data import warp
from ifgan_jax.data.detector import Detection, Detector
from ifgan_jax.data.vendor.example import Example
from ifgan_jax.data.vendor.pictures import Picture

LOGGER = logging.getLogger(__name__)

GIVEN = "given"  # no detection: the whole picture, scaled
ALIGNMENTS = (*warp.MAPS, GIVEN)
BATCH = 16  # pictures of one size that the detector sees together
TINY = 20.0  # pixels between the eyes below which a face is reported as tiny

E = TypeVar("E", bound=Exception)
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
MISSING = "no face found, upright or upside down"
IMPOSSIBLE = "what was found is no face: its eyes and nose tip lie as no face has them"

# Statuses. The first five come with an image, the others without one.
ALIGNED, GIVEN_STATUS, SEVERAL, TINY_FACE, UPSIDE_DOWN = (
    "aligned", "given", "several_faces", "tiny_face", "upside_down"
)  # fmt: skip
NO_FACE, UNREADABLE = "no_face", "unreadable"


def alignment_of(data_name: str) -> str:
    """How the images of a prepared data set were aligned, by its name: "ck_plus/72_affine".

    RAF-DB's are as their owner aligned them, unless its name says otherwise; ours are rendered as
    "similarity" would place them.
    """
    name, _, config = data_name.partition("/")
    said = config.partition("_")[2]
    if said in ALIGNMENTS:
        return said
    return GIVEN if name == "raf_db" else "similarity"


def alignment_for(data_name: str, chosen: str | None, aligned: bool) -> str:
    """How pictures are to be aligned for a run of that data: as its data were, unless `chosen`.

    aligned: the pictures are aligned already. Raises ValueError where nobody can know how.
    """
    if aligned:
        return GIVEN
    used = alignment_of(data_name)
    if chosen is None and used == GIVEN:
        raise ValueError(
            f"the images of {data_name} came aligned by their owner: give pictures that are "
            f"aligned alike, with --aligned, or choose --alignment={' or '.join(warp.MAPS)}"
        )
    if chosen not in (None, used):
        LOGGER.warning("--alignment=%s: the run's data, %s, are %s", chosen, data_name, used)
    return chosen or used


@dataclasses.dataclass(frozen=True)
class Aligned:
    """An example's face, or the reason why there is none.

    status: one of this module's; reason: for people, "" when all is well.
    """

    image: UInt8[np.ndarray, "s s"] | None
    status: str
    reason: str = ""
    points: Float[np.ndarray, "5 2"] | None = None  # in the source picture
    source: Picture | None = None


def align(
    pictures: Iterable[tuple[Example, Picture | Exception]],
    alignment: str,
    size: int,
    cache: Path | None,
) -> Iterator[tuple[Example, Aligned]]:
    """Each example with its face of size × size, in order; never drops one in silence.

    Args:
      alignment: "similarity", "affine", or "given": the picture as it is, scaled.
      cache: file of detections, made if absent; None keeps none.

    Raises:
      ValueError: an unknown alignment. ImportError: torch or facenet-pytorch is not installed.
      OSError: the process that finds faces died.
    """
    if alignment not in ALIGNMENTS:
        raise ValueError(f"alignment {alignment!r}: choose one of {', '.join(ALIGNMENTS)}")
    if alignment == GIVEN:
        for example, picture in pictures:
            yield example, scaled(picture, size)
        return
    for example, picture, detection in detected(pictures, cache):
        if isinstance(picture, Exception):
            yield example, Aligned(None, UNREADABLE, str(picture))
        else:
            yield example, _aligned(picture, detection, alignment, size, example.dual)


@runtime_checkable
class Named(Protocol):
    """An Example, or a photographs.Shot."""

    @property
    def file(self) -> str: ...


T = TypeVar("T", bound=Named)


def detected(
    pictures: Iterable[tuple[T, Picture | E]], cache: Path | None
) -> Iterator[tuple[T, Picture | E, Any]]:
    """Each picture with its Detection, in order; an error that stands for one with None.

    Raises ImportError when torch or facenet-pytorch is not installed, OSError naming the first file
    of those at which the process that detects died.
    """
    with contextlib.closing(Detector(cache)) as detector:
        for batch in _of_one_size(pictures):
            readable = [picture for _, picture in batch if not isinstance(picture, Exception)]
            try:
                found = iter(detector.detect(readable))
            except OSError as error:
                raise OSError(f"{batch[0][0].file}: {error}") from error
            for key, picture in batch:
                yield key, picture, None if isinstance(picture, Exception) else next(found)


def scaled(picture: Picture | Exception, size: int) -> Aligned:
    """A picture that is aligned already, in the size wanted."""
    if isinstance(picture, Exception):
        return Aligned(None, UNREADABLE, str(picture))
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    return Aligned(np.asarray(image), GIVEN_STATUS, source=picture)


def _aligned(
    picture: Picture, detection: Detection, alignment: str, size: int, dual: bool
) -> Aligned:
    """Choose a face and warp it. Of several: the largest, or, in a dual view, the most frontal."""
    if not len(detection.boxes):
        return Aligned(None, NO_FACE, MISSING, source=picture)
    rank = _frontality(detection.points) if dual else _areas(detection)
    face = _warped(picture, detection, int(rank.argmax()), alignment, size)
    if face.status == ALIGNED and len(detection.boxes) > 1 and not dual:
        reason = f"{len(detection.boxes)} faces; the largest is taken"
        return dataclasses.replace(face, status=SEVERAL, reason=reason)
    return face


def every_face(
    picture: Picture, detection: Detection, alignment: str, size: int
) -> list[tuple[Aligned, Box, float]]:
    """All faces of a picture, the largest first, with box and score (0 to 1).

    Boxes are of the picture as it was given, also where the faces in it stand upside down.
    """
    height, width = picture.shape
    found = []
    for i in np.argsort(-_areas(detection), kind="stable"):
        left, top, right, bottom = map(float, detection.boxes[i])
        if detection.turned:
            left, top, right, bottom = width - right, height - bottom, width - left, height - top
        face = _warped(picture, detection, int(i), alignment, size)
        found.append((face, (left, top, right, bottom), float(detection.scores[i])))
    return found


def _warped(
    picture: Picture, detection: Detection, which: int, alignment: str, size: int
) -> Aligned:
    """One of the faces found, on its fixed places; without an image where its points allow none."""
    if detection.turned:
        picture = picture[::-1, ::-1]
    points = detection.points[which].astype(np.float64)
    eyes = float(np.linalg.norm(points[1] - points[0]))
    status, reason = ALIGNED, ""
    if detection.turned:
        status, reason = UPSIDE_DOWN, "upside down; turned"
    elif eyes < TINY:
        status, reason = TINY_FACE, f"{eyes:.0f} pixels between the eyes; enlarged"
    try:
        with np.errstate(divide="ignore", invalid="ignore"):  # of points in one place
            image = warp.warp(picture, warp.MAPS[alignment](points[:3]), size)
    except ValueError:
        return Aligned(None, NO_FACE, IMPOSSIBLE, points, picture)
    return Aligned(image, status, reason, points, picture)


def _areas(detection: Detection) -> Float[np.ndarray, " n"]:
    left, top, right, bottom = detection.boxes.T
    return (right - left) * (bottom - top)


def _frontality(points: Float[np.ndarray, "n 5 2"]) -> Float[np.ndarray, " n"]:
    """1 when the nose tip lies midway between the eyes, along their line; less to either side."""
    across = points[:, 1] - points[:, 0]
    along = ((points[:, 2] - points[:, 0]) * across).sum(-1) / (across**2).sum(-1)
    return 1 - np.abs(2 * along - 1)


def _of_one_size(
    pictures: Iterable[tuple[T, Picture | E]],
) -> Iterator[list[tuple[T, Picture | E]]]:
    """Neighbours of one size, at most BATCH of them; errors go along."""
    batch: list[tuple[T, Picture | E]] = []
    shape: tuple[int, ...] | None = None
    for example, picture in pictures:
        other = not isinstance(picture, Exception) and shape not in (None, picture.shape)
        if batch and (other or len(batch) == BATCH):
            yield batch
            batch, shape = [], None
        batch.append((example, picture))
        if not isinstance(picture, Exception):
            shape = picture.shape
    if batch:
        yield batch
