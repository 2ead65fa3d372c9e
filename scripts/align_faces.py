"""Align every picture below a folder: PNG files of the same names, and a report of what was odd.

python scripts/align_faces.py --source=photos --output=aligned
"""

import re
from pathlib import Path, PurePath

from absl import flags
from PIL import Image
from tqdm import tqdm

from scripts import command_line

SOURCE = flags.DEFINE_string("source", None, "Folder with pictures; zip files in it are read, too.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for PNG files, detections and report.")
ALIGNMENT = flags.DEFINE_enum("alignment", "similarity", ["similarity", "affine"], "Which map.")
SIZE = flags.DEFINE_integer("size", 256, "Pixels.", lower_bound=8)


def main() -> None:
    from ifgan_jax.data.align import align
    from ifgan_jax.data.photographs import PICTURES
    from ifgan_jax.data.protocol import Expression
    from ifgan_jax.data.qa import Report
    from ifgan_jax.data.vendor.example import Example
    from ifgan_jax.data.vendor.pictures import read_pictures
    from ifgan_jax.data.vendor.tree import Tree
    from ifgan_jax.workdir import told

    output = Path(OUTPUT.value)
    if output.resolve().is_relative_to(Path(SOURCE.value).resolve()):
        raise ValueError(
            f"--output={output} lies in --source, where pictures are read: name another"
        )
    tree = Tree(SOURCE.value)
    endings = "|".join(map(re.escape, PICTURES))
    files = [f for f in tree.named(f".*({endings})") if not PurePath(f).name.startswith("._")]
    if not files:
        raise FileNotFoundError(f"{SOURCE.value}: holds no picture")
    names = [re.sub(r"\.\w+$", ".png", file) for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{SOURCE.value}: two pictures would become {twice}; rename one")
    examples = [Example(file, Expression.NEUTRAL, "", file, 0, 0.0) for file in files]
    report = Report(f"Faces of {SOURCE.value}", len(files), list(tree.unread.values()))
    bar = tqdm(read_pictures(tree, examples), "aligning faces", len(files), unit="face")
    cache = output / "detections.jsonl"
    faces = align(iter(bar), ALIGNMENT.value, SIZE.value, cache)
    for name, (example, aligned) in zip(names, faces, strict=True):
        report.add(example.file, aligned)
        if aligned.image is not None:
            path = output / name
            with told(path, "what was detected is kept"):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(aligned.image).save(path)
    report.write(output / "report")
    if others := len(tree.files) - len(files):
        print(f"{others} files that are no pictures by their names")
    for entry in report.left_out:
        print(f"left out: {entry.name}: {entry.reason}")
    print(f"{len(files) - len(report.left_out)} of {len(files)} aligned; {output}/report.html")


if __name__ == "__main__":
    flags.mark_flags_as_required(["source", "output"])
    command_line.run(main)
