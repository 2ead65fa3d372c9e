"""Runs that are killed, stopped, damaged and crowded, each of which must end as if unbroken.

    python scripts/campaign.py crashes --faults=kill --kills=200 --output=FILE
    python scripts/campaign.py crashes --faults=kill,clock --kills=20 --others=2 --most=2

Every fault hits a process of its own of scripts/train.py, at a moment drawn by --seed; the run is
then started again until it is done, and compared bit for bit with one that nobody touched. Faults
that need a mount need root; where they cannot be injected, the result says so. The runs lie below
TMPDIR and go at the end; the JSON is written after each fault.
"""

import logging
import os
import random
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from absl import flags

from ifgan_jax.tables import Table
from ifgan_jax.workdir import write_json
from scripts.campaigns import damage, kills, options, report
from scripts.campaigns.faults import NotRunError, Outcome, Scene, stage
from scripts.campaigns.process import Site

LOGGER = logging.getLogger("ifgan_jax")
# Machine code that is optimised little compiles faster, and these runs need milliseconds of it.
XLA_FLAGS = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"


class Fault(NamedTuple):
    """How it is injected, in which config's runs, and how the tables call it."""

    inject: Callable[[Scene, random.Random, int], Iterator[Outcome]]
    name: str
    config: str = "patterns"


FAULTS = {
    "kill": Fault(kills.kills, "SIGKILL"),
    "stop": Fault(kills.stops, "SIGTERM"),
    "disk": Fault(damage.full_disk, "full disk"),
    "read_only": Fault(damage.read_only, "read-only workdir"),
    "checkpoint": Fault(damage.checkpoint, "a file of the last checkpoint cut or flipped"),
    "data": Fault(damage.data_set, "a file of the rendered data set cut or flipped", "rendered"),
    "compiled": Fault(damage.compiled, "a file of the compilation cache cut or flipped"),
    "file_times": Fault(damage.file_times, "file times shuffled or in the future", "rendered"),
    "clock": Fault(damage.clock, "time.time going back"),
    "two_runs": Fault(damage.two_runs, "two runs in one workdir"),
}

CHOSEN = flags.DEFINE_list("faults", list(FAULTS), f"Of {', '.join(FAULTS)}.", allow_override=True)
KILLS = flags.DEFINE_integer("kills", 200, "SIGKILLs.", lower_bound=1, allow_override=True)
OTHERS = flags.DEFINE_integer(
    "others",
    10,
    "Of each other fault that has no number of its own.",
    lower_bound=1,
    allow_override=True,
)
MOST = flags.DEFINE_integer(
    "most", 0, "Files to damage, of each kind; 0: all.", lower_bound=0, allow_override=True
)
JOBS = flags.DEFINE_integer(
    "jobs",
    1,
    "Runs that are hit at the same time, one of each fault; kills are shared out.",
    lower_bound=1,
    allow_override=True,
)


def main() -> None:
    if unknown := set(CHOSEN.value) - set(FAULTS):
        raise ValueError(f"--faults: {', '.join(sorted(unknown))}: choose of {', '.join(FAULTS)}")
    path, result = report.output("crashes"), report.header("crashes")  # the commit, of before
    numbers = {key: KILLS.value if key == "kill" else OTHERS.value for key in CHOSEN.value}
    tasks = iter([x for key, n in numbers.items() for x in shares(key, n, JOBS.value)])
    keeping, started = threading.Lock(), time.monotonic()
    done: dict[str, list[Injected]] = defaultdict(list)

    def keep() -> None:
        """What has come of all that was injected so far."""
        result["seed"], result["seconds"] = options.SEED.value, time.monotonic() - started
        result["faults"] = {key: counted(FAULTS[key], done[key]) for key in CHOSEN.value}
        write_json(path, result)

    def job(number: int) -> None:
        """One injection after the other, in scenes of its own."""
        scenes: dict[str, Scene] = {}
        for key, share, hits in tasks:
            config = FAULTS[key].config
            if config not in scenes:
                scenes[config] = scene(config, folder / f"{config}_{number}", MOST.value)
            rng = random.Random(f"{options.SEED.value} {key}{share or ''}")
            share_done = injected(FAULTS[key], scenes[config], rng, hits)
            with keeping:
                done[key].append(share_done)
                keep()

    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(JOBS.value) as pool:
        folder = Path(name)
        list(pool.map(job, range(JOBS.value)))
    report.finish("crashes", result, tables)
    found = result["faults"]
    if bad := sum(fault["lost"] + fault["unclear"] for fault in found.values()):
        raise ValueError(f"{bad} injections lost something or ended with an unclear error")
    if missed := [x["name"] for x in found.values() if not x["injected"] and not x["not_run"]]:
        raise ValueError(f"not injected once: {', '.join(missed)}")


def shares(key: str, number: int, jobs: int) -> list[tuple[str, int, int]]:
    """Key, which share, and injections of it: a fault is one job's, but kills are of all jobs."""
    if key != "kill":
        return [(key, 0, number)]
    each, over = divmod(number, jobs)
    sizes = (each + (job < over) for job in range(jobs))
    return [(key, job, size) for job, size in enumerate(sizes) if size]


def scene(name: str, folder: Path, most: int) -> Scene:
    """A place for faults in runs of a config of `small`; two undisturbed ones have to be alike."""
    folder.mkdir()
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": XLA_FLAGS,
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    config = f"--config=scripts/campaigns/small.py:{name}"
    site = Site((config, f"--config.data.data_dir={folder / 'data'}"), environment)
    LOGGER.info("%s: two undisturbed runs", name)
    first = stage(site, folder / "compiles", most)
    second = stage(site, folder / "reference", most)  # it shows how long a life is
    if differences := second.judge.differences(first.judge.reference):
        raise ValueError(f"two undisturbed runs differ: {', '.join(differences)}")
    return second


class Injected(NamedTuple):
    """What came of a fault's injections, and why one of them could not be made; "" for none."""

    outcomes: list[Outcome]
    not_run: str


def injected(fault: Fault, place: Scene, rng: random.Random, number: int) -> Injected:
    """Injections of one fault, one after the other.

    What the judge cannot read, or no code expects, counts as lost: it ends this fault's injections.
    """
    outcomes: list[Outcome] = []
    not_run = ""
    try:
        for outcome in fault.inject(place, rng, number):
            outcomes.append(outcome)
            said = "; ".join(outcome.lost) or outcome.error or "survived"
            LOGGER.info("%s %d, %s: %s", fault.name, len(outcomes), outcome.where, said)
    except NotRunError as error:
        not_run = str(error)
        LOGGER.warning("%s not run: %s", fault.name, not_run)
    except Exception as error:
        LOGGER.exception("%s %d", fault.name, len(outcomes) + 1)
        outcomes.append(Outcome("not judged", "", [repr(error)]))
    return Injected(outcomes, not_run)


def counted(fault: Fault, done: list[Injected]) -> report.Result:
    """All injections of one fault."""
    outcomes = [outcome for share in done for outcome in share.outcomes]
    clear = [x for x in outcomes if x.error and not x.lost and not _unclear(x)]
    return {
        "name": fault.name,
        "injected": len(outcomes),
        "survived": sum(not outcome.error and not outcome.lost for outcome in outcomes),
        "refused": len(clear),
        "unclear": sum(map(_unclear, outcomes)),
        "lost": sum(bool(outcome.lost) for outcome in outcomes),
        "errors": dict(Counter(outcome.error for outcome in outcomes if outcome.error)),
        "not_run": "; ".join({share.not_run: None for share in done if share.not_run}),
        "injections": [outcome._asdict() for outcome in outcomes],
    }


def _unclear(outcome: Outcome) -> bool:
    return outcome.error.startswith("unclear")


def tables(result: report.Result) -> list[Table]:
    """A row a fault; and where the kills fell."""
    header = (
        "",
        "injected",
        "survived",
        "refused clearly, then survived",
        "unclear",
        "lost",
        "errors",
    )
    rows = []
    for fault in result["faults"].values():
        counts = [str(fault[key]) for key in ("injected", "survived", "refused", "unclear", "lost")]
        errors = "; ".join(f"{kind}: {count}" for kind, count in fault["errors"].items())
        if fault["not_run"]:
            errors = f"not run: {fault['not_run']}"
        rows.append((fault["name"], *counts, errors))
    made = [Table(f"Faults, seed {result['seed']}", header, tuple(rows))]
    for key in ("kill", "stop"):
        if key in result["faults"]:
            fault = result["faults"][key]
            where = Counter(injection["where"] for injection in fault["injections"])
            lost = Counter(i["where"] for i in fault["injections"] if i["lost"])
            moments = tuple((name, str(n), str(lost[name])) for name, n in where.most_common())
            made.append(Table(f"{fault['name']}, by moment", ("", "injected", "lost"), moments))
    return made
