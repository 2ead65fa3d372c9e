"""The in-memory data set: images with labels, subjects and frames, and how it is read.

Images are uint8 gray with a channel axis (n, h, w, 1), 0 black to 255 white. TensorFlow is imported
only while a set is prepared or read, inside `load_prepared`.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, UInt8

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.records import read_records

SYNTHETIC = "synthetic_faces"
POSED = ("bu3dfe", "ck_plus", "mmi")  # subjects are named, and folds cut from them
RAF_DB = "raf_db"  # the owner's training and test part, nobody named
VENDORS = (*POSED, RAF_DB)


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

    def __len__(self) -> int:
        return len(self.images)

    def select(self, which: Int[np.ndarray, " k"] | Bool[np.ndarray, " n"]) -> "Faces":
        """The examples of these row numbers, in their order, or of this mask."""
        return Faces(*(getattr(self, f.name)[which] for f in dataclasses.fields(self)))

    def hash(self) -> str:
        """SHA-256 (hex) of images, labels and subjects with their shapes."""
        digest = hashlib.sha256()
        labels = self.labels.astype("<i4")
        subjects = "\n".join(self.subjects).encode()
        for shape, data in (
            (self.images.shape, np.ascontiguousarray(self.images).tobytes()),
            (labels.shape, labels.tobytes()),
            ((len(subjects),), subjects),
        ):
            digest.update(repr(tuple(shape)).encode() + data)
        return digest.hexdigest()


class Prepared(NamedTuple):
    """A data set as it lies on disk.

    splits: "faces" alone, or the owner's own "train" and "test". subjects: sorted ids that folds
    are cut from, those without an image included; empty where the owner names none (RAF-DB).
    """

    splits: dict[str, Faces]
    subjects: list[str]


def load_prepared(
    data_dir: str | pathlib.Path, name: str, processes: int | None = None
) -> Prepared:
    """Reads a data set into memory; renders it first if it is `synthetic_faces` and missing.

    Args:
      data_dir: folder of all prepared sets.
      name: "synthetic_faces/" and a builder config, see `synthetic_faces.config_name`; or
        "bu3dfe", "ck_plus", "mmi", "raf_db", alone or with a config such as "/72_given".
      processes: renderers at work; None: one for each core this process may use.

    Raises:
      FileNotFoundError: a data set of the paper that is not prepared; names the command.
      ValueError: the name is unknown, a record is damaged, or an example is out of range.
    """
    set_name, _, config = name.partition("/")
    if set_name == SYNTHETIC:
        from ifgan_jax.data import synthetic_faces  # TensorFlow: only when a set is read

        faces = _stack(synthetic_faces.read(synthetic_faces.prepare(data_dir, config, processes)))
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
        split: _stack(read_records(builder, split, info.num_examples, remedy))
        for split, info in builder.info.splits.items()
    }
    return Prepared(splits, list(builder.info.metadata["subjects"]))


def _stack(rows: Iterable[dict[str, Any]]) -> Faces:
    """Records as one `Faces`."""
    columns = list(rows)
    return Faces(
        images=np.stack([row["image"] for row in columns]),
        labels=np.array([row["label"] for row in columns], np.int32),
        subjects=np.array([row["subject"].decode() for row in columns], np.str_),
        sequences=np.array([row["sequence"].decode() for row in columns], np.str_),
        frames=np.array([row["frame"] for row in columns], np.int32),
        intensities=np.array([row["intensity"] for row in columns], np.float32),
    )


def joined(parts: Sequence[Faces]) -> Faces:
    """One after the other."""
    columns = [[getattr(part, f.name) for part in parts] for f in dataclasses.fields(Faces)]
    return Faces(*(np.concatenate(column) for column in columns))
