"""A trained run as one file, which runs without this package, and its model card.

    python scripts/export.py --workdir=runs/demo --output=exported
    python scripts/export.py --workdir=runs/demo --output=exported --format=onnx

How each is loaded stands in its card, model.stablehlo.md and model.onnx.md.
"""

from pathlib import Path

from absl import flags

from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run that was trained and evaluated.")
FORMAT = flags.DEFINE_enum("format", "stablehlo", ["stablehlo", "onnx"], "Of the model's file.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of the two files; made if absent.")


def main() -> None:
    from ifgan_jax import export
    from ifgan_jax.files import of_file, read_object
    from ifgan_jax.predict import Predictor
    from ifgan_jax.workdir import read_folds, told, write_bytes, write_text

    workdir, output = Path(WORKDIR.value), Path(OUTPUT.value)
    predictor = Predictor.load(workdir)
    results = workdir / "metrics.json"
    if not results.exists():
        raise FileNotFoundError(f"{results} is missing: run scripts/evaluate.py first")
    remedy = "run scripts/evaluate.py again"
    metrics, folds = read_object(results, remedy), read_folds(workdir)
    tested, step = metrics.get("selected_step"), int(predictor.state.step)
    if tested != step:
        raise ValueError(f"{results} is of step {tested}, the model is of step {step}: {remedy}")
    with of_file(results, remedy):
        card = export.model_card(predictor, metrics, folds, FORMAT.value)
    model = {"stablehlo": export.stablehlo, "onnx": export.onnx}[FORMAT.value](predictor)
    path = output / f"model.{FORMAT.value}"
    beside = output / f"{path.name}.md"
    with told(f"a file of {output}", "it exports anew"):
        output.mkdir(parents=True, exist_ok=True)
        write_bytes(path, model)
        write_text(beside, card)
    print(f"written: {path} ({len(model) / 2**20:.1f} MiB), {beside.name}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "output"])
    command_line.run(main)
