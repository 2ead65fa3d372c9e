"""RAF-DB basic (Li et al. 2017): 12,271 training and 3,068 test images, aligned by the owner.

`EmoLabel/list_patition_label.txt` has lines "train_00001.jpg 5", `Image/aligned/` the pictures
`train_00001_aligned.jpg`. The copy in circulation has `train/5/train_00001_aligned.jpg`, with or
without `train_labels.csv` (image,label): all statements found must agree. No subject is named.
"""

import collections
import csv
import io
import re

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.vendor.example import Example, Found, ordered
from ifgan_jax.data.vendor.tree import LayoutError, Tree

IMAGE = r"((train|test)_\d+)_aligned\.(jpe?g|png|bmp)"
LIST = r"list_(patition|partition)_label\.txt"  # "patition" is the owner's spelling
TABLE = r"(train|test)_labels\.csv"
FOLDER = re.compile(r"(?:^|/)(train|test)/([^/]+)/[^/]+$", re.IGNORECASE)
CODES = {
    "1": Expression.SURPRISE,
    "2": Expression.FEAR,
    "3": Expression.DISGUST,
    "4": Expression.HAPPINESS,
    "5": Expression.SADNESS,
    "6": Expression.ANGER,
    "7": Expression.NEUTRAL,
}
EXPECTED = {
    f"{split}/{CODES[str(code)].label}": count
    for split, counts in {
        "train": (1290, 281, 717, 4772, 1982, 705, 2524),
        "test": (329, 74, 160, 1185, 478, 162, 680),
    }.items()
    for code, count in enumerate(counts, 1)
}


def find(tree: Tree) -> Found:
    """All aligned images with a label; LayoutError where two statements about one differ."""
    stated: dict[str, dict[str, str]] = collections.defaultdict(dict)  # image → where → code
    for file in tree.named(LIST):
        for number, line in enumerate(tree.read_text(file).splitlines(), 1):
            _state(tree, stated, f"{file}, line {number}", line.split())
    for file in tree.named(TABLE):
        for number, row in enumerate(_rows(tree, file), 1):
            if number > 1 or row != ["image", "label"]:
                _state(tree, stated, f"{file}, line {number}", [cell.strip() for cell in row])

    files: dict[str, str] = {}
    for file, match in tree.named(IMAGE).items():
        name = match[1].lower()
        if folder := FOLDER.search(file):
            if folder[1].lower() != match[2].lower():
                raise LayoutError(f"{tree.root / file}: a {match[2]} image in {folder[1]}")
            _state(tree, stated, file, [f"{name}.jpg", folder[2]])
        files[name] = tree.one_of(files[name], file) if name in files else file

    examples, remarks = [], []
    for name in sorted({*stated, *files}):
        if name not in files or name not in stated:
            what = "labelled, but without an image" if name in stated else "without a label"
            remarks.append(f"{name}: {what}; left out")
            continue
        if len(codes := set(stated[name].values())) > 1:
            places = "; ".join(f"{code} in {where}" for where, code in stated[name].items())
            raise LayoutError(f"{tree.root}: {name} has the labels {places}: remove the wrong one")
        examples.append(
            Example(
                file=files[name],
                label=CODES[codes.pop()],
                subject="",
                sequence=name,
                frame=0,
                intensity=1.0,
                split=name.partition("_")[0],
            )
        )
    return Found(ordered(examples), [], remarks)


def _rows(tree: Tree, file: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(tree.read_text(file), newline="")))
    except csv.Error as error:
        raise LayoutError(f"{tree.root / file}: no readable table ({error})") from error


def _state(tree: Tree, stated: dict[str, dict[str, str]], where: str, cells: list[str]) -> None:
    """Note that `where` gives an image a label: cells are its name and the code. Empty: nothing."""
    if not any(cells):
        return
    name = re.fullmatch(r"((?:train|test)_\d+)(?:_aligned)?\.\w+", cells[0].lower())
    if len(cells) != 2 or not name or cells[1] not in CODES:
        raise LayoutError(
            f"{tree.root / where}: {' '.join(cells)[:60]!r} is no image name and label 1 to 7"
        )
    stated[name[1]][where] = cells[1]
