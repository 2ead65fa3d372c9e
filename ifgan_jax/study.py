"""Methods compared on unseen people over several seeds: result files, intervals, the table.

A result is one small JSON file of scripts/study.py: how many images of each tested person were
named rightly. Methods of one setting and seed are tested on the same images, so they are paired.
No jax, TensorFlow or config.
"""

import functools
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int16
from scipy import stats

from ifgan_jax import bootstrap, leak_report, tables, visualize
from ifgan_jax.files import MALFORMED, read_file
from ifgan_jax.published import METHODS
from ifgan_jax.tables import Table
from ifgan_jax.workdir import told, write_bytes

RESAMPLES = 10_000
SEED = 0  # of the resampling
BASELINE = "resnet101"
NAME = re.compile(r"(.*?)(?:_noise([\d.]+))?(?:_rate([\d.]+))?")  # configs/study.py's
CAPTION = "Accuracy on unseen people in percent, with 95 % intervals over people and seeds"


class Run(NamedTuple):
    """One method, trained with one seed, on the people tested: right answers of so many images."""

    setting: str
    method: str
    seed: int
    right: Int[np.ndarray, " p"]
    images: Int[np.ndarray, " p"]
    tested_on: tuple[str, ...]  # the data set and its people

    @property
    def accuracy(self) -> float:
        """The share of all images tested that was recognised, 0 to 1."""
        return float(self.right.sum() / self.images.sum())


class Estimate(NamedTuple):
    """A mean over seeds with its interval over people and seeds."""

    value: float
    low: float
    high: float


def collect(folder: Path) -> list[Run]:
    """All results of a folder, by name. Raises ValueError naming a damaged file."""
    runs = []
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(read_file(path))
            people = content["people"]
            right, images = (np.array([one[i] for one in people.values()], int) for i in (0, 1))
            tested_on = (content["data"], *people)
            setting, method, seed = (content[key] for key in ("setting", "method", "seed"))
            if not images.size or not ((images > 0) & (right >= 0) & (right <= images)).all():
                raise ValueError("nobody tested, or more right answers than images")
            runs.append(Run(setting + "", method + "", int(seed), right, images, tested_on))
        except MALFORMED as error:
            raise ValueError(
                f"{path} is no result of scripts/study.py, or damaged ({error!r})"
            ) from error
    return runs


def mean(runs: Sequence[Run]) -> Estimate:
    """The accuracy of one method in one setting."""
    return _estimate([(run.right.astype(float), run.images.astype(float)) for run in runs])


def difference(first: Sequence[Run], second: Sequence[Run]) -> Estimate | None:
    """The accuracy of one method less another's, on the seeds that both ran; None without any.

    Raises ValueError when they were not tested on the same people.
    """
    others = {run.seed: run for run in second}
    pairs = [(run, others[run.seed]) for run in first if run.seed in others]
    for one, other in pairs:
        if one.tested_on != other.tested_on or (one.images != other.images).any():
            raise ValueError(
                f"{one.setting}, seed {one.seed}: {one.method} and {other.method} were not tested "
                "on the same images"
            )
    if not pairs:
        return None
    return _estimate(
        [((a.right - b.right).astype(float), a.images.astype(float)) for a, b in pairs]
    )


def _estimate(
    seeds: Sequence[tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]],
) -> Estimate:
    """Mean over seeds of Σ right / Σ images over people; seeds and people drawn with replacement.

    A seed that is drawn twice has its people drawn twice.
    """
    people, which = _draws(tuple(len(right) for right, _ in seeds))
    drawn = np.empty((len(seeds), len(seeds), RESAMPLES))  # of seed, in slot
    for s, (right, images) in enumerate(seeds):
        for slot, weights in enumerate(people[s]):
            drawn[s, slot] = (weights @ right) / (weights @ images)
    slots = np.arange(len(seeds))
    means = [drawn[which[r], slots, r].mean() for r in range(RESAMPLES)]
    value = np.mean([right.sum() / images.sum() for right, images in seeds])
    return Estimate(float(value), *bootstrap.interval(means))


@functools.lru_cache(maxsize=2)  # the same for all methods of a setting; 50 MB for 5 × 100 people
def _draws(
    people: tuple[int, ...],
) -> tuple[list[list[Int16[np.ndarray, "r p"]]], Int[np.ndarray, "r s"]]:
    """By seed and slot, how often each person is drawn; and which seed is drawn for each slot."""
    rng = np.random.default_rng(SEED)
    often = [
        [bootstrap.weights(rng, count, RESAMPLES).astype(np.int16) for _ in people]
        for count in people
    ]
    return often, rng.integers(len(people), size=(RESAMPLES, len(people)))


def table(runs: Sequence[Run]) -> Table:
    """By setting and method: accuracy, and how much above the setting's best baseline; percent."""
    cells: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: _order(run.method)):
        cells[run.setting][run.method].append(run)
    rows = []
    for setting, methods in sorted(cells.items()):
        best = _best_baseline(methods)
        for method, mine in methods.items():
            above = difference(mine, methods[best]) if best and method != best else None
            rows.append(
                (
                    f"{setting}: {title(method)}",
                    _text(mean(mine)),
                    "" if above is None else _text(above, "+"),
                    str(len(mine)),
                    str(sum(int(run.images.sum()) for run in mine)),
                )
            )
    header = ("", "accuracy", "above the best baseline", "seeds", "images tested")
    return Table(CAPTION, header, tuple(rows))


def parts(method: str) -> tuple[str, str, str]:
    """A method's name, its noise in grey levels and the factor on its rate, "" where not named."""
    found = NAME.fullmatch(method)
    assert found is not None
    name, noise, rate = found.groups(default="")
    return name, noise, rate


def title(method: str) -> str:
    """A method by the name of the paper's tables; how it differs from the demo stands behind."""
    name, noise, rate = parts(method)
    told = METHODS.get(name, name.replace("_", " "))
    return told + (f", noise {noise}" if noise else "") + (f", rate × {rate}" if rate else "")


def _order(method: str) -> tuple[int, str, float, float]:
    """The order of the paper's tables, then by noise and rate."""
    name, noise, rate = parts(method)
    rows = list(METHODS)
    place = rows.index(name) if name in rows else len(rows)
    return place, name, float(noise or 0), float(rate or 1)


def _best_baseline(methods: Mapping[str, Sequence[Run]]) -> str | None:
    """The baseline of the learning rate that went best, so that no gain is one of tuning."""
    baselines = [method for method in methods if parts(method)[0] == BASELINE]
    return max(
        baselines,
        key=lambda method: fmean(run.accuracy for run in methods[method]),
        default=None,
    )


def probes(folder: Path) -> dict[str, dict[str, Any]]:
    """By setting and method ("hard-ifgan"), what leak probes found, over seeds: as one probe.json.

    Each seed has people and a run of its own: means, with Student's interval over the seeds; of
    one seed, that over its people. Raises ValueError naming a damaged file, or probes that have
    nothing in common.
    """
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(read_file(path))
            one = _merged([content])
            leak_report.table(one)  # all that is shown is there
            found[f"{content['setting']}-{content['method']}"].append(one)
        except MALFORMED as error:
            raise ValueError(f"{path} is no leak probe, or damaged ({error!r})") from error
    merged = {name: _merged(seeds) for name, seeds in found.items()}
    for name, one in merged.items():
        if not one["representations"]:
            raise ValueError(f"{folder}: the leak probes {name} have no representation in common")
    return merged


def _merged(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One probe.json of several: what all of them have."""
    rows: dict[str, dict[str, list[float]]] = {}
    for which, row in seeds[0]["representations"].items():
        if all(which in seed["representations"] for seed in seeds):
            each = [seed["representations"][which] for seed in seeds]
            shared = [key for key in row if all(key in one for one in each)]
            rows[which] = {key: _over_seeds([one[key] for one in each]) for key in shared}
    sets = ", ".join(seed["data"] for seed in seeds)
    return {"data": sets, "people": seeds[0]["people"], "representations": rows}


def _over_seeds(measures: Sequence[Sequence[float]]) -> list[float]:
    """Value, low, high and chance of a share measured on independent seeds."""
    if len(measures) == 1:
        return list(measures[0])
    values = np.array([value for value, *_ in measures])
    quantile = stats.t.ppf((1 + bootstrap.LEVEL) / 2, len(values) - 1)
    half = quantile * values.std(ddof=1) / np.sqrt(len(values))
    low, high = np.clip([values.mean() - half, values.mean() + half], 0, 1)
    chance = fmean(chance for *_, chance in measures)
    return [float(values.mean()), float(low), float(high), chance]


def write(folder: Path, output: Path) -> list[Table]:
    """All of a folder's results, as study.md, .tex and .csv in `output`; its leak probes beside.

    Those are probe-<setting>-<method>.md, .tex, .csv and .png. Returns the tables.
    Raises what `collect` and `probes` raise, and ValueError for a folder without results.
    """
    runs = collect(folder)
    if not runs:
        raise ValueError(f"{folder} holds no result of scripts/study.py")
    made, leaks = {"study": table(runs)}, probes(folder / "probes")
    made |= {f"probe-{name}": leak_report.table(found) for name, found in leaks.items()}
    with told(f"a file of {output}", "it writes anew"):
        output.mkdir(parents=True, exist_ok=True)
        for name, one in made.items():
            tables.write(one, output, name)
        for name, found in leaks.items():
            png = visualize.png_bytes(leak_report.figure(found))
            write_bytes(output / f"probe-{name}.png", png)
    return list(made.values())


def _text(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (100 * x for x in estimate)
    return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def by_person(right: Any, subjects: np.ndarray) -> dict[str, tuple[int, int]]:
    """Of each person, sorted: images named rightly, and all."""
    return {
        who: (int(np.sum(right[subjects == who])), int(np.sum(subjects == who)))
        for who in sorted(set(subjects.tolist()))
    }
