"""How far MTCNN's points lie from the true ones of rendered faces, by border, frontal and posed.

python scripts/measure_alignment.py
"""

import datetime
import functools
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ifgan_jax.data.detector import BORDER, Detector
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.qa import MEASURED
from ifgan_jax.data.synthetic.parallel import Request, record
from scripts import command_line

IMAGES = flags.DEFINE_integer("images", 70, "Faces of each kind.")
OUTPUT = flags.DEFINE_string("output", str(MEASURED), "JSON file to write.")
KINDS = {"frontal": "easy", "posed": "hard"}  # yaw up to 2 and 16 degrees (standard deviation)
POINTS = {"eyes": slice(0, 2), "nose tip": slice(2, 3)}
BORDERS = (0.0, 0.1, 0.25, 0.5)
SIZE, SEED, BATCH = 256, 3, 14


@functools.cache
def rendered(kind: str, images: int) -> list[dict[str, Any]]:
    """Another person each, all expressions in turn."""
    return [
        record(Request(SEED, i, e, 0.0 if e == Expression.NEUTRAL else 1.0, 0, SIZE, KINDS[kind]))
        for i in range(images)
        for e in [Expression(i % len(Expression))]
    ]


def measure(kind: str, border: float, images: int) -> list[dict[str, Any]]:
    """Errors of eyes and nose tip in units of the distance between the eyes."""
    faces = rendered(kind, images)
    detector = Detector(None, border)
    found = []
    for start in range(0, images, BATCH):
        found += detector.detect([face["image"] for face in faces[start : start + BATCH]])
    detector.close()
    offsets = []
    for face, detection in zip(faces, found, strict=True):
        if len(detection.boxes):
            left, top, right, bottom = detection.boxes.T
            points = detection.points[((right - left) * (bottom - top)).argmax()]
            eyes = np.linalg.norm(face["landmarks"][1] - face["landmarks"][0])
            offsets.append((points - face["landmarks"]) / eyes)
    rows = []
    for point, which in POINTS.items():
        chosen = np.array(offsets)[:, which]
        distances = np.linalg.norm(chosen, axis=-1)
        bias = chosen.mean((0, 1))
        rows.append(
            {
                "faces": kind,
                "border": border,
                "point": point,
                "mean": round(float(distances.mean()), 4),
                "95th percentile": round(float(np.percentile(distances, 95)), 4),
                "bias right": round(float(bias[0]), 4),
                "bias down": round(float(bias[1]), 4),
                "missed": images - len(offsets),
            }
        )
    return rows


def main() -> None:
    rows = [r for b in BORDERS for kind in KINDS for r in measure(kind, b, IMAGES.value)]
    for row in rows:
        print(row)
    result = {
        "command": f"python scripts/measure_alignment.py --images={IMAGES.value}",
        "date": datetime.date.today().isoformat(),
        "versions": {n: importlib.metadata.version(n) for n in ("facenet-pytorch", "torch")},
        "images": IMAGES.value,
        "errors": [row for row in rows if row["border"] == BORDER],
        "other_borders": [row for row in rows if row["border"] != BORDER],
    }
    Path(OUTPUT.value).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    command_line.run(main)
