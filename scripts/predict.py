"""The expression of every face in photographs and videos, by a run that was trained.

    python scripts/predict.py --workdir=runs/demo --output=answers photos/ holiday.jpg film.mp4

Faces are found and aligned as the run's data were (extra `align`), or taken as they are with
--aligned. Writes predictions.csv and predictions.jsonl, a row for each face, and one that says why
for each picture without; with --pictures also, for each face, what G made of it and where it
looked, as pictures/<what the row has for "picture">.png. Tables and pictures grow as *.partial and
get their names at the end: until then --output keeps the answers that it has from before.
"""

import contextlib
import csv
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from absl import flags

from scripts import command_line

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run that was trained.")
OUTPUT = flags.DEFINE_string("output", "predictions", "Folder for the answers; made if absent.")
ALIGNED = flags.DEFINE_bool("aligned", False, "The pictures are aligned faces already.")
ALIGNMENT = flags.DEFINE_enum(
    "alignment", None, ["similarity", "affine"], "Which map; by default that of the run's data."
)
EVERY = flags.DEFINE_integer("every", 1, "Of a video, take one frame in so many.", lower_bound=1)
PICTURES = flags.DEFINE_bool("pictures", False, "Draw input, generated face and attention, too.")
TEXT: Any = {"encoding": "utf-8", "errors": "backslashreplace"}  # file names may be no UTF-8
TABLES = ("predictions.csv", "predictions.jsonl")
FOLDER = "pictures"
PLACES = ("left", "top", "right", "bottom")  # of a face's box, in pixels


def main(paths: list[str]) -> None:
    from ifgan_jax.data import align, photographs
    from ifgan_jax.files import check_writable
    from ifgan_jax.predict import Predictor
    from ifgan_jax.workdir import lock

    output = Path(OUTPUT.value)
    before, cut_off = drawn(output)
    files = photographs.listed(paths, without=before | cut_off)
    predictor = Predictor.load(WORKDIR.value)
    if PICTURES.value and predictor.config.method != "ifgan":
        raise ValueError(f"--pictures: {WORKDIR.value} is a baseline's run, which has no generator")
    if (channels := predictor.config.data.channels) != 1:
        raise ValueError(
            f"{WORKDIR.value} takes faces of {channels} channels, and pictures are read in gray: "
            "ask it from Python (ifgan_jax.predict.Predictor)"
        )
    alignment = align.alignment_for(predictor.config.data.name, ALIGNMENT.value, ALIGNED.value)
    found = photographs.find_faces(
        photographs.shots(files, EVERY.value), alignment, predictor.config.data.image_size
    )
    with writing(output):  # before minutes of looking for faces
        check_writable(output)
    with lock(output):
        before, cut_off = drawn(output)  # another prediction may have come to its end
        answers = rows(predictor, found, output)
        first = next(answers)  # who cannot answer leaves nothing
        with writing(output):
            for file in cut_off:
                file.unlink()
        faces, without = write(itertools.chain([first], answers), predictor.class_names, output)
        with writing(output):
            take_place(output, before)
    print(f"{faces} faces in {len(files)} files; {without} pictures without: see the reasons")
    print(f"written: {', '.join(str(output / name) for name in TABLES)}")


def writing(output: Path) -> AbstractContextManager[None]:
    """An OSError within is of a file that cannot be written."""
    from ifgan_jax.workdir import told

    return told(f"a file of {output}", "it predicts anew")


def drawn(output: Path) -> tuple[set[Path], set[Path]]:
    """Pictures in `output`: of an earlier prediction, by its table, and of one that was cut off.

    Raises ValueError where an answer would take the place of something else.
    """
    from ifgan_jax.files import MALFORMED, read_file

    if (output / "config.json").exists():
        raise ValueError(
            f"--output={output} is a run's folder, with tables of its own: name another"
        )
    pictures, table, before = output / FOLDER, output / TABLES[1], set()
    for line in read_file(table).split(b"\n") if table.exists() else []:
        with contextlib.suppress(*MALFORMED):
            name = json.loads(line)["picture"]
            if re.fullmatch(r"\d{6,}", name):
                before.add(pictures / f"{name}.png")
    if PICTURES.value and (others := {*pictures.glob("*.png")} - before):
        raise ValueError(
            f"{min(others)} is of no earlier prediction, and might be drawn over: name another "
            "--output"
        )
    return before, {*partial(output, FOLDER).glob("*.png*")}  # the last may be *.png.partial


def write(
    answers: Iterator[dict[str, Any]], class_names: list[str], output: Path
) -> tuple[int, int]:
    """Both tables, as *.partial, row by row; how many faces have one, and pictures without."""
    faces = without = 0
    known = ["score", "eyes", "status", "reason", "picture", "predicted"]
    with contextlib.ExitStack() as stack:
        files = []
        with writing(output):
            for name in TABLES:
                partial(output, name).unlink(missing_ok=True)  # it may be a link
                files.append(partial(output, name).open("w", newline="", **TEXT))
                stack.callback(close, files[-1])
            table, lines = files
            writer = csv.DictWriter(table, ["file", "frame", *PLACES, *known, *class_names])
            writer.writeheader()
        for row in answers:
            line = json.dumps(row, ensure_ascii=False) + "\n"
            box = dict(zip(PLACES, row.pop("box") or (), strict=False))
            shares = row.pop("probabilities") or {}
            with writing(output):
                lines.write(line)
                writer.writerow({**row, **box, **shares})
                table.flush()
                lines.flush()
            faces, without = faces + bool(row["predicted"]), without + (not row["predicted"])
        with writing(output):
            for file in files:
                file.close()
    return faces, without


def take_place(output: Path, before: set[Path]) -> None:
    """Name what is whole now; the tables first, so that they tell whose the pictures are."""
    for file in before:
        file.unlink(missing_ok=True)
    for name in TABLES:
        partial(output, name).replace(output / name)
    for file in sorted(partial(output, FOLDER).glob("*.png")):
        (output / FOLDER).mkdir(exist_ok=True)
        file.replace(output / FOLDER / file.name)
    with contextlib.suppress(OSError):  # none were drawn
        partial(output, FOLDER).rmdir()


def close(file: TextIO) -> None:
    """What a full disk refused has been told by the write."""
    with contextlib.suppress(OSError):
        file.close()


def partial(output: Path, name: str) -> Path:
    """Where a table, or the folder of pictures, grows."""
    return output / f"{name}.partial"


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
                answer = next(answers)
                shares = [round(share, 6) for share in answer.tolist()]
                row["probabilities"] = dict(zip(predictor.class_names, shares, strict=True))
                row["predicted"] = predictor.class_names[int(answer.argmax())]
                chosen.append(row["predicted"])
                if PICTURES.value:
                    row["picture"] = f"{number + len(chosen):06d}"
            yield row
        if PICTURES.value and said:
            draw(predictor, said, chosen, partial(output, FOLDER), number)
        number += len(seen)


def draw(predictor: Any, said: Any, chosen: list[str], folder: Path, first: int) -> None:
    """<number of the face, from 1>.png: the face, what G made of it, and where it looked."""
    from ifgan_jax import visualize
    from ifgan_jax.attention_maps import attention_maps, draw_attention
    from ifgan_jax.workdir import write_bytes

    networks, generator = predictor.compiled.networks, predictor.state.generator
    for i, name in enumerate(chosen):
        source, generated = said.source[i : i + 1], said.generated[i : i + 1]
        maps = attention_maps(networks, generator, source)
        figure = draw_attention(source, generated, maps, [name])
        png = visualize.png_bytes(figure)
        with writing(folder.parent):
            folder.mkdir(exist_ok=True)
            write_bytes(folder / f"{first + i + 1:06d}.png", png)


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    command_line.run(main, takes="photograph, video or folder")
