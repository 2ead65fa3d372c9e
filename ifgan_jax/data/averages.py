"""The average identity: the mean image of each expression, the target of G (Sec. 4.3).

Grey levels in [0, 255], float32, (class, h, w, c) in the order of `Expression`. A function of the
`Faces` it is given and of nothing else: give it the training part. Must not import TensorFlow.
"""

import dataclasses
import hashlib
import io
import os
import pathlib

import numpy as np
from jaxtyping import Float32, Int64

from ifgan_jax.data.faces import Faces, chunks
from ifgan_jax.data.protocol import Expression
from ifgan_jax.files import read_arrays
from ifgan_jax.workdir import write_bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Averages:
    """One mean image per expression, and of how many images it is the mean."""

    images: Float32[np.ndarray, "k h w c"]
    counts: Int64[np.ndarray, " k"]

    @property
    def hash(self) -> str:
        """SHA-256 of shape, pixels and counts (hex), the same on every machine."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(self.images.astype("<f4").tobytes())
        digest.update(self.counts.astype("<i8").tobytes())
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write images, counts and hash as .npz; the file appears whole or not at all."""
        file = io.BytesIO()
        np.savez(file, images=self.images, counts=self.counts, sha256=np.array(self.hash))
        write_bytes(pathlib.Path(path), file.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Averages":
        """What `save` wrote; raises ValueError naming the file when it is damaged."""
        remedy = "train the run again"
        types = {"images": "<f4", "counts": "<i8", "sha256": "<U64"}
        data = read_arrays(pathlib.Path(path), types, remedy)
        averages = cls(data["images"], data["counts"])
        if averages.hash != str(data["sha256"]):
            raise ValueError(f"{path} is damaged (another hash): {remedy}")
        return averages


def average_faces(faces: Faces, num_classes: int) -> Averages:
    """Mean image of labels 0 … num_classes - 1, summed exactly: the order of examples is no matter.

    Raises:
        ValueError: an expression without an image, or a label that is not below num_classes.
    """
    strange = np.unique(faces.labels[(faces.labels < 0) | (faces.labels >= num_classes)])
    if strange.size:
        raise ValueError(
            f"Labels {strange.tolist()} are outside 0 to {num_classes - 1} (num_classes="
            f"{num_classes}): select the classes in use before averaging."
        )
    counts = np.bincount(faces.labels, minlength=num_classes).astype(np.int64)
    if not counts.all():
        absent = ", ".join(Expression(int(k)).label for k in np.flatnonzero(counts == 0))
        raise ValueError(
            f"The training part has no image of: {absent}. Add such images, or train with the "
            "classes that it has."
        )
    sums = np.zeros((num_classes, *faces.images.shape[1:]), np.int64)
    for chunk in chunks(len(faces)):
        images, labels = faces.images[chunk], faces.labels[chunk]
        for k in range(num_classes):
            sums[k] += images[labels == k].sum(0, dtype=np.int64)
    return Averages((sums / counts[:, None, None, None]).astype(np.float32), counts)
