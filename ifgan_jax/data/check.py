"""A table about a prepared data set: found against expected, the audit, what alignment left out."""

from pathlib import Path

import numpy as np

from ifgan_jax.data.align import NO_FACE, UNREADABLE
from ifgan_jax.data.audit import audit
from ifgan_jax.data.builder import BUILDERS, VendorFaces
from ifgan_jax.data.faces import Faces, load_prepared
from ifgan_jax.data.protocol import Expression, load_folds
from ifgan_jax.files import of_file, read_object

NUM_FOLDS = 10  # Sec. 4.1


def check(builder: VendorFaces, data_dir: Path, *, strict: bool) -> str:
    """The table, as text.

    Raises:
      ValueError: our folds share a subject or an image; with `strict`, any difference at all.
    """
    name = f"{builder.name}/{builder.builder_config.name}"
    prepared = load_prepared(data_dir, name)
    lines = [f"{name}: {sum(map(len, prepared.splits.values()))} images"]
    wrong = []
    for split, faces in prepared.splits.items():
        for label in Expression:
            found = int((faces.labels == label).sum())
            expected = builder.expected.get(f"{split}/{label.label}")
            differs = expected not in (None, found)
            wrong += [f"{split}/{label.label}"] if differs else []
            lines.append(
                f"  {split:6} {label.label:10} {found:6}   expected "
                + ("any" if expected is None else f"{expected:6}")
                + ("   differs" if differs else "")
            )
    if prepared.subjects:
        lines.append(f"  {len(prepared.subjects)} subjects")
        num_folds = min(NUM_FOLDS, len(prepared.subjects))  # fewer: of a part of the set
        path = data_dir / builder.name / f"folds_{num_folds}.json"
        folds = load_folds(path, prepared.subjects, num_folds)
        splits = {f"fold {k}": _of(prepared.splits["faces"], fold) for k, fold in enumerate(folds)}
    else:
        splits = prepared.splits
    remarks = audit(splits, own=bool(prepared.subjects), strict=strict, cache=data_dir / "hashes")
    lines += [f"  audit: {remark}" for remark in remarks] or ["  audit: nothing shared"]
    for split in prepared.splits:
        path = data_dir / builder.name / f"{builder.builder_config.name}_{split}.json"
        facts = read_object(path, remedy := "delete the data set's folder and prepare it again")
        with of_file(path, remedy):
            statuses = ", ".join(f"{n} {status}" for status, n in sorted(facts["statuses"].items()))
            lines.append(f"  alignment, {split}: {statuses}")
            left_out = [e for e in facts["odd"] if e["status"] in (NO_FACE, UNREADABLE)]
            wrong += [f"{entry['name']} ({entry['status']})" for entry in left_out]
            lines += [f"    {e['name']}: {e['status']}, {e['reason']}" for e in left_out]
    if wrong and strict:
        raise ValueError("\n".join([*lines, f"{len(wrong)} differences, the first: {wrong[0]}"]))
    return "\n".join(lines)


def prepared_builders(data_dir: Path) -> list[VendorFaces]:
    """A builder for each data set and config that lies in `data_dir`."""
    builders = [
        builder_class(data_dir=str(data_dir), config=config)
        for builder_class in BUILDERS.values()
        for config in builder_class.builder_configs
        if (data_dir / builder_class.name / config).is_dir()
    ]
    return [builder for builder in builders if builder.info.splits]  # not one that was cut off


def _of(faces: Faces, subjects: list[str]) -> Faces:
    return faces.select(np.isin(faces.subjects, subjects))
