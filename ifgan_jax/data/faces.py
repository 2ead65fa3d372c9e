"""The decoded data set: images with labels, subjects and frames, and how it is read.

Images are uint8 gray with a channel axis (n, h, w, 1), 0 black to 255 white; in memory if they fit,
else in a file from which the system streams what is asked for (`image_array`). TensorFlow is
imported only while a set is prepared or read, inside functions.
"""

import dataclasses
import hashlib
import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, UInt8

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.records import read_records
from ifgan_jax.files import of_file

SYNTHETIC = "synthetic_faces"
POSED = ("bu3dfe", "ck_plus", "mmi")  # subjects are named, and folds cut from them
RAF_DB = "raf_db"  # the owner's training and test part, nobody named
VENDORS = (*POSED, RAF_DB)
MEMORY_SHARE = 0.25  # of the free memory, for one array of images; a set and its parts are several
PROCESS_GROUPS = pathlib.Path("/proc/self/cgroup")  # Linux: the control group of this process,
GROUPS = pathlib.Path("/sys/fs/cgroup")  # and what all of them may have
CHUNK = 1024  # images that are worked on at once


@dataclasses.dataclass(frozen=True, eq=False)
class Faces:
    """n labelled face images.

    Attributes:
      images: 0 to 255.
      labels: values of `Expression`.
      subjects: who; examples of one subject never part at a fold's border; "" is not known.
      sequences: which recording of the subject; frames: its frame number.
      intensities: how strong the expression is, 0 neutral to 1 full.

    Raises:
      ValueError: a field's shape, dtype or length is wrong, a label is no `Expression`, or an
        intensity lies outside [0, 1]; the first such example is named.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"]
    subjects: np.ndarray
    sequences: np.ndarray
    frames: Int32[np.ndarray, " n"]
    intensities: Float32[np.ndarray, " n"]

    def __post_init__(self) -> None:
        dtypes = {"images": "u1", "labels": "i4", "frames": "i4", "intensities": "f4"}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            rank = 4 if field.name == "images" else 1
            if value.ndim != rank:
                raise ValueError(f"Faces.{field.name} has {value.ndim} axes, needs {rank}")
            if len(value) != len(self.images):
                raise ValueError(
                    f"Faces.{field.name} has {len(value)} entries for {len(self.images)} images"
                )
            if field.name in dtypes and value.dtype != np.dtype(dtypes[field.name]):
                needed = np.dtype(dtypes[field.name])
                raise ValueError(f"Faces.{field.name} is {value.dtype}, needs {needed}")
            if field.name not in dtypes and value.dtype.kind != "U":
                raise ValueError(f"Faces.{field.name} is {value.dtype}, needs strings")
        self._refuse("label", self.labels, 0, len(Expression) - 1)
        self._refuse("intensity", self.intensities, 0.0, 1.0)

    def _refuse(self, noun: str, values: np.ndarray, low: int | float, high: int | float) -> None:
        """Raises for the first value outside [low, high]; NaN is outside."""
        wrong = np.flatnonzero(~((values >= low) & (values <= high)))
        if len(wrong):
            i = int(wrong[0])
            raise ValueError(
                f"example {i} (sequence {self.sequences[i]}, frame {self.frames[i]}): "
                f"{noun} {values[i]} is outside {low} to {high}"
            )

    @classmethod
    def unlabelled(cls, images: UInt8[np.ndarray, "n h w c"]) -> "Faces":
        """Images of which nothing is known: label and frame 0, nobody's."""
        zeros, unknown = np.zeros(len(images), np.int32), np.full(len(images), "")
        return cls(images, zeros, unknown, unknown, zeros, zeros.astype(np.float32))

    def __len__(self) -> int:
        return len(self.images)

    def select(self, which: Int[np.ndarray, " k"] | Bool[np.ndarray, " n"]) -> "Faces":
        """The examples of these row numbers, in their order, or of this mask."""
        rows = np.flatnonzero(which) if which.dtype == bool else which
        images = image_array((len(rows), *self.images.shape[1:]))
        for chunk in chunks(len(rows)):
            images[chunk] = self.images[rows[chunk]]
        _, *others = dataclasses.fields(self)
        return Faces(images, *(getattr(self, field.name)[rows] for field in others))

    def hash(self) -> str:
        """SHA-256 (hex) of images, labels and subjects with their shapes."""
        digest = hashlib.sha256()
        labels = self.labels.astype("<i4")
        subjects = "\n".join(self.subjects).encode()
        digest.update(repr(tuple(self.images.shape)).encode())
        for chunk in chunks(len(self)):
            digest.update(self.images[chunk].tobytes())
        for shape, data in ((labels.shape, labels.tobytes()), ((len(subjects),), subjects)):
            digest.update(repr(tuple(shape)).encode() + data)
        return digest.hexdigest()


def chunks(length: int) -> Iterator[slice]:
    """Slices of at most CHUNK rows that cover `length` rows."""
    return (slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK))


def image_array(shape: tuple[int, ...]) -> UInt8[np.ndarray, "n h w c"]:
    """Images to be filled in: in memory, or in a nameless file below TMPDIR when they do not fit.

    The file goes with the last array that uses it. Its pages are read when they are needed and
    dropped when memory is: a set of any size streams, and as much of it as fits stays. Raises
    OSError when there is no room for it either.
    """
    size = math.prod(shape)
    if size <= MEMORY_SHARE * available_memory():
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise OSError(
                f"{size / 1e9:.1f} GB of images fit neither in memory nor in "
                f"{tempfile.gettempdir()} ({error}): set TMPDIR to a folder with room"
            ) from error
        return np.memmap(file, np.uint8, "r+", shape=shape)


def available_memory() -> float:
    """Bytes that this machine, or the container or job that has a part of it, can still give.

    Without bound where the system does not tell.
    """
    information, left = pathlib.Path("/proc/meminfo"), math.inf
    if information.exists():
        lines = dict(line.split(":") for line in information.read_text().splitlines())
        left = 1024.0 * int(lines["MemAvailable"].split()[0])
    groups = PROCESS_GROUPS.read_text().splitlines() if PROCESS_GROUPS.exists() else []
    for own in (line.removeprefix("0::/") for line in groups if line.startswith("0::/")):
        for group in (GROUPS / own, *(GROUPS / own).parents):  # limits of a job bind its tasks
            limit, used = (group / f"memory.{name}" for name in ("max", "current"))
            if limit.exists() and (most := limit.read_text().strip()) != "max":
                left = min(left, float(most) - float(used.read_text()))
    return left


class Prepared(NamedTuple):
    """A data set as it lies on disk.

    splits: "faces" alone, or the owner's own "train" and "test". subjects: sorted ids that folds
    are cut from, those without an image included; empty where the owner names none (RAF-DB).
    """

    splits: dict[str, Faces]
    subjects: list[str]


Load = Callable[[str | pathlib.Path, str], Prepared]  # data_dir, name


def load_prepared(
    data_dir: str | pathlib.Path, name: str, processes: int | None = None
) -> Prepared:
    """Reads a data set; renders it first if it is `synthetic_faces` and missing.

    Args:
      data_dir: folder of all prepared sets.
      name: "synthetic_faces/" and a builder config, see `synthetic_faces.named`; or
        "bu3dfe", "ck_plus", "mmi", "raf_db", alone or with a config such as "/72_given".
      processes: renderers at work; None: one for each core this process may use.

    Raises:
      FileNotFoundError: a data set of the paper that is not prepared; names the command.
      ValueError: the name is unknown, a record is damaged, or an example is out of range.
      OSError: data_dir cannot be written, where a set is to be rendered.
    """
    set_name, _, config = name.partition("/")
    if set_name == SYNTHETIC:
        from ifgan_jax.data import synthetic_faces  # TensorFlow: only when a set is read

        rendered = synthetic_faces.prepare(data_dir, config, processes)
        count = len(rendered.builder_config.requests())
        faces = _stack(synthetic_faces.read(rendered), count)
        return Prepared({"faces": faces}, sorted(set(faces.subjects.tolist())))
    if set_name not in VENDORS:
        raise ValueError(
            f"data set {name!r} is unknown: choose one of {', '.join(VENDORS)}, or "
            f"{SYNTHETIC}/<config>, which is rendered here, such as synthetic_faces/72_200"
        )
    from ifgan_jax.data import builder as vendor

    builder = vendor.open_builder(data_dir, name)
    if not builder.info.splits:
        raise FileNotFoundError(
            f"data set {name!r} is not prepared in {data_dir}: its images must be asked for from "
            f"their owners; then run python scripts/prepare_data.py --dataset={set_name} "
            f"--config={builder.builder_config.name} --data_dir={data_dir} --source=<folder>"
        )
    remedy = "delete the folder and prepare it again"
    splits = {
        split: _stack(read_records(builder, split, info.num_examples, remedy), info.num_examples)
        for split, info in builder.info.splits.items()
    }
    with of_file(pathlib.Path(builder.data_dir) / "metadata.json", remedy):
        subjects = [who + "" for who in builder.info.metadata["subjects"]]  # TFDS reads it now
    return Prepared(splits, subjects)


def population(name: str) -> str:
    """Whose faces a data set has: two with one population have one person under one id.

    Rendered people are the same in every config of one seed.
    """
    set_name, _, config = name.partition("/")
    if set_name != SYNTHETIC:
        return set_name
    from ifgan_jax.data import synthetic_faces

    return f"{SYNTHETIC} of seed {synthetic_faces.named(config).seed}"


def rendered_attributes(
    data_dir: str | pathlib.Path, name: str
) -> dict[str, Int[np.ndarray, " n"]]:
    """Gender (0 female, 1 male), race (largest weight) and age of each face, in their order.

    Nothing for a data set that was not rendered: nobody says there.
    """
    set_name, _, config = name.partition("/")
    if set_name != SYNTHETIC:
        return {}
    from ifgan_jax.data import synthetic_faces

    rows = [
        row["attributes"] for row in synthetic_faces.read(synthetic_faces.prepare(data_dir, config))
    ]
    return {
        "gender": np.array([round(float(row["gender"])) for row in rows]),
        "race": np.array([int(row["race"].argmax()) for row in rows]),
        "age": np.array([int(row["age"]) for row in rows]),
    }


def _stack(rows: Iterable[dict[str, Any]], count: int) -> Faces:
    """`count` records as one `Faces`."""
    images, columns = np.empty((0, 0, 0, 1), np.uint8), list[dict[str, Any]]()
    for row in rows:
        if not columns:
            images = image_array((count, *row["image"].shape))
        images[len(columns)] = row.pop("image")
        columns.append(row)
    return Faces(
        images=images,
        labels=np.array([row["label"] for row in columns], np.int32),
        subjects=np.array([row["subject"].decode() for row in columns], np.str_),
        sequences=np.array([row["sequence"].decode() for row in columns], np.str_),
        frames=np.array([row["frame"] for row in columns], np.int32),
        intensities=np.array([row["intensity"] for row in columns], np.float32),
    )


def joined(parts: Sequence[Faces]) -> Faces:
    """One after the other."""
    total = sum(map(len, parts))
    images, start = image_array((total, *parts[0].images.shape[1:])), 0
    for part in parts:
        for chunk in chunks(len(part)):
            rows = part.images[chunk]
            images[start : start + len(rows)] = rows
            start += len(rows)
    _, *others = dataclasses.fields(Faces)
    columns = [[getattr(part, field.name) for part in parts] for field in others]
    return Faces(images, *map(np.concatenate, columns))
