"""How well people and expressions can be told from inputs, generated faces and features.

    python scripts/probe_identity.py --workdir=runs/demo --data=synthetic_faces/72_400_seed1

The data set, of which only people unseen by the runs are used, must say who is in each image. Each
representation has its own probe, trained on others than the gallery (`ifgan_jax.probe`). Writes
probe.json into the workdir, and its report anew.
"""

from pathlib import Path

from absl import flags

from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of an IF-GAN run that was trained.")
BASELINE = flags.DEFINE_string(
    "baseline", None, "Folder of a baseline; <workdir>/baseline if that is there."
)
DATA = flags.DEFINE_string("data", None, "Prepared data set, such as synthetic_faces/72_400_seed1.")
DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where prepared data sets lie.")
GALLERY = flags.DEFINE_integer("gallery", 100, "People among whom one is looked for.", 2)


def main() -> None:
    from ifgan_jax import leak, leak_report, report
    from ifgan_jax.files import check_writable
    from ifgan_jax.predict import Predictor
    from ifgan_jax.tables import markdown
    from ifgan_jax.workdir import told, write_json

    workdir = Path(WORKDIR.value)
    folder = Path(BASELINE.value) if BASELINE.value else workdir / "baseline"
    baseline = Predictor.load(folder) if BASELINE.value or folder.exists() else None
    predictor = Predictor.load(workdir)
    written = f"a file of {workdir}", "it probes anew"
    with told(*written):  # before minutes of probing
        check_writable(workdir)
    content = leak.probe(predictor, baseline, DATA.value, DATA_DIR.value, GALLERY.value)
    with told(*written):
        write_json(workdir / "probe.json", content)
        report.write_report(workdir)
    print(markdown(leak_report.table(content)))
    print(f"\nwritten: {workdir / 'probe.json'}, {workdir / 'report.html'}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "data"])
    command_line.run(main)
