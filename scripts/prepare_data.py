"""Align a delivered data set and write it as records; or, with --check, tell what lies there.

python scripts/prepare_data.py --dataset=ck_plus --source=/delivered/CK+
python scripts/prepare_data.py --check
"""

from pathlib import Path

from absl import flags

from scripts import command_line

DATASET = flags.DEFINE_enum(
    "dataset", None, ["bu3dfe", "ck_plus", "mmi", "raf_db"], "Which data set."
)
SOURCE = flags.DEFINE_string("source", None, "Folder as its owner delivered it.")
DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of all prepared data sets.")
CONFIG = flags.DEFINE_string(
    "config", None, "SIZE_ALIGNMENT: 256, 108 or 72 and similarity, affine or given."
)
SESSIONS = flags.DEFINE_string("sessions", None, "MMI: file with sessions, one a line.")
PASSWORD = flags.DEFINE_string("password", None, "Of the owner's encrypted archives.")
STRICT = flags.DEFINE_bool("strict", False, "Every difference is an error.")
CHECK = flags.DEFINE_bool("check", False, "Prepare nothing, print a table for each prepared set.")


def main() -> None:
    from ifgan_jax.data import builder, check
    from ifgan_jax.data.vendor import mmi

    data_dir = Path(DATA_DIR.value)
    if CHECK.value:
        builders = check.prepared_builders(data_dir)
        if not builders:
            raise FileNotFoundError(f"{data_dir}: no data set is prepared there")
        for prepared in builders:
            print(check.check(prepared, data_dir, strict=STRICT.value))
        return
    if not DATASET.value or not SOURCE.value:
        raise ValueError("give --dataset and --source, or --check")
    if SESSIONS.value and DATASET.value != "mmi":
        raise ValueError("--sessions is for --dataset=mmi")
    name = "/".join(filter(None, (DATASET.value, CONFIG.value)))
    made = builder.open_builder(
        data_dir,
        name,
        password=PASSWORD.value,
        sessions=mmi.read_sessions(Path(SESSIONS.value)) if SESSIONS.value else None,
        strict=STRICT.value,
    )
    builder.prepare(made, SOURCE.value)
    print(check.check(made, data_dir, strict=STRICT.value))


if __name__ == "__main__":
    command_line.run(main)
