"""Every run of the study that is not done yet, and its test on people it has never seen.

    python scripts/study.py --config=configs/study.py:development --output=docs/study/development

Runs lie in runs/study; what is to be kept of each is one small JSON file in --output, of its leak
probe one in --output/probes. The same command again goes on. `--methods`, `--settings` and
`--seeds` run some of a part. The table of the results: `scripts/report.py --study=…`.
"""

import logging
import time
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from configs import study
from scripts import command_line

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A part of configs/study.py.", lock_config=True
)
OUTPUT = flags.DEFINE_string("output", None, "Folder of the results that are kept.")
RUNS = flags.DEFINE_string("runs", "runs/study", "Folder of the runs themselves.")
METHODS = flags.DEFINE_list("methods", [], "Of the part's methods; none: all.")
SETTINGS = flags.DEFINE_list("settings", [], "Of the part's settings; none: all.")
SEEDS = flags.DEFINE_list("seeds", [], "Of the part's seeds; none: all.")
SHARD = flags.DEFINE_string("shard", "0/1", "i/n: of every n runs the i-th, from 0.")
LOGGER = logging.getLogger("ifgan_jax")


def run(part: ConfigDict, job: study.Job, output: Path) -> bool:
    """Train and test one; False after SIGTERM."""
    from ifgan_jax.data.faces import load_prepared
    from ifgan_jax.predict import Predictor
    from ifgan_jax.results import AGAIN
    from ifgan_jax.study import by_person
    from ifgan_jax.train import train
    from ifgan_jax.workdir import flatten, told, write_json

    config, workdir = study.run_config(part, *job), Path(RUNS.value) / output.name / job.name
    data, started = study.tested_on(part, job.setting, job.seed), time.monotonic()
    metrics = train(config, workdir)
    if metrics is None:
        return False
    faces = load_prepared(config.data.data_dir, data).splits["faces"]
    faces = faces.select(faces.labels < config.data.num_classes)
    right = Predictor.load(workdir)(faces.images).probabilities.argmax(-1) == faces.labels
    kept = ("validation_accuracy", "selected_step", "transfer_accuracy", "identity_variance")
    content = {
        **job._asdict(),
        "data": data,
        "people": by_person(right, faces.subjects),
        **{key: metrics[key] for key in kept if key in metrics},
        "seconds": time.monotonic() - started,
        "config": flatten(config),
        "versions": metrics["versions"],
    }
    path = output / f"{job.name}.json"
    with told(path, AGAIN):
        write_json(path, content)
    print(f"{job.name}: {right.mean():.4f}", flush=True)
    return True


def probe(part: ConfigDict, job: study.Job, output: Path) -> None:
    """What a trained run and the baseline beside it, if that has run, tell of unseen people."""
    from ifgan_jax import leak
    from ifgan_jax.predict import Predictor
    from ifgan_jax.results import AGAIN
    from ifgan_jax.workdir import told, write_json

    runs = Path(RUNS.value) / output.name
    folder = runs / job._replace(method=part.baseline).name
    data, trained = study.probed_on(part, job.setting, job.seed), Predictor.load(runs / job.name)
    baseline = Predictor.load(folder) if folder.exists() else None
    found = leak.probe(trained, baseline, data, trained.config.data.data_dir, study.GALLERY)
    path = output / "probes" / f"{job.name}.json"
    with told(path, AGAIN):
        path.parent.mkdir(exist_ok=True)
        write_json(path, {**job._asdict(), **found})


def missing(part: ConfigDict, job: study.Job, output: Path) -> set[str]:
    """What is left to do of a job."""
    wanted = {"run": output / f"{job.name}.json"}
    if job.method in part.probed:
        wanted["probe"] = output / "probes" / f"{job.name}.json"
    return {step for step, path in wanted.items() if not path.exists()}


def main() -> None:
    from ifgan_jax.files import check_writable
    from ifgan_jax.results import AGAIN
    from ifgan_jax.workdir import told

    part, output = CONFIG.value, Path(OUTPUT.value)
    for flag, given, known in (
        ("methods", METHODS.value, part.methods),
        ("settings", SETTINGS.value, part.settings),
        ("seeds", SEEDS.value, tuple(map(str, part.seeds))),
    ):
        if unknown := set(given) - set(known):
            raise ValueError(f"--{flag}: {', '.join(sorted(unknown))}: not in this part")
    wanted = [
        job
        for job in study.jobs(part)
        if job.method in (METHODS.value or part.methods)
        and job.setting in (SETTINGS.value or part.settings)
        and str(job.seed) in (SEEDS.value or map(str, part.seeds))
    ]
    planned = command_line.shard(wanted, SHARD.value)
    left = [job for job in planned if missing(part, job, output)]
    with told(f"a file of {output}", AGAIN):  # before hours of training
        check_writable(output)
    print(f"{len(planned)} runs, {len(left)} of them to do", flush=True)
    for number, job in enumerate(left, 1):
        LOGGER.info("%d of %d: %s", number, len(left), job.name)
        if "run" in missing(part, job, output) and not run(part, job, output):
            return
        if "probe" in missing(part, job, output):
            probe(part, job, output)
        command_line.forget_run()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "output"])
    command_line.run(main)
