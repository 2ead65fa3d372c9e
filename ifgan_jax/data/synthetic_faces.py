"""`synthetic_faces`: the embedded data set as a TFDS builder over our own renderer.

Owns the builder configs, the features on disk and the reading of one record after another. Needs no
network. Images are uint8 gray (size, size, 1), 0 black to 255 white.
"""

import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tqdm

from ifgan_jax.data import host_tensorflow  # noqa: F401  (before TFDS loads TensorFlow)
from ifgan_jax.data.processes import usable_cores
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.records import read_records, write_records
from ifgan_jax.data.synthetic.identity import AGES
from ifgan_jax.data.synthetic.parallel import Request, records
from ifgan_jax.data.synthetic.scene import DIFFICULTIES

import tensorflow_datasets as tfds  # isort: skip

SIZES = (72, 108, 256)  # pixels, for crops of 64, 96 and 224
LEVELS = {2: (0.7, 1.0), 4: (0.3, 0.5, 0.7, 1.0)}  # intensities; 2: like BU-3DFE's frames 03 and 04
NAME = re.compile(
    rf"(?P<size>{'|'.join(map(str, SIZES))})(_(?P<subjects>[1-9]\d{{0,4}}))?"
    rf"(_(?P<levels>{'|'.join(map(str, LEVELS))})levels)?(_(?P<takes>[1-9]\d{{0,2}})takes)?"
    rf"(_(?P<difficulty>{'|'.join(DIFFICULTIES)}))?(_seed(?P<seed>[1-9]\d{{0,8}}))?"
)
MOST = 100_000  # subjects times takes: days of rendering, and a list of a million faces
SPLIT = "faces"
REMEDY = "delete the folder, it will be rendered again"


@dataclasses.dataclass(kw_only=True)
class SyntheticFacesConfig(tfds.core.BuilderConfig):
    """Which faces are rendered: subjects × (expressions × levels, neutral once) × takes.

    Attributes:
      size: pixels.
      subjects: number of people.
      expressions: those shown; neutral, if among them, at level 0 alone.
      levels: intensities of the other expressions, in (0, 1].
      takes: photographs of each subject, expression and level.
      difficulty: of pose and light, a key of `synthetic.scene.DIFFICULTIES`.
      seed: of everything.
    """

    size: int = 72
    subjects: int = 100
    expressions: tuple[Expression, ...] = tuple(Expression)
    levels: tuple[float, ...] = LEVELS[2]
    takes: int = 1
    difficulty: str = "mild"
    seed: int = 0

    def requests(self) -> list[Request]:
        """All faces in the order of the records: by subject, expression, take, level."""
        faces = []
        for subject, expression, take in itertools.product(
            range(self.subjects), self.expressions, range(self.takes)
        ):
            for level in (0.0,) if expression == Expression.NEUTRAL else self.levels:
                faces.append(
                    Request(self.seed, subject, expression, level, take, self.size, self.difficulty)
                )
        return faces


def named(name: str) -> SyntheticFacesConfig:
    """The config of SIZE[_SUBJECTS][_4levels][_Ntakes][_DIFFICULTY][_seedN].

    "72" is 100 subjects, 2 levels, 1 take, mild, seed 0, all of which go unnamed.
    Raises ValueError for any other name, one that says what goes unnamed included.
    """
    found = NAME.fullmatch(name)
    given = {k: v for k, v in found.groupdict().items() if v} if found else {}
    unnamed = {"subjects": "100", "levels": "2", "takes": "1", "difficulty": "mild"}
    photographs = int(given.get("subjects", 100)) * int(given.get("takes", 1))
    if not given or given.items() & unnamed.items() or photographs > MOST:
        raise ValueError(
            f"synthetic_faces has no config {name!r}; a name is SIZE[_SUBJECTS][_4levels][_Ntakes]"
            f"[_DIFFICULTY][_seedN] with sizes {SIZES}, difficulties {', '.join(DIFFICULTIES)}, "
            "where 100 subjects, 1 take, mild and seed 0 go unnamed: 72, 72_200, 72_50_hard_seed7; "
            f"subjects times takes are at most {MOST}"
        )
    chosen: dict[str, Any] = {k: int(v) if v.isdecimal() else v for k, v in given.items()}
    levels = LEVELS[chosen.pop("levels", 2)]
    return SyntheticFacesConfig(name=name, levels=levels, **chosen)


class SyntheticFaces(tfds.core.GeneratorBasedBuilder):
    """Rendered faces of random people in seven expressions; see docs/data_card.md."""

    # TFDS 4.9.10 finds this by a package it does not list among its requirements.
    code_path = pathlib.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012  (TFDS's form)
    DEFAULT_BUILDER_CONFIG_NAME = "72"
    # The others are made from their names, by `prepare`.
    BUILDER_CONFIGS = [named(str(size)) for size in SIZES]  # noqa: RUF012

    def __init__(self, *, processes: int | None = None, **kwargs: Any) -> None:
        """As the base class; `processes` renderers, None: one for each usable core."""
        super().__init__(**kwargs)
        self._processes = processes or usable_cores()

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        scalar, number = tfds.features.Scalar, np.float32
        vector = tfds.features.Tensor(shape=(3,), dtype=number)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=[e.label for e in Expression]),
                    "subject": tfds.features.Text(),
                    "sequence": tfds.features.Text(),
                    "frame": scalar(np.int32),
                    "intensity": scalar(number),
                    "landmarks": tfds.features.Tensor(shape=(5, 2), dtype=number),
                    "attributes": {
                        "race": vector,
                        "gender": scalar(number),
                        "age": tfds.features.ClassLabel(names=AGES),
                        "pose": vector,
                        "light": vector,
                        "key": scalar(number),
                        "ambient": scalar(number),
                    },
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager  # nothing is downloaded
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        requests = self.builder_config.requests()
        rendered = records(requests, min(self._processes, len(requests)))
        bar = tqdm.tqdm(rendered, "rendering faces", len(requests), unit="face")
        levels = (0.0, *self.builder_config.levels)
        for i, (request, face) in enumerate(zip(requests, bar, strict=True)):
            subject = f"s{request.subject:04d}"
            yield (
                i,
                {
                    **face,
                    "image": face["image"][..., None],
                    "label": int(request.expression),
                    "subject": subject,
                    "sequence": f"{subject}_{request.expression.label}_{request.take}",
                    "frame": levels.index(request.level),
                    "intensity": request.level,
                },
            )


def prepare(
    data_dir: str | pathlib.Path, config: str | SyntheticFacesConfig, processes: int | None = None
) -> SyntheticFaces:
    """The builder of a config, rendered into `data_dir` unless it is there already.

    Raises:
      ValueError: `named` knows no such name, or what lies in data_dir is damaged.
      OSError: data_dir cannot be written; names the folder.
    """
    known = SyntheticFaces.builder_configs  # TFDS wants these very objects for their names
    made = (known.get(config) or named(config)) if isinstance(config, str) else config
    try:
        builder = SyntheticFaces(
            processes=processes,
            data_dir=os.fspath(data_dir),
            config=made,
            file_format=tfds.core.FileFormat.ARRAY_RECORD,
        )
    except Exception as error:  # TFDS reads what is there, and names no file when it cannot
        raise ValueError(
            f"{data_dir}/synthetic_faces/{made.name}: cannot be opened ({error}); {REMEDY}"
        ) from error
    write_records(builder)
    return builder


def read(builder: SyntheticFaces) -> Iterator[dict[str, Any]]:
    """The decoded examples in the order of `SyntheticFacesConfig.requests`."""
    return read_records(builder, SPLIT, len(builder.builder_config.requests()), REMEDY)
