"""The paper's four data sets as TFDS builders: one base class over the parsers and the aligner.

    tfds build --imports=ifgan_jax.data.builder ck_plus --manual_dir=/delivered/CK+
    python scripts/prepare_data.py --dataset=ck_plus --source=/delivered/CK+

Images are uint8 gray (size, size, 1). Nothing is downloaded: each owner hands the data out himself.
"""

import dataclasses
import itertools
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tqdm

from ifgan_jax.data import host_tensorflow  # noqa: F401  (before TFDS loads TensorFlow)
from ifgan_jax.data.align import ALIGNMENTS, GIVEN, align
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.qa import Report
from ifgan_jax.data.records import write_records
from ifgan_jax.data.vendor import bu3dfe, ck_plus, mmi, raf_db
from ifgan_jax.data.vendor.example import Example, Found, differences, tally
from ifgan_jax.data.vendor.pictures import read_pictures
from ifgan_jax.data.vendor.tree import LayoutError, Tree

import tensorflow_datasets as tfds  # isort: skip

LOGGER = logging.getLogger(__name__)
SIZES = (256, 108, 72)  # pixels, for crops of 224, 96 and 64
NOTICE = "The owner's licence holds for every image; none may be passed on. "


@dataclasses.dataclass(kw_only=True)
class AlignedConfig(tfds.core.BuilderConfig):
    """size: pixels. alignment: "similarity", "affine", or "given" (no detection, only scaled)."""

    size: int = 256
    alignment: str = "similarity"


class VendorFaces(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A delivered folder (`manual_dir`) as aligned faces; subclasses say which data set."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012  (TFDS's form)
    code_path = pathlib.Path(__file__)
    DEFAULT_BUILDER_CONFIG_NAME = "256_similarity"
    BUILDER_CONFIGS = [  # noqa: RUF012
        AlignedConfig(name=f"{size}_{alignment}", size=size, alignment=alignment)
        for size, alignment in itertools.product(SIZES, ALIGNMENTS)
    ]
    expected: ClassVar[Mapping[str, int]]
    about: ClassVar[str]
    homepage: ClassVar[str]
    citation: ClassVar[str]

    def __init__(
        self,
        *,
        password: str | None = None,
        sessions: frozenset[str] | None = None,
        strict: bool = False,
        **kwargs: Any,
    ) -> None:
        """As the base class, with random access (ArrayRecord).

        Args:
          password: of the owner's encrypted archives.
          sessions: MMI only: the sessions to use.
          strict: a count that differs, or an image left out, is an error.
        """
        kwargs["file_format"] = tfds.core.FileFormat.ARRAY_RECORD
        super().__init__(**kwargs)
        self._password, self._sessions, self._strict = password, sessions, strict

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        return self.dataset_info_from_configs(
            description=self.about + " " + NOTICE,
            homepage=self.homepage,
            citation=self.citation,
            license=NOTICE.strip(),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=[e.label for e in Expression]),
                    "subject": tfds.features.Text(),
                    "sequence": tfds.features.Text(),
                    "frame": tfds.features.Scalar(np.int32),
                    "intensity": tfds.features.Scalar(np.float32),
                    "source": tfds.features.Text(),
                    "alignment": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        tree = Tree(os.fspath(dl_manager.manual_dir), self._password)
        found = self.find(tree)
        self.info.metadata["subjects"] = found.subjects
        splits: dict[str, list[Example]] = {
            split: list(group)
            for split, group in itertools.groupby(found.examples, key=lambda e: e.split)
        }
        return {
            split: self._generate_examples(tree, split, examples, found.remarks + found.notes)
            for split, examples in sorted(splits.items())
        }

    def parse(self, tree: Tree) -> Found:
        """What the data set's own parser finds."""
        raise NotImplementedError

    def find(self, tree: Tree) -> Found:
        """The parsed folder, with a remark for each count that is not the expected one.

        Raises:
          LayoutError: nothing found, archives that must be unpacked, or, with `strict`, any remark.
        """
        found = self.parse(tree)
        lines = differences(tally(found.examples), self.expected)
        if tree.unread and (lines or not found.examples):
            commands = "\n  ".join(tree.unread.values())
            raise LayoutError(
                f"{tree.root}: {len(tree.unread)} archives cannot be read here, and images are "
                f"missing. Give their password, or unpack them and start again:\n  {commands}"
            )
        if not found.examples:
            raise LayoutError(
                f"{tree.root}: holds no image of {self.name} among {len(tree.files)} files. "
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        for note in found.notes:
            LOGGER.info("%s: %s", self.name, note)
        remarks = [*lines, *found.remarks]
        for remark in remarks:
            LOGGER.warning("%s: %s", self.name, remark)
        if remarks and self._strict:
            raise LayoutError(f"{tree.root}: {len(remarks)} differences, the first: {remarks[0]}")
        return found._replace(remarks=remarks)

    def _generate_examples(
        self, tree: Tree, split: str, examples: list[Example], remarks: list[str]
    ) -> Iterator[tuple[int, dict]]:
        config, root = self.builder_config, pathlib.Path(self._data_dir_root) / self.name
        report = Report(f"{self.name}, {config.name}, {split}", len(examples), remarks)
        bar = tqdm.tqdm(read_pictures(tree, examples), "aligning faces", len(examples), unit="face")
        faces = align(iter(bar), config.alignment, config.size, root / "detections.jsonl")
        for i, (example, aligned) in enumerate(faces):
            name = f"{example.label.label}, {example.file}, frame {example.frame}"
            report.add(name, aligned)
            if aligned.image is not None:
                yield (
                    i,
                    {
                        "image": aligned.image[..., None],
                        "label": int(example.label),
                        "subject": example.subject,
                        "sequence": example.sequence,
                        "frame": example.frame,
                        "intensity": example.intensity,
                        "source": example.file,
                        "alignment": aligned.status,
                    },
                )
        path = root / f"{config.name}_{split}"
        report.write(path)
        for entry in report.left_out:
            LOGGER.warning("%s: %s left out: %s", self.name, entry.name, entry.reason)
        LOGGER.info("%s: report %s.html", self.name, path)
        if self._strict and report.left_out:
            raise LayoutError(f"{len(report.left_out)} images left out, see {path}.html")


class Bu3dfe(VendorFaces):
    """BU-3DFE: 100 subjects, six expressions at the two highest levels, and neutral."""

    expected = bu3dfe.EXPECTED
    about = "BU-3DFE, frontal textures of 100 subjects: 1,200 images of six expressions, neutral."
    homepage = "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask Lijun Yin (Binghamton University) for BU-3DFE; give the folder with F0001 to M0044, "
        "or their archives."
    )
    citation = """@inproceedings{yin20063d,
  title={A 3D facial expression database for facial behavior research},
  author={Yin, Lijun and Wei, Xiaozhou and Sun, Yi and Wang, Jun and Rosato, Matthew J},
  booktitle={International Conference on Automatic Face and Gesture Recognition}, year={2006}}"""

    def parse(self, tree: Tree) -> Found:
        return bu3dfe.find(tree)


class CkPlus(VendorFaces):
    """CK+: last three frames of 309 sequences of six expressions, and the first as neutral."""

    expected = ck_plus.EXPECTED
    about = "CK+, 927 images: the last three frames of 309 sequences, and their first as neutral."
    homepage = "https://www.jeffcohn.net/Resources/"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask the Affect Analysis Group (University of Pittsburgh) for CK+; give the folder with "
        "cohn-kanade-images and Emotion, or their archives."
    )
    citation = """@inproceedings{lucey2010extended,
  title={The extended Cohn-Kanade dataset (CK+)},
  author={Lucey, Patrick and Cohn, Jeffrey F and Kanade, Takeo and Saragih, Jason and others},
  booktitle={CVPR Workshops}, year={2010}}"""

    def parse(self, tree: Tree) -> Found:
        return ck_plus.find(tree)


class Mmi(VendorFaces):
    """MMI: three peak frames of frontal sequences of six expressions, and the first as neutral."""

    expected = mmi.EXPECTED
    about = "MMI, 624 images: three frames in the middle of 208 sequences, and frame 0 as neutral."
    homepage = "https://mmifacedb.eu"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask for an account at the MMI Facial Expression Database; give the folder with Sessions."
    )
    citation = """@inproceedings{pantic2005web,
  title={Web-based database for facial expression analysis},
  author={Pantic, Maja and Valstar, Michel and Rademaker, Ron and Maat, Ludo},
  booktitle={International Conference on Multimedia and Expo}, year={2005}}"""

    def parse(self, tree: Tree) -> Found:
        return mmi.find(tree, self._sessions)


class RafDb(VendorFaces):
    """RAF-DB basic: 12,271 training and 3,068 test images of seven expressions."""

    expected = raf_db.EXPECTED
    about = "RAF-DB basic, aligned by its owner: 12,271 training and 3,068 test images, 7 classes."
    DEFAULT_BUILDER_CONFIG_NAME = f"256_{GIVEN}"  # "We employed the given cropped" (Sec. 4.2)
    homepage = "http://www.whdeld.cn/RAF-DB"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask Shan Li and Weihong Deng (BUPT) for RAF-DB; give the folder with basic/EmoLabel and "
        "basic/Image/aligned, or their archives."
    )
    citation = """@inproceedings{li2017reliable,
  title={Reliable crowdsourcing and deep locality-preserving learning for expression recognition},
  author={Li, Shan and Deng, Weihong and Du, JunPing},
  booktitle={CVPR}, year={2017}}"""

    def parse(self, tree: Tree) -> Found:
        return raf_db.find(tree)


BUILDERS = {builder.name: builder for builder in (Bu3dfe, CkPlus, Mmi, RafDb)}


def open_builder(data_dir: str | os.PathLike[str], name: str, **options: Any) -> VendorFaces:
    """The builder of "ck_plus" or "ck_plus/72_given", prepared or not.

    Raises:
      ValueError: unknown config, or what lies in data_dir is damaged.
    """
    set_name, _, config = name.partition("/")
    builder_class = BUILDERS[set_name]
    if config and config not in builder_class.builder_configs:
        raise ValueError(
            f"{set_name} has no config {config!r}: choose one of "
            f"{', '.join(builder_class.builder_configs)}"
        )
    try:
        return builder_class(data_dir=os.fspath(data_dir), config=config or None, **options)
    except Exception as error:  # TFDS reads what is there, and names no file when it cannot
        raise ValueError(
            f"{data_dir}/{name}: cannot be opened ({error}); delete the folder and prepare it again"
        ) from error


def prepare(builder: VendorFaces, source: str | os.PathLike[str]) -> None:
    """Write the records, unless they are there; FileNotFoundError, LayoutError, ImportError."""
    if not pathlib.Path(source).is_dir():
        raise FileNotFoundError(f"{source}: no such folder. {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}")
    write_records(builder, manual_dir=os.fspath(source))
