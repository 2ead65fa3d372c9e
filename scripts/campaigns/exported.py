"""What the exported models of a run answer, beside the run itself, on its test images.

    python scripts/campaign.py exported --workdir=runs/demo --output=docs/reliability/exported.json

scripts/export.py's two files (extra `onnx`), each in a process that cannot import this package, in
batches of the run's size and image by image. StableHLO beside the package in the same batches, with
the XLA_FLAGS that our scripts set for themselves, and both without; also without them beside what
scripts/predict.py would say, in whatever batches. ONNX gets the noise that the package draws, and
then, as its card has it, other noise: what comes of that is shown, and has no limit.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import flags

from ifgan_jax import export
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.predict import HostPrediction, Predictor
from ifgan_jax.tables import Table
from scripts.campaigns import report

WORKDIR = flags.DEFINE_string(
    "workdir", "runs/demo", "Folder of a run that was trained.", allow_override=True
)

WITH, WITHOUT = "StableHLO and the package, our XLA_FLAGS", "StableHLO and the package, no flags"
APART, ONNX = "StableHLO, no flags, and scripts/predict.py", "ONNX and scripts/predict.py"
OTHER_NOISE = "ONNX, noise of its own, and scripts/predict.py"
# Of probabilities, and of faces from -1 to 1; by other flags and batches XLA sums in another order.
LIMITS = {WITH: (1e-6, 1e-6), WITHOUT: (1e-6, 1e-6), APART: (1e-5, 1e-5), ONNX: (1e-4, 2e-3)}

ALONE = {
    "stablehlo": """
import sys
import numpy as np
sys.path = [path for path in sys.path if path]  # not this folder
sys.modules["ifgan_jax"] = None  # importing it fails
from jax import export
model = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
def answers(given):
    return model.call(given["images"])
""",
    "onnx": """
import sys
import numpy as np
for name in ("jax", "jaxlib", "flax", "ifgan_jax", "tensorflow"):
    sys.modules[name] = None  # importing it fails
import onnxruntime
model = onnxruntime.InferenceSession("model.onnx")
def answers(given):
    names = [output.name for output in model.get_outputs()]
    return dict(zip(names, model.run(names, given)))
""",
}
PACKAGE = """
import sys
import numpy as np
from ifgan_jax.predict import Predictor
predictor, images = Predictor.load(sys.argv[1]), np.load("given.npz")["images"]
for n in map(int, sys.argv[2:]):
    predictor.config.evaluation.batch_size = n
    said = predictor(images)
    np.savez(f"{n}.npz", probabilities=said.probabilities, generated=said.generated)
"""
IN_BATCHES = """
given = dict(np.load("given.npz"))
for n in map(int, sys.argv[1:]):
    starts = range(0, len(given["images"]), n)
    parts = [answers({name: array[i : i + n] for name, array in given.items()}) for i in starts]
    np.savez(f"{n}.npz", **{name: np.concatenate([p[name] for p in parts]) for name in parts[0]})
"""

Answers = dict[str, np.ndarray]


def main() -> None:
    predictor = Predictor.load(WORKDIR.value)
    models = {"stablehlo": export.stablehlo(predictor), "onnx": export.onnx(predictor)}
    test, size = load_run_parts(predictor.config).test, predictor.config.evaluation.batch_size
    said, sizes = predictor(test.images), (size, 1)
    ours = dict(os.environ)
    plain = {name: value for name, value in ours.items() if name != "XLA_FLAGS"}
    ours_said, plain_said = (package(flags, test.images, sizes) for flags in (ours, plain))
    run = dict.fromkeys(sizes, said._asdict())
    drawn, rows = inputs(predictor, test.images, said), []
    calls: list[tuple[str, Mapping[str, str], Answers, dict]] = [
        ("stablehlo", ours, {"images": test.images}, {WITH: ours_said}),
        ("stablehlo", plain, {"images": test.images}, {WITHOUT: plain_said, APART: run}),
        ("onnx", plain, drawn, {ONNX: run}),
    ]
    if "noise" in drawn:
        noise = np.random.default_rng(0).standard_normal(drawn["noise"].shape, np.float32)
        calls.append(("onnx", plain, {**drawn, "noise": noise}, {OTHER_NOISE: run}))
    for kind, environment, given, titles in calls:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / f"model.{kind}").write_bytes(models[kind])
            answers = ask(kind, Path(name), given, sizes, environment)
        for title, expected in titles.items():
            rows += [
                {"model": title, "batch": n, **differences(answers[n], expected[n])} for n in sizes
            ]
    content = {"run": predictor.config.data.name, "images": len(test), "rows": rows}
    report.finish("exported", content, tables)
    if apart := [f"{row['model']}, batch {row['batch']}" for row in rows if not is_close(row)]:
        raise ValueError(f"not the run's answers: {'; '.join(apart)}")


def package(
    environment: Mapping[str, str], images: np.ndarray, sizes: Sequence[int]
) -> dict[int, Answers]:
    """What the package answers from Python in a process of its own, by the size of its batches."""
    command = [PACKAGE, str(Path(WORKDIR.value).resolve()), *map(str, sizes)]
    with tempfile.TemporaryDirectory() as folder:
        return _answers(command, Path(folder), {"images": images}, sizes, environment)


def inputs(predictor: Predictor, images: np.ndarray, said: HostPrediction) -> Answers:
    """What ONNX is given: the images, and the noise, if any, that the package drew for them."""
    generator = predictor.compiled.networks.generator
    if generator is None or not generator.output_noise:
        return {"images": images}
    seen = generator.observed(jnp.asarray(said.source), jnp.zeros(said.generated.shape))
    return {"images": images, "noise": np.asarray(seen) / generator.output_noise}


def ask(
    kind: str,
    folder: Path,
    given: Answers,
    sizes: Sequence[int],
    environment: Mapping[str, str] | None = None,
) -> dict[int, Answers]:
    """What folder/model.<kind> answers in a process of its own, by the size of its batches."""
    command = [ALONE[kind] + IN_BATCHES, *map(str, sizes)]
    return _answers(command, folder, given, sizes, environment)


def _answers(
    command: Sequence[str],
    folder: Path,
    given: Answers,
    sizes: Sequence[int],
    environment: Mapping[str, str] | None,
) -> dict[int, Answers]:
    """A program and its arguments, run in `folder`: given.npz → one file for each size."""
    np.savez(folder / "given.npz", **given)  # type: ignore[arg-type]
    subprocess.run([sys.executable, "-c", *command], cwd=folder, env=environment, check=True)
    return {n: dict(np.load(folder / f"{n}.npz")) for n in sizes}


def differences(answers: Answers, said: Answers) -> dict[str, float]:
    """The largest of probabilities and of generated images (-1 to 1), and classes that differ."""
    classes = answers["probabilities"].argmax(1) != said["probabilities"].argmax(1)
    apart = {name: float(np.abs(answers[name] - said[name]).max()) for name in export.OUTPUTS}
    return {**apart, "other_classes": int(classes.sum())}


def is_close(row: dict[str, Any]) -> bool:
    """Within the LIMITS, and of the same classes; other noise may give other answers."""
    if row["model"] == OTHER_NOISE:
        return True
    probabilities, generated = LIMITS[row["model"]]
    near = row["probabilities"] <= probabilities and row["generated"] <= generated
    return near and not row["other_classes"]


def tables(result: dict[str, Any]) -> list[Table]:
    """A row for each model and size of batches."""
    header = ("", "batch", "probabilities", "generated faces", "other classes")
    rows = [
        (
            row["model"],
            str(row["batch"]),
            f"{row['probabilities']:.1e}",
            f"{row['generated']:.1e}",
            str(row["other_classes"]),
        )
        for row in result["rows"]
    ]
    caption = f"Largest differences on the {result['images']} test images of {result['run']}"
    return [Table(caption, header, tuple(rows))]
