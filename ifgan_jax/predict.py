"""A trained run's G and E, which are all that is used at test time (Fig. 2), on any faces.

Batch by batch, as numpy arrays; of the checkpoint that validation selected.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int32
from ml_collections import ConfigDict

from ifgan_jax import build, sharding
from ifgan_jax.checkpoint import Checkpoints, DamagedCheckpointError, check_metadata
from ifgan_jax.data.faces import Faces
from ifgan_jax.data.pipeline import eval_batches
from ifgan_jax.data.protocol import class_names
from ifgan_jax.files import of_file
from ifgan_jax.state import GanState
from ifgan_jax.workdir import config_hash, read_config

LOGGER = logging.getLogger(__name__)

Pixels = Float[np.ndarray, "n h w c"]
Probabilities = Float[np.ndarray, "n k"]


class HostPrediction(NamedTuple):
    """`step.Prediction` as numpy arrays, for any number of faces."""

    source: Pixels
    generated: Pixels
    probabilities: Probabilities
    features: Float[np.ndarray, "n d"]


def open_run(workdir: Path, make: build.Make = build.build) -> tuple[ConfigDict, build.Compiled]:
    """The config of a run that was trained, and its functions over the devices that it names.

    make: as the run was trained with (`train.train`). The run may have been trained elsewhere: of
    the devices that it names those that are here are taken, and the batches made to fit.

    Raises FileNotFoundError for a folder without a run, ValueError naming a key that cannot be, or
    config.json, when keys are missing or of another type.
    """
    config = read_config(workdir)
    with of_file(workdir / "config.json", "mend it, or use a new workdir"):
        config.devices = min(config.devices, len(jax.local_devices()))
        mesh = sharding.make_mesh(jax.devices(), config.devices)
        config.evaluation.batch_size += -config.evaluation.batch_size % mesh.size
        build.check_evaluation(config, mesh.size)
        return config, build.compile_steps(config, make(config, 1), mesh)


class Restored(NamedTuple):
    """The checkpoint that validation selected, the last one, and the last one's metadata.

    validation_accuracy: the selected one's; None where nothing validated.
    """

    selected: GanState
    last: GanState
    validation_accuracy: float | None
    progress: dict[str, Any]


def restore(workdir: Path, config: ConfigDict, compiled: build.Compiled) -> Restored:
    """A run's two checkpoints, which may be one.

    Raises FileNotFoundError when the run has no checkpoint, DamagedCheckpointError when none is
    whole, OSError naming a file that cannot be read, and ValueError when it is of another config.
    A damaged selected checkpoint is told, and the last one taken in its place.
    """
    with contextlib.closing(Checkpoints(workdir / "checkpoints")) as checkpoints:
        if not checkpoints.steps():
            raise FileNotFoundError(f"{workdir} has no checkpoint: train it first")
        template = build.abstract_state(compiled, config)
        last, progress = checkpoints.restore_latest(template)
        check_metadata(checkpoints.directory, progress)
        if progress["config_hash"] != config_hash(config):
            raise ValueError(
                f"{workdir / 'config.json'} is not what this run was trained with: mend it, or "
                "give the run's own command again, which names the keys that differ"
            )
        selected, validation_accuracy = last, None
        try:
            if best := progress["best_step"]:  # 0 before the first validation
                if best != progress["step"]:
                    selected, _ = checkpoints.restore(template, step=best)
                validation_accuracy = progress["best_accuracy"]
        except DamagedCheckpointError as error:
            LOGGER.warning("%s; taking the last one in its place", error)
    return Restored(selected, last, validation_accuracy, progress)


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A run that was trained, ready to be asked, by any number of threads at once.

    predict = Predictor.load("runs/demo")
    said = predict(images)
    said.probabilities  # (n, num_classes), in the order of `predict.class_names`
    """

    workdir: Path
    config: ConfigDict
    compiled: build.Compiled
    state: GanState  # of the selected checkpoint

    @classmethod
    def load(cls, workdir: str | Path, make: build.Make = build.build) -> "Predictor":
        """Takes `make` as `open_run` does; raises what `open_run` and `restore` raise."""
        workdir = Path(workdir)
        config, compiled = open_run(workdir, make)
        return cls(workdir, config, compiled, restore(workdir, config, compiled).selected)

    @property
    def class_names(self) -> list[str]:
        """The expressions, as the columns of `probabilities` have them."""
        return class_names(self.config.data.num_classes)

    def __call__(self, images: np.ndarray | Sequence[np.ndarray]) -> HostPrediction:
        """What G and E say of aligned faces, uint8 (n, s, s, c), 0 black to 255 white.

        The side s is `data.image_size` of the run's config, of which the centre, p pixels wide
        (`data.crop`), is looked at. The first call compiles.
        Returns source and generated faces in [-1, 1], (n, p, p, c) (of the baseline no generated
        ones: its source again), probabilities (n, num_classes) in [0, 1], and E's features (n, d).
        Raises ValueError for faces of another size or type, FloatingPointError where weights that
        were spoilt give no number.
        """
        data, shapes = self.config.data, {np.shape(image) for image in images}
        types = {np.asarray(image).dtype.name for image in images}
        expected = (data.image_size, data.image_size, data.channels)
        if shapes != {expected} or types != {"uint8"}:
            raise ValueError(
                f"images of shape {sorted(shapes)} and type {sorted(types)}: this run takes at "
                f"least one face, uint8 of shape (n, {', '.join(map(str, expected))}), aligned as "
                "its data are"
            )
        faces = np.asarray(images)
        batch_size = self.config.evaluation.batch_size
        return predict_all(self.compiled, self.state, Faces.unlabelled(faces), batch_size)


def predict_faces(
    compiled: build.Compiled, state: GanState, faces: Faces, batch_size: int
) -> Iterator[tuple[Int32[np.ndarray, " b"], HostPrediction]]:
    """Rows of `faces` and what G and E say of them, batch by batch, as numpy arrays.

    Each process reads its share of a batch, and gets the prediction of the whole.
    Raises FloatingPointError naming what is not finite, as after a learning rate too high.
    """
    batches = eval_batches(
        faces,
        batch_size=batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    for number, batch in enumerate(batches):
        images = sharding.to_global(compiled.mesh, batch.image)
        prediction = jax.device_get(compiled.eval_step(state, images))
        rows = np.arange(
            number * batch_size, min((number + 1) * batch_size, len(faces)), dtype="i4"
        )
        said = HostPrediction(*(x[: len(rows)] for x in prediction))
        for name, numbers in said._asdict().items():
            if not np.isfinite(numbers).all():
                raise FloatingPointError(
                    f"{name} of G and E is not finite, for faces {rows[0]} to {rows[-1]} of "
                    f"{len(faces)}: these weights cannot be used; train with lower learning rates"
                )
        yield rows, said


def predict_all(
    compiled: build.Compiled, state: GanState, faces: Faces, batch_size: int
) -> HostPrediction:
    """`predict_faces` in one piece."""
    pieces = [piece for _, piece in predict_faces(compiled, state, faces, batch_size)]
    return HostPrediction(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def classify_pairs(
    compiled: build.Compiled, state: GanState, source: Pixels, face: Pixels
) -> Probabilities:
    """What E says of a batch of pairs, which every process has whole."""
    placement = sharding.split(compiled.mesh)
    pairs = (sharding.from_all(placement, faces) for faces in (source, face))
    return np.asarray(compiled.classify(state, *pairs))
