"""Test a trained run again: its selected and its last checkpoint, pictures and report.

python scripts/evaluate.py --workdir=runs/demo
"""

from pathlib import Path

import jax
from absl import flags

from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run that was trained.")


def main() -> None:
    from ifgan_jax import build, sharding
    from ifgan_jax.evaluate import evaluate_run, load_run_parts
    from ifgan_jax.workdir import read_config

    workdir = Path(WORKDIR.value)
    config = read_config(workdir)
    mesh = sharding.make_mesh(jax.devices(), config.devices)
    build.check_evaluation(config, mesh.size)
    compiled = build.compile_steps(config, build.build(config, steps_per_epoch=1), mesh)
    results = evaluate_run(workdir, config, compiled, load_run_parts(config))
    for name, value in results.items():
        if isinstance(value, float):
            print(f"{name:32} {value:.4f}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    command_line.run(main)
