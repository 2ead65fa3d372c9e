"""Train a config in a workdir, or go on where it stopped; test it when it is done.

python scripts/train.py --config=configs/demo.py --workdir=runs/demo --config.seed=1

On several hosts the same command in each, see docs/scaling.md.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from scripts import command_line

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "File with get_config().", lock_config=True
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run; made if absent.")
COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "host:port of process 0; not needed under SLURM and on TPU."
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of this run, on all hosts; 1: alone, whatever SLURM says."
)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def main() -> None:
    from ifgan_jax import hosts
    from ifgan_jax.train import train

    with hosts.connected(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value):
        command_line.keep_shared_programs_only()
        results = train(CONFIG.value, Path(WORKDIR.value))
        if results is not None and hosts.is_first():
            accuracy = results["test_accuracy"]
            print(f"test accuracy {accuracy:.4f}; report: {WORKDIR.value}/report.html")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    command_line.run(main)
