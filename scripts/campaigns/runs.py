"""Targets: the files of a run, of results, and what is kept between starts."""

import io
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import config_flags

from configs import demo
from ifgan_jax import build, comparison, leak_report, report, results, study
from ifgan_jax.data.audit import image_hashes
from ifgan_jax.data.averages import Averages
from ifgan_jax.data.detector import read_detections
from ifgan_jax.data.faces import Faces, population
from ifgan_jax.data.protocol import load_folds, subject_folds
from ifgan_jax.leak import seen_people
from ifgan_jax.predict import open_run
from ifgan_jax.workdir import flatten, read_metrics
from scripts import command_line
from scripts.campaigns.deliveries import FACE
from scripts.campaigns.mutations import Random, bad_json, below, mutate, nearly, one_of
from scripts.campaigns.tries import Attempt, Target

KEYS = tuple(flatten(demo.get_config()))
LAST_KEYS = tuple(key.rpartition(".")[2] for key in KEYS)
NAMES = ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
SUBJECTS = [f"S{i:03d}" for i in range(12)]
METRICS = {
    "test_accuracy": 0.5, "test_balanced_accuracy": 0.4, "validation_accuracy": None,
    "per_class_recall": dict.fromkeys(NAMES, 0.5), "class_names": NAMES,
    "confusion": np.eye(6, dtype=int).tolist(), "num_test_images": 6, "num_test_subjects": 3,
    "data_hash": "0" * 64, "folds_hash": "0" * 64, "seed": 0, "fold": 0, "commit": "0" * 12,
    "versions": {"jax": "0"},
}  # fmt: skip
MEASURE = [0.5, 0.4, 0.6, 0.1]
PROBE = {
    "setting": "hard", "method": "ifgan", "seed": 0, "data": "a",
    "people": {"train": 20, "validation": 5, "gallery": 10},
    "representations": {"input": {"rank_1": MEASURE, "expression": MEASURE}},
}  # fmt: skip
FOLDS = {"train": SUBJECTS[:8], "validation": SUBJECTS[8:10], "test": SUBJECTS[10:], "audit": ["a"]}
ROW = {"step": 1, "epoch": 0, "train/generator/l1": 0.5, "validation/accuracy": 0.25}
RUN_FILES = {
    "metrics.json": METRICS, "folds.json": FOLDS, "config.json": {"epochs": 1}, "probe.json": {},
    "metrics.jsonl": ROW,
}  # fmt: skip
PICTURE = "pictures/transfer_grid.png"


class Runs:
    """A pickle that writes outside when it is loaded."""

    def __init__(self, outside: Path) -> None:
        self.outside = outside

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.outside / "ran",)


def configs(folder: Path) -> Attempt:
    content, path = json.loads(demo.get_config().to_json_best_effort()), folder / "config.json"

    def attempt(rng: Random) -> None:
        path.write_bytes(bad_json(rng, content))
        open_run(folder)

    return attempt


def overrides(folder: Path) -> Attempt:
    """The command line of scripts/train.py: keys, values, and what a config with them builds."""
    values = ("1", "0", "-1", "0.5", "1e400", "nan", "9" * 400, "", "()", "(1,", "[1]", "None", "ä",
              "'a'", "true", "__import__('os').mkdir('ran')", "(8, 8, 8, 8)", "fake_faces/9_9",
              "pair", "ifgan", "bfloat16", "{'a': 1}", "\0")  # fmt: skip
    odd = ("config.no", "config.data", "config.data.", "config", "confi", "config.data.fold.a", "-")
    path = Path(demo.__file__)

    def attempt(rng: Random) -> None:
        known = flags.FlagValues()
        chosen = config_flags.DEFINE_config_file("config", None, "", known, lock_config=True)
        sys.argv = arguments = ["train", f"--config={path}"]  # ml_collections looks there, too
        for _ in range(1 + below(rng, 3)):
            key = f"config.{one_of(rng, KEYS)}" if below(rng, 6) else one_of(rng, odd)
            arguments.append(f"--{key}={one_of(rng, values)}")
        command_line.parse(arguments, known)
        build.check_config(chosen.value, 1)

    return attempt


def write_run(folder: Path) -> None:
    """A run's files as its pages read them."""
    (folder / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    FACE.save(folder / PICTURE)
    for name, content in RUN_FILES.items():
        (folder / name).write_text(json.dumps(content) + "\n")


def write_odd_run(rng: Random, folder: Path) -> None:
    """The same with one of the texts, and every sixth picture, mutated."""
    write_run(folder)
    which = one_of(rng, list(RUN_FILES))
    (folder / which).write_bytes(bad_json(rng, (RUN_FILES | {"probe.json": PROBE})[which]) + b"\n")
    if below(rng, 6) == 0:
        png = (folder / PICTURE).read_bytes()
        (folder / PICTURE).write_bytes(mutate(rng, png, [png]))


def run_reports(folder: Path) -> Attempt:
    def attempt(rng: Random) -> None:
        write_odd_run(rng, folder)
        report.write_report(folder)

    return attempt


def comparisons(folder: Path) -> Attempt:
    """The page of two runs, the second of which is odd."""
    whole, odd = folder / "whole", folder / "odd"
    write_run(whole)

    def attempt(rng: Random) -> None:
        write_odd_run(rng, odd)
        comparison.write_comparison([whole, odd], folder / "page.html")

    return attempt


def metrics_lines(folder: Path) -> Attempt:
    words = (json.dumps(ROW).encode() + b"\n", b"\n", b"{}", b"5\n", b"[]\n", b"\xff", b'"step"')

    def attempt(rng: Random) -> None:
        lines = nearly(rng, words[:1] * 4 + words, 6)
        (folder / "metrics.jsonl").write_bytes(lines + (bad_json(rng, ROW) + b"\n") * below(rng, 2))
        for found in read_metrics(folder):
            assert {"step", "epoch"} <= found.keys()

    return attempt


def fold_files(folder: Path) -> Attempt:
    content, path = subject_folds(SUBJECTS, 3), folder / "folds_3.json"

    def attempt(rng: Random) -> None:
        path.write_bytes(bad_json(rng, content))
        assert load_folds(path, SUBJECTS, 3) == content

    return attempt


def seen(folder: Path) -> Attempt:
    """Whom a run was trained on, by its folds.json."""
    config = demo.get_config()
    population(config.data.name)  # imports TensorFlow Datasets, which runs uname

    def attempt(rng: Random) -> None:
        (folder / "folds.json").write_bytes(bad_json(rng, FOLDS))
        seen_people(folder, config, config.data.name)

    return attempt


def result_files(folder: Path) -> Attempt:
    config = flatten(demo.get_config())
    content = {"run": {"data_set": "mmi", "method": "ifgan", "config": config}, "metrics": METRICS}
    for name in ("whole.json", "other.json"):
        (folder / name).write_text(json.dumps(content))

    def attempt(rng: Random) -> None:
        (folder / "other.json").write_bytes(bad_json(rng, content))
        found, _ = results.collect([folder])
        for cell in results.cells(found).values():
            assert 0 <= cell.mean <= 1
            assert cell.confusion.ndim == 2
            results.paired_test(cell, cell)

    return attempt


def study_files(folder: Path) -> Attempt:
    people = dict.fromkeys(SUBJECTS, (2, 5))
    run = {"setting": "hard", "method": "ifgan", "seed": 0, "data": "a", "people": people}
    (folder / "probes").mkdir()
    (folder / "probes" / "whole.json").write_text(json.dumps(PROBE))

    def attempt(rng: Random) -> None:
        (folder / "odd.json").write_bytes(bad_json(rng, run))
        (folder / "probes" / "odd.json").write_bytes(bad_json(rng, PROBE))
        for found in study.collect(folder):
            study.title(found.method)
            assert 0 <= found.accuracy <= 1
        for probed in study.probes(folder / "probes").values():
            leak_report.table(probed)

    return attempt


def detections(folder: Path) -> Attempt:
    row = {"key": "a", "boxes": [[1, 2, 3, 4]], "scores": [0.9], "points": [[[1, 2]] * 5],
           "turned": False}  # fmt: skip
    path = folder / "detections.jsonl"

    def attempt(rng: Random) -> None:
        path.write_bytes(b"\n".join(bad_json(rng, row) for _ in range(1 + below(rng, 3))))
        for detection in read_detections(path).values():
            assert np.isfinite(detection.points).all()

    return attempt


def odd_arrays(folder: Path) -> list[bytes]:
    """What lies where .npz files should: objects, one array, archives compressed or of nothing."""
    objects = np.array([Runs(folder.parent)], object)
    samples = []
    for write in (np.save, np.savez, np.savez_compressed):
        for array in (objects, np.zeros(3, np.float32), np.zeros(2**20, np.uint8)):
            stream = io.BytesIO()
            write(stream, array)
            samples.append(stream.getvalue())
    return [*samples, pickle.dumps(objects)]


def averages(folder: Path) -> Attempt:
    path, odd = folder / "averages.npz", odd_arrays(folder)
    Averages(np.ones((6, 4, 4, 1), np.float32), np.ones(6, np.int64)).save(path)
    whole = path.read_bytes()

    def attempt(rng: Random) -> None:
        content = whole if below(rng, 5) else one_of(rng, odd)
        path.write_bytes(mutate(rng, content, [whole, *odd]))
        assert Averages.load(path).images.shape == (6, 4, 4, 1)

    return attempt


def hashes(folder: Path) -> Attempt:
    faces, odd = Faces.unlabelled(np.zeros((3, 20, 20, 1), np.uint8)), odd_arrays(folder)
    image_hashes(faces, folder)
    (path,) = folder.iterdir()
    whole = path.read_bytes()

    def attempt(rng: Random) -> None:
        content = whole if below(rng, 5) else one_of(rng, odd)
        path.write_bytes(mutate(rng, content, [whole, *odd]))
        assert image_hashes(faces, folder).exact.shape == (3, 32)

    return attempt


TARGETS: dict[str, Target] = {
    "configs": Target(configs, ("config.json", *KEYS, *LAST_KEYS), 10_000),
    "overrides": Target(overrides, ("config", "command line", *LAST_KEYS), 10_000),
    "run_reports": Target(run_reports, (*RUN_FILES, PICTURE), 4_000),
    "comparisons": Target(comparisons, tuple(f"/odd/{x}" for x in (*RUN_FILES, PICTURE)), 4_000),
    "metrics_lines": Target(metrics_lines, ("metrics.jsonl",), 60_000),
    "fold_files": Target(fold_files, ("folds_3.json",), 60_000),
    "seen": Target(seen, ("folds.json",), 30_000),
    "result_files": Target(result_files, ("other.json",), 30_000),
    "study_files": Target(study_files, ("odd.json", "/probes: the leak probes"), 30_000),
    "detections": Target(detections, ("detections.jsonl",), 30_000),
    "averages": Target(averages, ("averages.npz",), 60_000),
    "hashes": Target(hashes, (".npz",), 30_000),
}
