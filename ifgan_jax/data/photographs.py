"""Photographs and videos → aligned faces, found and warped as those of the data sets (Sec. 4.2)."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ifgan_jax.data import align
from ifgan_jax.data.detector import Detection
from ifgan_jax.data.vendor.pictures import (
    VIDEOS,
    Picture,
    UnreadablePictureError,
    check_pyav,
    decode,
    open_video,
    square_pixels,
)
from ifgan_jax.data.vendor.tree import walk
from ifgan_jax.files import read_file

LOGGER = logging.getLogger(__name__)

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Shot(NamedTuple):
    """A photograph, or a frame of a video."""

    file: str
    frame: int | None  # of a video, from 0


class FoundFace(NamedTuple):
    """A face and how well it was found, or why there is none."""

    shot: Shot
    image: UInt8[np.ndarray, "s s"] | None
    status: str  # one of `align`'s
    reason: str  # for people; "" when all is well
    box: align.Box | None = None  # in the shot
    score: float | None = None  # the detector's, 0 to 1
    eyes: float | None = None  # pixels between them


def listed(paths: Sequence[str | Path], without: Collection[Path] = ()) -> list[Path]:
    """The pictures and videos named, and all below the folders named, in order; links are followed.

    without: files that are not taken. Tells how many others a folder has.
    Raises FileNotFoundError for what is not there, ValueError for a folder without any, for a file
    that is neither by its ending, and for a video without PyAV.
    """
    files: list[Path] = []
    apart = {file.resolve() for file in without}
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        inside = sorted(path / name for name in walk(path)) if path.is_dir() else [path]
        inside = [file for file in inside if not apart or file.resolve() not in apart]
        kept = [f for f in inside if f.suffix.lower() in (*PICTURES, *VIDEOS) and f.is_file()]
        if not kept:
            what = "holds no" if path.is_dir() else "is no"
            endings = ", ".join((*PICTURES, *VIDEOS))
            raise ValueError(f"{path}: {what} picture or video ({endings})")
        if left := sorted({file.suffix.lower() or file.name for file in {*inside} - {*kept}}):
            number = len(inside) - len(kept)
            LOGGER.info("%s: %d other files left out: %s", path, number, ", ".join(left))
        files += kept
    if any(file.suffix.lower() in VIDEOS for file in files):
        check_pyav()
    return files


def shots(
    files: Iterable[Path], every: int
) -> Iterator[tuple[Shot, Picture | UnreadablePictureError]]:
    """Photographs and every so many-th frame of videos, decoded one by one, or what went wrong."""
    for file in files:
        frame: int | None = None
        try:
            if file.suffix.lower() in VIDEOS:
                for frame, picture in _frames(file, every):
                    yield Shot(str(file), frame), picture
            else:
                yield Shot(str(file), None), decode(read_file(file), str(file))
        except OSError as error:
            yield Shot(str(file), frame), UnreadablePictureError(f"{file}: {error}")
        except UnreadablePictureError as error:
            yield Shot(str(file), frame), error


def find_faces(
    pictures: Iterator[tuple[Shot, Picture | UnreadablePictureError]], alignment: str, size: int
) -> Iterator[FoundFace]:
    """Every face of each picture, the largest first; one row, without image, where there is none.

    alignment: as the run's data were; "given" takes each picture as a face that is aligned already.
    Raises ImportError where faces must be found and the extra `align` is missing, and OSError when
    the process that finds them died.
    """
    if alignment == align.GIVEN:
        for shot, picture in pictures:
            face = align.scaled(picture, size)
            yield FoundFace(shot, face.image, face.status, face.reason)
        return
    for shot, picture, detection in align.detected(pictures, cache=None):
        if isinstance(picture, Exception):
            yield FoundFace(shot, None, align.UNREADABLE, str(picture))
        else:
            yield from faces_of(shot, picture, detection, alignment, size)


def faces_of(
    shot: Shot, picture: Picture, detection: Detection, alignment: str, size: int
) -> Iterator[FoundFace]:
    """The faces detected in one picture, as `find_faces` gives them."""
    faces = align.every_face(picture, detection, alignment, size)
    for face, box, score in faces:
        assert face.points is not None
        eyes = float(np.linalg.norm(face.points[1] - face.points[0]))
        yield FoundFace(shot, face.image, face.status, face.reason, box, score, eyes)
    if not faces:
        yield FoundFace(shot, None, align.NO_FACE, align.MISSING)


def _frames(file: Path, every: int) -> Iterator[tuple[int, Picture]]:
    """Number and gray picture of every so many-th frame, as it is to be shown.

    Raises UnreadablePictureError where one cannot be decoded, or none; tells when the last are
    missing, as far as the file says how many it has.
    """
    with open_video(str(file.absolute()), str(file)) as container:
        stream, number = container.streams.video[0], -1
        try:
            for number, frame in enumerate(container.decode(stream)):
                if number % every == 0:
                    picture = square_pixels(frame, stream)
                    yield number, np.rot90(picture, round(frame.rotation / 90) % 4)
            if number < 0:
                raise ValueError("it has no frame")
        except Exception as error:  # PyAV raises whatever it meets
            raise UnreadablePictureError(f"{file}: damaged video ({error})") from error
        if number + 1 < stream.frames:
            LOGGER.warning("%s: only %d of its %d frames", file, number + 1, stream.frames)
