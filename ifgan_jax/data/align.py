"""Aligning faces (Sec. 4.2): MTCNN finds eyes and nose tip, `warp` puts them onto fixed places.

The only module that uses torch (extra `align`), and only where faces must be found. Detections are
kept by the content of the picture: a second start, or one after an interruption, finds them again.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from ifgan_jax.data import warp
from ifgan_jax.data.processes import hidden_main_module
from ifgan_jax.data.vendor.example import Example
from ifgan_jax.data.vendor.pictures import Picture
from ifgan_jax.files import MALFORMED

LOGGER = logging.getLogger(__name__)

GIVEN = "given"  # no detection: the whole picture, scaled
ALIGNMENTS = (*warp.MAPS, GIVEN)
BORDER = 0.25  # of the larger side, added before detection; scripts/measure_alignment.py
LARGEST_SIDE = 640  # pixels that the detector sees; larger pictures are shrunk for it
SMALLEST_FACE = 20  # pixels, of MTCNN as it comes; it fails on pictures smaller than that
BATCH = 16  # pictures of one size that the detector sees together
SURE = 0.95  # score below which the picture is also tried upside down
TINY = 20.0  # pixels between the eyes below which a face is reported as tiny
DETECTOR = f"mtcnn facenet-pytorch 2.5.3, side {LARGEST_SIDE}"

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
MISSING = "no face found, upright or upside down"

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


class Detection(NamedTuple):
    """What the detector found in one picture, in pixels of the picture as it was given.

    turned: found with the picture upside down; boxes and points are of the turned picture.
    """

    boxes: Float32[np.ndarray, "n 4"]  # left, top, right, bottom
    scores: Float32[np.ndarray, " n"]  # 0 to 1
    points: Float32[np.ndarray, "n 5 2"]  # eyes, nose tip, mouth corners; left first
    turned: bool


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


def detected(
    pictures: Iterable[tuple[T, Picture | E]], cache: Path | None
) -> Iterator[tuple[T, Picture | E, Any]]:
    """Each picture with its Detection, in order; an error that stands for one with None.

    Raises ImportError when torch or facenet-pytorch is not installed.
    """
    with contextlib.closing(Detector(cache)) as detector:
        for batch in _of_one_size(pictures):
            readable = [picture for _, picture in batch if not isinstance(picture, Exception)]
            found = iter(detector.detect(readable))
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
    """One of the faces found, on its fixed places."""
    if detection.turned:
        picture = picture[::-1, ::-1]
    points = detection.points[which].astype(np.float64)
    eyes = float(np.linalg.norm(points[1] - points[0]))
    status, reason = ALIGNED, ""
    if detection.turned:
        status, reason = UPSIDE_DOWN, "upside down; turned"
    elif eyes < TINY:
        status, reason = TINY_FACE, f"{eyes:.0f} pixels between the eyes; enlarged"
    image = warp.warp(picture, warp.MAPS[alignment](points[:3]), size)
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


class Detector:
    """MTCNN behind a cache: JSON lines by the SHA-256 of pixels and settings.

    The network lives in a process of its own, with all cores: torch and TensorFlow, which writes
    the records, crash when they share one.
    """

    def __init__(self, cache: Path | None, border: float = BORDER) -> None:
        missing = [m for m in ("torch", "facenet_pytorch") if importlib.util.find_spec(m) is None]
        if missing:
            raise ImportError(
                f"finding faces needs {', '.join(missing)}: pip install 'ifgan_jax[align]', or "
                "choose the alignment 'given' for pictures that are aligned already"
            )
        self._cache, self._border = cache, border
        self._known: dict[str, Detection] = read_detections(cache) if cache else {}
        self._worker = _worker()

    def close(self) -> None:
        """End the worker process."""
        self._worker.shutdown()

    def detect(self, pictures: list[Picture]) -> list[Detection]:
        """The faces of pictures of one size, from the cache where it has them.

        Without a cache nothing is kept from call to call. Raises OSError when the network's process
        dies; the next call has another.
        """
        known = self._known if self._cache else {}
        keys = [_key(picture, self._border) for picture in pictures]
        new = {
            key: picture for key, picture in zip(keys, pictures, strict=True) if key not in known
        }
        if new:
            upright = self._run(list(new.values()), turned=False)
            for (key, picture), detection in zip(new.items(), upright, strict=True):
                if detection.scores.max(initial=0.0) < SURE:
                    (other,) = self._run([picture[::-1, ::-1]], turned=True)
                    if other.scores.max(initial=0.0) > detection.scores.max(initial=0.0):
                        detection = other
                known[key] = detection
            _append(self._cache, {key: known[key] for key in new})
        return [known[key] for key in keys]

    def _run(self, pictures: list[Picture], turned: bool) -> list[Detection]:
        height, width = pictures[0].shape
        shrink = max(1.0, max(height, width) / LARGEST_SIDE)
        border = round(self._border * max(height, width) / shrink)
        seen = np.stack([_prepare(picture, shrink, border) for picture in pictures])
        if min(seen.shape[1:3]) < SMALLEST_FACE:
            boxes, scores, points = (np.zeros(n, np.float32) for n in ((0, 4), (0,), (0, 5, 2)))
            return [Detection(boxes, scores, points, turned)] * len(pictures)
        with hidden_main_module():  # the process starts at its first task
            try:
                found = self._worker.submit(_mtcnn, seen).result()
            except BrokenProcessPool as error:
                self._worker = _worker()
                raise OSError(
                    f"the process that finds faces died at {len(seen)} pictures of {width} × "
                    f"{height} pixels, for lack of memory perhaps: try again, with smaller ones"
                ) from error
        return [
            Detection((boxes - border) * shrink, scores, (points - border) * shrink, turned)
            for boxes, scores, points in found
        ]


def _worker() -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(
        1,
        multiprocessing.get_context("spawn"),
        signal.signal,
        (signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is for the program, which ends this one
    )


@functools.cache
def _network() -> Any:
    from facenet_pytorch import MTCNN

    return MTCNN(keep_all=True)


def _mtcnn(seen: UInt8[np.ndarray, "n h w 3"]) -> list[list[np.ndarray]]:
    """In the worker: boxes, scores and points of each picture, empty where no face is found."""
    found = []
    for arrays in zip(*_network().detect(seen, landmarks=True), strict=True):
        some = arrays if arrays[0] is not None else ([], [], [])
        shapes = ((-1, 4), (-1,), (-1, 5, 2))
        pairs = zip(some, shapes, strict=True)
        found.append([np.asarray(array, np.float32).reshape(shape) for array, shape in pairs])
    return found


def _prepare(picture: Picture, shrink: float, border: int) -> UInt8[np.ndarray, "y x 3"]:
    """Shrunk, with a grey border, in three equal channels: what the detector was trained on."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if shrink > 1:
        image = image.resize([max(1, round(side / shrink)) for side in image.size])
    padded = np.pad(np.asarray(image), border, mode="edge")
    return np.repeat(padded[..., None], 3, axis=-1)


def _key(picture: Picture, border: float) -> str:
    digest = hashlib.sha256(f"{DETECTOR}, border {border}, {picture.shape}".encode())
    digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def read_detections(path: Path) -> dict[str, Detection]:
    """Detections of earlier runs by their key; a line that is damaged is done again."""
    known: dict[str, Detection] = {}
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with contextlib.suppress(*MALFORMED):
            row = json.loads(line)
            scores = np.array(row["scores"], np.float32).reshape(-1)
            boxes = np.array(row["boxes"], np.float32).reshape(len(scores), 4)
            points = np.array(row["points"], np.float32).reshape(len(scores), 5, 2)
            if all(np.isfinite(array).all() for array in (scores, boxes, points)):
                known[row["key"] + ""] = Detection(boxes, scores, points, bool(row["turned"]))
    return known


def _append(path: Path | None, detections: dict[str, Detection]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if file.tell() and not _ends_a_line(path):
            file.write(b"\n")
        for key, detection in detections.items():
            row: dict[str, Any] = {"key": key, **detection._asdict()}
            row |= {name: row[name].tolist() for name in ("boxes", "scores", "points")}
            file.write(json.dumps(row).encode() + b"\n")


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
