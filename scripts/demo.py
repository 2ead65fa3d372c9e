"""`make demo`: the baseline and IF-GAN on rendered faces with one budget, then a table and a page.

python scripts/demo.py --workdir=runs/demo --seed=0
"""

import time
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from configs import demo
from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", "runs/demo", "Folder of the IF-GAN run.")
SEED = flags.DEFINE_integer("seed", 0, "Weights, order of the images, augmentation.")
ROWS = {
    "test_accuracy": "accuracy, unseen subjects",
    "baseline_test_accuracy": "the same, ResNet baseline",
    "transfer_accuracy": "generated face is nearest to the right average",
    "identity_variance": "identity variance that remains",
    "ssim": "SSIM to the average face",
    "accuracy_generated_shuffled": "accuracy, generated faces shuffled",
}


def run_demo(config: ConfigDict, baseline: ConfigDict, workdir: Path) -> str | None:
    """Train both (each resumes), and return the table; None after SIGTERM."""
    from ifgan_jax.train import train
    from ifgan_jax.workdir import read_metrics

    started = time.time()
    if train(baseline, workdir / "baseline") is None:
        return None
    if (results := train(config, workdir)) is None:
        return None
    lines = [
        f"IF-GAN on {results['num_test_images']} images of {results['num_test_subjects']} unseen "
        f"subjects, seed {results['seed']}, {(time.time() - started) / 60:.1f} minutes:"
    ]
    lines += [f"  {meaning:48} {results[name]:.3f}" for name, meaning in ROWS.items()]
    last = read_metrics(workdir)[-1]
    for name in sorted(name for name in last if "/gamma_" in name):
        place = name.rpartition("gamma_")[2].replace("_", " ")
        lines.append(f"  {'γ of the ' + place:48} {last[name]:.3f}")
    return "\n".join([*lines, f"report: {workdir / 'report.html'}"])


def main() -> None:
    config, baseline = demo.get_config(), demo.get_baseline_config()
    config.seed = baseline.seed = SEED.value
    if table := run_demo(config, baseline, Path(WORKDIR.value)):
        print(table)


if __name__ == "__main__":
    command_line.run(main)
