"""Test a trained run again: its selected and its last checkpoint, pictures and report.

python scripts/evaluate.py --workdir=runs/demo
"""

from pathlib import Path

from absl import flags

from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run that was trained.")


def main() -> None:
    from ifgan_jax.evaluate import evaluate_run, load_run_parts
    from ifgan_jax.predict import open_run, restore
    from ifgan_jax.workdir import lock

    workdir = Path(WORKDIR.value)
    config, compiled = open_run(workdir)
    with lock(workdir):
        restored = restore(workdir, config, compiled)  # before data are read, or even rendered
        results = evaluate_run(workdir, config, compiled, restored, load_run_parts(config))
    for name, value in results.items():
        if isinstance(value, float):
            print(f"{name:32} {value:.4f}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    command_line.run(main)
