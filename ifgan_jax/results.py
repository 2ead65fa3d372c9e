"""Results of many runs: files, what may be averaged, means, spreads and paired tests.

A run's result is one JSON file beside which its pictures lie; it outlives the run's folder.
"""

import hashlib
import json
import operator
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict
from scipy import stats

from ifgan_jax.files import MALFORMED, read_file
from ifgan_jax.workdir import FREE_KEYS, config_hash, flatten, told, write_json

DATA = ("data_hash", "folds_hash")  # of metrics.json: what was cut, and where
SINGLE_RUNS = ("seed", "data.fold")  # in which the runs of one cell differ
PICTURES = ("transfer_grid", "attention_maps")  # Fig. 5 and 6
FAILED = ".failed.json"
AGAIN = "what is done is not run again"


class Result(NamedTuple):
    """One run's test: `accuracy` in [0, 1], `config` flattened, `metrics` all of metrics.json."""

    path: Path
    data_set: str
    method: str
    seed: int
    fold: int
    accuracy: float
    config: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 (12 digits) of what averaged runs share: data, how they are cut into folds, and
        the keys that decide numbers but seed and fold."""
        free = (*SINGLE_RUNS, *FREE_KEYS)
        keys = {name: value for name, value in self.config.items() if name not in free}
        hashes = [self.metrics[key] for key in DATA]
        shared = json.dumps([keys, *hashes], sort_keys=True)
        return hashlib.sha256(shared.encode()).hexdigest()[:12]


class Failure(NamedTuple):
    """A run that ended with an error: its name, and the message."""

    name: str
    error: str


def data_set(config: ConfigDict) -> str:
    """ "ck_plus" of "ck_plus/72_given"; how a set was prepared is part of the config."""
    return config.data.name.partition("/")[0]


def num_folds(config: Mapping[str, Any]) -> int:
    """Test parts of a flattened config's data set: RAF-DB has its owner's one."""
    owners = config["data.name"].partition("/")[0] == "raf_db"
    return 1 if owners else config["data.num_folds"]


def run_name(config: ConfigDict, method: str) -> str:
    """ck_plus-ifgan-seed0-fold3-epochs100-<config hash>: another config has another name."""
    run = f"seed{config.seed}-fold{config.data.fold}-epochs{config.epochs}"
    return f"{data_set(config)}-{method}-{run}-{config_hash(config)}"


def write_result(
    folder: Path, method: str, config: ConfigDict, metrics: Mapping[str, Any], workdir: Path
) -> Path:
    """Keep a run's metrics, config and pictures in `folder`, and forget that it failed before."""
    name = run_name(config, method)
    path = folder / f"{name}.json"
    run = {"data_set": data_set(config), "method": method, "config": flatten(config)}
    with told(path, AGAIN):
        folder.mkdir(parents=True, exist_ok=True)
        for picture in PICTURES:
            drawn = workdir / "pictures" / f"{picture}.png"
            if drawn.exists():
                shutil.copyfile(drawn, folder / f"{name}.{picture}.png")
        write_json(path, {"run": run, "metrics": metrics})
        (folder / f"{name}{FAILED}").unlink(missing_ok=True)
    return path


def write_failure(folder: Path, method: str, config: ConfigDict, error: Exception) -> None:
    """Leave word of a run that ended with an error."""
    path = folder / f"{run_name(config, method)}{FAILED}"
    with told(path, AGAIN):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"error": str(error)})


def collect(folders: Iterable[Path]) -> tuple[list[Result], list[Failure]]:
    """All results and failures in some folders, in the order of their names.

    A result that lies in two folders is read once.
    Raises FileNotFoundError for a folder that is not there, ValueError naming a damaged file.
    """
    found, failures = {}, {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: there is no such folder of results")
        for path in sorted(folder.glob("*.json")):
            try:
                content = json.loads(read_file(path))
                if path.name.endswith(FAILED):
                    name = path.name.removesuffix(FAILED)
                    failures[name] = Failure(name, str(content["error"]))
                else:
                    found[path.name] = _result(path, content)
            except MALFORMED as error:
                raise ValueError(
                    f"{path} is no result of scripts/cross_validate.py, or damaged ({error!r}): "
                    "remove it, and run it again"
                ) from error
    return list(found.values()), [failures[name] for name in sorted(failures)]


def _result(path: Path, content: Mapping[str, Any]) -> Result:
    run, metrics = content["run"], content["metrics"]
    config = run["config"]
    accuracy = float(metrics["test_accuracy"])
    if not 0 <= accuracy <= 1:
        raise ValueError(f"test_accuracy {accuracy}")
    confusion = np.array(metrics["confusion"]).reshape(2 * (len(metrics["class_names"]),))
    if confusion.dtype.kind != "i":
        raise ValueError(f"confusion of {confusion.dtype}")
    seed, fold = (operator.index(config[key]) for key in SINGLE_RUNS)
    data_set, method = (run[key] + "" for key in ("data_set", "method"))  # or a TypeError
    operator.index(num_folds(config)), [metrics[key] + "" for key in DATA]
    return Result(path, data_set, method, seed, fold, accuracy, config, metrics)


class Cell(NamedTuple):
    """The runs of one data set and method that are averaged, and those that are not.

    set_aside: runs of other configs or other data than most of the cell's.
    """

    runs: tuple[Result, ...]
    set_aside: tuple[Result, ...]

    def by_seed(self) -> dict[int, dict[int, float]]:
        """seed → fold → accuracy."""
        grid: dict[int, dict[int, float]] = defaultdict(dict)
        for run in self.runs:
            grid[run.seed][run.fold] = run.accuracy
        return dict(sorted(grid.items()))

    @property
    def digest(self) -> str:
        """Of the averaged runs."""
        return self.runs[0].digest

    @property
    def expected_folds(self) -> int:
        """The folds that a whole seed has."""
        return num_folds(self.runs[0].config)

    @property
    def complete_seeds(self) -> dict[int, float]:
        """seed → mean over its folds, for seeds with every fold."""
        return {
            seed: float(np.mean(list(folds.values())))
            for seed, folds in self.by_seed().items()
            if len(folds) == self.expected_folds
        }

    def by_fold(self) -> dict[int, float]:
        """fold → mean over the seeds that ran it."""
        folds = sorted({run.fold for run in self.runs})
        return {
            f: float(np.mean([run.accuracy for run in self.runs if run.fold == f])) for f in folds
        }

    @property
    def mean(self) -> float:
        """Of the complete seeds' means; without a complete seed, of the folds there are."""
        return float(np.mean(list((self.complete_seeds or self.by_fold()).values())))

    @property
    def deviation(self) -> float | None:
        """Sample deviation over complete seeds; None with fewer than two."""
        return _deviation(self.complete_seeds.values())

    @property
    def fold_spread(self) -> float | None:
        """Sample deviation over folds, each averaged over seeds; None with fewer than two."""
        return _deviation(self.by_fold().values())

    @property
    def confusion(self) -> Int[np.ndarray, "k k"]:
        """Test images by true (rows) and predicted class, summed over the runs."""
        return np.sum([run.metrics["confusion"] for run in self.runs], axis=0)


def _deviation(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None


def cells(results: Sequence[Result]) -> dict[tuple[str, str], Cell]:
    """(data set, method) → its cell. Of several configs the one with most runs is averaged.

    Between equal numbers the one whose file was written last.
    """
    grouped: dict[tuple[str, str], dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        grouped[result.data_set, result.method][result.digest].append(result)
    made = {}
    for place, groups in grouped.items():
        ranked = sorted(
            groups.values(),
            key=lambda runs: (len(runs), max(run.path.stat().st_mtime for run in runs)),
        )
        others = (run for runs in ranked[:-1] for run in runs)
        made[place] = Cell(tuple(ranked[-1]), tuple(others))
    return made


class PairedTest(NamedTuple):
    """difference: mean accuracy of the first less the second; p: two-sided; over `pairs` units."""

    difference: float
    p: float
    pairs: int
    unit: str


def paired_test(first: Cell, second: Cell) -> PairedTest | None:
    """Exact sign-flip (permutation) test on what two methods have both run; None below two pairs.

    The units are folds, each averaged over the seeds that both ran, for other people are tested in
    each; with one test part (RAF-DB) the seeds. It assumes no distribution; with n pairs its p is
    never below 2 / 2^n. Folds share training images, so p is rather too small.
    """
    accuracies = [{(run.fold, run.seed): run.accuracy for run in cell.runs} for cell in
                  (first, second)]  # fmt: skip
    shared = accuracies[0].keys() & accuracies[1].keys()
    part = 0 if len({fold for fold, _ in shared}) > 1 else 1
    differences: dict[int, list[float]] = defaultdict(list)
    for key in sorted(shared):
        differences[key[part]].append(accuracies[0][key] - accuracies[1][key])
    paired: Float[np.ndarray, " n"] = np.array([np.mean(d) for d in differences.values()])
    if len(paired) < 2:
        return None
    if not paired.any():
        return PairedTest(0.0, 1.0, len(paired), ("folds", "seeds")[part])
    test = stats.permutation_test(
        (paired,),
        np.mean,
        permutation_type="samples",
        n_resamples=np.inf if len(paired) <= 16 else 2**16,
        rng=0,
    )
    return PairedTest(
        float(paired.mean()), float(test.pvalue), len(paired), ("folds", "seeds")[part]
    )
