"""Train a config in a workdir, or go on where it stopped; test it when it is done.

python scripts/train.py --config=configs/demo.py --workdir=runs/demo --config.seed=1
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from scripts import command_line

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config().", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run; made if absent.")


def main() -> None:
    from ifgan_jax.train import train

    results = train(CONFIG.value, Path(WORKDIR.value))
    if results is not None:
        print(f"test accuracy {results['test_accuracy']:.4f}; report: {WORKDIR.value}/report.html")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    command_line.run(main)
