"""`make demo`: the baseline and IF-GAN on rendered faces with one budget, then a table and a page.

python scripts/demo.py --workdir=runs/demo --seed=0
"""

import json
import time
from pathlib import Path

from absl import flags

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


def main() -> None:
    from ifgan_jax import report
    from ifgan_jax.train import train
    from ifgan_jax.workdir import write_json

    started, workdir = time.time(), Path(WORKDIR.value)
    config = demo.get_config()
    config.seed = SEED.value
    baseline = demo.get_baseline_config()
    baseline.seed = SEED.value
    baseline_results = train(baseline, workdir / "baseline")
    results = train(config, workdir)
    if baseline_results is None or results is None:
        return  # SIGTERM: said so already
    results["baseline_test_accuracy"] = baseline_results["test_accuracy"]
    write_json(workdir / "metrics.json", results)
    page = report.write_report(workdir)
    gammas = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    print(
        f"\nIF-GAN on {results['num_test_images']} images of {results['num_test_subjects']} unseen "
        f"subjects, seed {results['seed']}, {(time.time() - started) / 60:.1f} minutes:"
    )
    for name, meaning in ROWS.items():
        print(f"  {meaning:48} {results[name]:.3f}")
    for name in sorted(name for name in gammas if "/gamma_" in name):
        place = name.rpartition("gamma_")[2].replace("_", " ")
        print(f"  {'γ of the ' + place:48} {gammas[name]:.3f}")
    print(f"report: {page}")


if __name__ == "__main__":
    command_line.run(main)
