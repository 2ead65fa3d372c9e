"""Every run that the paper's tables need and that is not done yet, one after the other.

    python scripts/cross_validate.py --config=configs/default.py --output=runs/tables \
        --datasets=bu3dfe,ck_plus,mmi,raf_db --methods=resnet101,no_attention,ifgan --seeds=0,1,2

Each run has a folder in <output>/runs and, when it is done, a JSON file in <output>/results that is
all that scripts/report.py needs. The same command again goes on: a run whose result is there is not
run again, even without its folder; one that was cut off resumes; one that failed is tried anew.
Several machines share the work by --shard=0/4 to --shard=3/4, see docs/experiments.md.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from configs import overlays
from scripts import command_line

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config() of IF-GAN.", lock_config=True
)
OUTPUT = flags.DEFINE_string("output", "runs/tables", "Folder of runs/ and results/.")
DATA_SETS = flags.DEFINE_list("datasets", [], "Those of the paper to test on; none: the config's.")
METHODS = flags.DEFINE_list(
    "methods", ["resnet101", "no_attention", "ifgan"], f"Of {', '.join(overlays.METHODS)}."
)
FOLDS = flags.DEFINE_list("folds", ["all"], "all, or numbers; RAF-DB has one test part.")
SEEDS = flags.DEFINE_list("seeds", ["0"], "Numbers.")
SHARD = flags.DEFINE_string("shard", "0/1", "i/n: of every n runs the i-th, from 0.")
LOGGER = logging.getLogger("ifgan_jax")


class Run(NamedTuple):
    """One job; `name` tells it from every other, and its config from every other config."""

    name: str
    method: str
    config: ConfigDict


def plan(
    base: ConfigDict, data_sets: list[str], methods: list[str], folds: list[str], seeds: list[str]
) -> list[Run]:
    """All runs, in the order data set, seed, fold, method. Raises ValueError naming the flag."""
    from ifgan_jax.results import num_folds, run_name
    from ifgan_jax.workdir import flatten

    runs = []
    for tested in [overlays.with_data(base, name) for name in data_sets] or [base]:
        parts = num_folds(flatten(tested))
        chosen = list(range(parts))
        if folds != ["all"] and parts > 1:
            chosen = [command_line.number("--folds", fold, parts) for fold in folds]
        for seed in (command_line.number("--seeds", seed, 2**31) for seed in seeds):
            for fold in chosen:
                for method in methods:
                    config = overlays.with_method(tested, method)
                    config.seed, config.data.fold = seed, fold
                    runs.append(Run(run_name(config, method), method, config))
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("--datasets, --methods, --folds or --seeds names something twice")
    return runs


def check(runs: list[Run]) -> None:
    """Everything that would stop a run later on: its config, its weights, and its data set."""
    from ifgan_jax import build, results, sharding
    from ifgan_jax.evaluate import load_run_parts

    for run in runs:
        mesh = sharding.make_mesh(jax.devices(), run.config.devices)
        build.check_config(run.config, mesh.size)
        build.check_pretrained(run.config)
    for run in {results.data_set(run.config): run for run in runs}.values():
        load_run_parts(run.config)


def run_all(runs: list[Run], output: Path) -> list[str]:
    """Train and test each run; the names of those that failed. Stops early after SIGTERM."""
    from ifgan_jax import results
    from ifgan_jax.train import train

    failed = []
    for number, run in enumerate(runs, 1):
        LOGGER.info("%d of %d: %s", number, len(runs), run.name)
        command_line.forget_run()  # of the one before, which may have failed
        workdir = output / "runs" / run.name
        try:
            metrics = train(run.config, workdir)
        except BlockingIOError as error:
            LOGGER.warning("left to the process that is at it: %s", error)
            continue
        except (ValueError, OSError, FloatingPointError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not command_line.is_want_of_memory(error):
                raise
            LOGGER.warning("failed: %s", error)
            results.write_failure(output / "results", run.method, run.config, error)
            failed.append(run.name)
            continue
        if metrics is None:
            break
        results.write_result(output / "results", run.method, run.config, metrics, workdir)
    return failed


def main() -> None:
    from ifgan_jax.files import check_writable
    from ifgan_jax.results import AGAIN
    from ifgan_jax.workdir import told

    output = Path(OUTPUT.value)
    runs = plan(CONFIG.value, DATA_SETS.value, METHODS.value, FOLDS.value, SEEDS.value)
    mine = command_line.shard(runs, SHARD.value)
    left = [run for run in mine if not (output / "results" / f"{run.name}.json").exists()]
    print(f"{len(runs)} runs, {len(mine)} in this shard, {len(left)} of them to do", flush=True)
    check(left)
    with told(f"a file of {output / 'results'}", AGAIN):  # before hours of training
        check_writable(output / "results")
    if failed := run_all(left, output):
        raise ValueError(f"{len(failed)} of {len(left)} runs failed: {', '.join(failed)}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    command_line.run(main)
