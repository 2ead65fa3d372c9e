"""Finding faces: MTCNN in a process of its own, behind a cache of detections.

The only module that uses torch (extra `align`). Detections are kept by the content of the picture:
a second start, or one after an interruption, finds them again.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import importlib.util
import json
import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from ifgan_jax.data.processes import hidden_main_module
from ifgan_jax.data.vendor.pictures import Picture
from ifgan_jax.files import MALFORMED

BORDER = 0.25  # of the larger side, added before detection; scripts/measure_alignment.py
LARGEST_SIDE = 640  # pixels that the detector sees; larger pictures are shrunk for it
SMALLEST_FACE = 20  # pixels, of MTCNN as it comes; it fails on pictures smaller than that
SURE = 0.95  # score below which the picture is also tried upside down
DETECTOR = f"mtcnn facenet-pytorch 2.5.3, side {LARGEST_SIDE}"


class Detection(NamedTuple):
    """What the detector found in one picture, in pixels of the picture as it was given.

    turned: found with the picture upside down; boxes and points are of the turned picture.
    """

    boxes: Float32[np.ndarray, "n 4"]  # left, top, right, bottom
    scores: Float32[np.ndarray, " n"]  # 0 to 1
    points: Float32[np.ndarray, "n 5 2"]  # eyes, nose tip, mouth corners; left first
    turned: bool


class Detector:
    """MTCNN behind a cache: JSON lines by the SHA-256 of pixels and settings.

    The network lives in a process of its own, with all cores: torch and TensorFlow, which writes
    the records, crash when they share one.
    """

    def __init__(self, cache: Path | None, border: float = BORDER) -> None:
        missing = [m for m in ("torch", "facenet_pytorch") if importlib.util.find_spec(m) is None]
        if missing:
            raise ImportError(
                f"finding faces needs {', '.join(missing)}: make install EXTRAS=align, or "
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

        Without a cache nothing is kept from call to call. Raises OSError when the network fails, or
        its process dies; the next call has another.
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
            except (MemoryError, RuntimeError) as error:  # of PyTorch, or the process has died
                what = f"failed ({error})"
                if isinstance(error, BrokenProcessPool):
                    self._worker, what = _worker(), "died"
                raise OSError(
                    f"the process that finds faces {what} at {len(seen)} pictures of {width} × "
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
    """Shrunk, its edge repeated as a border, in three equal channels, as the detector reads."""
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
        with contextlib.suppress(*MALFORMED), np.errstate(over="ignore"):  # inf is told below
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
