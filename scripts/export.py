"""A trained run as model.stablehlo, which runs without this package, and model_card.md.

    python scripts/export.py --workdir=runs/demo --output=exported

How it is loaded: model_card.md.
"""

import json
from pathlib import Path

from absl import flags

from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run that was trained and evaluated.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of the two files; made if absent.")


def main() -> None:
    from ifgan_jax import export
    from ifgan_jax.predict import Predictor

    workdir, output = Path(WORKDIR.value), Path(OUTPUT.value)
    predictor = Predictor.load(workdir)
    results = workdir / "metrics.json"
    if not results.exists():
        raise FileNotFoundError(f"{results} is missing: run scripts/evaluate.py first")
    metrics, folds = (
        json.loads(path.read_text(encoding="utf-8")) for path in (results, workdir / "folds.json")
    )
    card = export.model_card(predictor, metrics, folds)
    model = export.stablehlo(predictor)
    output.mkdir(parents=True, exist_ok=True)
    (output / "model.stablehlo").write_bytes(model)
    (output / "model_card.md").write_text(card, encoding="utf-8")
    print(f"written: {output / 'model.stablehlo'} ({len(model) / 2**20:.1f} MiB), model_card.md")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "output"])
    command_line.run(main)
