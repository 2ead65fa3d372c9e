"""The expression of every face in photographs and videos, by a run that was trained.

    python scripts/predict.py --workdir=runs/demo --output=answers photos/ holiday.jpg film.mp4

Faces are found and aligned as the run's data were (extra `align`), or taken as they are with
--aligned. Writes predictions.csv and predictions.jsonl, a row for each face, and one that says why
for each picture without; with --pictures also, for each face, what G made of it and where it
looked, as pictures/<what the row has for "picture">.png.
"""

import contextlib
import csv
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run that was trained.")
OUTPUT = flags.DEFINE_string("output", "predictions", "Folder for the answers; made if absent.")
ALIGNED = flags.DEFINE_bool("aligned", False, "The pictures are aligned faces already.")
ALIGNMENT = flags.DEFINE_enum(
    "alignment", None, ["similarity", "affine"], "Which map; by default that of the run's data."
)
EVERY = flags.DEFINE_integer("every", 1, "Of a video every so many-th frame.", lower_bound=1)
PICTURES = flags.DEFINE_bool("pictures", False, "Draw input, generated face and attention, too.")
TEXT: Any = {"encoding": "utf-8", "errors": "backslashreplace"}  # file names may be no UTF-8
PLACES = ("left", "top", "right", "bottom")  # of a face's box, in pixels


def main(paths: list[str]) -> None:
    from ifgan_jax.data import align, photographs
    from ifgan_jax.predict import Predictor
    from ifgan_jax.workdir import told

    output = Path(OUTPUT.value)
    drawn = drawn_before(output)
    files = photographs.listed(paths, without=drawn)
    predictor = Predictor.load(WORKDIR.value)
    if PICTURES.value and predictor.config.method != "ifgan":
        raise ValueError(f"--pictures: {WORKDIR.value} is a baseline's run, which has no generator")
    alignment = align.alignment_for(predictor.config.data.name, ALIGNMENT.value, ALIGNED.value)
    found = photographs.find_faces(
        photographs.shots(files, EVERY.value), alignment, predictor.config.data.image_size
    )
    with told(f"a file of {output}", "it predicts anew"):
        output.mkdir(parents=True, exist_ok=True)
        for picture in drawn:
            picture.unlink(missing_ok=True)  # it belongs to no row of the new tables
        faces, without = write(rows(predictor, found, output), predictor.class_names, output)
    print(f"{faces} faces in {len(files)} files; {without} pictures without: see the reasons")
    print(f"written: {output / 'predictions.csv'}, {output / 'predictions.jsonl'}")


def drawn_before(output: Path) -> set[Path]:
    """The pictures that an earlier prediction left in `output`, by its table.

    Raises ValueError where an answer would take the place of something else.
    """
    from ifgan_jax.files import MALFORMED

    if (output / "config.json").exists():
        raise ValueError(
            f"--output={output} is a run's folder, with tables of its own: name another"
        )
    table, pictures = output / "predictions.jsonl", output / "pictures"
    drawn = set()
    for line in table.read_text(**TEXT).splitlines() if table.exists() else []:
        with contextlib.suppress(*MALFORMED):
            name = json.loads(line)["picture"]
            if re.fullmatch(r"\d{6,}", name):
                drawn.add(pictures / f"{name}.png")
    if PICTURES.value and (others := {*pictures.glob("*.png")} - drawn):
        raise ValueError(
            f"{min(others)} is of no earlier prediction, and might be drawn over: name another "
            "--output"
        )
    return drawn


def write(
    answers: Iterator[dict[str, Any]], class_names: list[str], output: Path
) -> tuple[int, int]:
    """Both tables, a row of each at a time; how many faces have one, and pictures without."""
    faces = without = 0
    known = ["score", "eyes", "status", "reason", "picture", "predicted"]
    with (
        (output / "predictions.csv").open("w", newline="", **TEXT) as table,
        (output / "predictions.jsonl").open("w", **TEXT) as lines,
    ):
        writer = csv.DictWriter(table, ["file", "frame", *PLACES, *known, *class_names])
        writer.writeheader()
        for row in answers:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            box = dict(zip(PLACES, row.pop("box") or (), strict=False))
            shares = row.pop("probabilities") or {}
            writer.writerow({**row, **box, **shares})
            table.flush()
            lines.flush()
            faces, without = faces + bool(row["predicted"]), without + (not row["predicted"])
    return faces, without


def rows(predictor: Any, found: Iterator[Any], output: Path) -> Iterator[dict[str, Any]]:
    """What is known of each face, a batch at a time, in order."""
    size = predictor.config.evaluation.batch_size
    number = 0
    while batch := list(itertools.islice(found, size)):
        seen = [face for face in batch if face.image is not None]
        said = predictor(np.stack([face.image for face in seen])[..., None]) if seen else None
        answers = iter(said.probabilities if said else ())
        chosen = []
        for face in batch:
            row: dict[str, Any] = {
                "file": face.shot.file,
                "frame": face.shot.frame,
                "box": face.box and [round(side, 1) for side in face.box],
                "score": face.score and round(face.score, 4),
                "eyes": face.eyes and round(face.eyes, 1),
                "status": face.status,
                "reason": face.reason,
                "picture": None,
                "predicted": None,
                "probabilities": None,
            }
            if face.image is not None:
                shares = [round(share, 6) for share in next(answers).tolist()]
                row["probabilities"] = dict(zip(predictor.class_names, shares, strict=True))
                row["predicted"] = predictor.class_names[int(np.argmax(shares))]
                chosen.append(row["predicted"])
                if PICTURES.value:
                    row["picture"] = f"{number + len(chosen):06d}"
            yield row
        if PICTURES.value and said:
            draw(predictor, said, chosen, output / "pictures", number)
        number += len(seen)


def draw(predictor: Any, said: Any, chosen: list[str], folder: Path, first: int) -> None:
    """<number of the face, from 1>.png: the face, what G made of it, and where it looked."""
    from ifgan_jax import visualize
    from ifgan_jax.attention_maps import attention_maps, draw_attention
    from ifgan_jax.workdir import write_bytes

    folder.mkdir(exist_ok=True)
    networks, generator = predictor.compiled.networks, predictor.state.generator
    for i, name in enumerate(chosen):
        source, generated = said.source[i : i + 1], said.generated[i : i + 1]
        maps = attention_maps(networks, generator, source)
        figure = draw_attention(source, generated, maps, [name])
        write_bytes(folder / f"{first + i + 1:06d}.png", visualize.png_bytes(figure))


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    command_line.run(main, takes="photograph, video or folder")
