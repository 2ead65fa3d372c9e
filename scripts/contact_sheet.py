"""The contact sheet of the data card: people in rows, neutral and the six expressions in columns.

    python scripts/contact_sheet.py --out=docs/images/synthetic_faces.png

Gray, at most 400 KB. Every picture is `synthetic.face(seed, subject, …)`: no data set is needed.
"""

import numpy as np
from absl import flags
from PIL import Image, ImageDraw

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic import face
from scripts import command_line

_OUT = flags.DEFINE_string("out", "docs/images/synthetic_faces.png", "PNG file to write")
_SUBJECTS = flags.DEFINE_list("subjects", "1,5,7,9,11,13,29,22", "numbers of the people")
_SIZE = flags.DEFINE_integer("size", 108, "pixels of a picture")
_LEVEL = flags.DEFINE_float("level", 1.0, "intensity of the six expressions, 0 to 1")

_COLUMNS = (Expression.NEUTRAL, *list(Expression)[:6])
_HEADER = 14  # pixels


def main() -> None:
    rows = []
    for subject in map(int, _SUBJECTS.value):
        levels = [0.0 if e == Expression.NEUTRAL else _LEVEL.value for e in _COLUMNS]
        pictures = [
            face(0, subject, e, level, 0, size=_SIZE.value, difficulty="mild").image
            for e, level in zip(_COLUMNS, levels, strict=True)
        ]
        rows.append(np.concatenate(pictures, axis=1))
    body = np.concatenate(rows)
    sheet = Image.new("L", (body.shape[1], body.shape[0] + _HEADER), 255)
    sheet.paste(Image.fromarray(body), (0, _HEADER))
    draw = ImageDraw.Draw(sheet)
    for column, expression in enumerate(_COLUMNS):
        draw.text((column * _SIZE.value + 4, 1), expression.label, fill=0)
    sheet.save(_OUT.value, optimize=True)


if __name__ == "__main__":
    command_line.run(main)
