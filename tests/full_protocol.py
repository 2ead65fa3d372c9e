"""The four data sets at the paper's full counts, written from rendered faces and prepared small.

    python -m tests.full_protocol /tmp/four

writes deliveries of 1,200 / 927 / 624 / 12,271 + 3,068 images below the folder as their owners lay
them out, and prepares them at 72 pixels in its folder `data`; some ten minutes on two cores. With
it scripts/cross_validate.py is run as docs/experiments.md says.
"""

import functools
import multiprocessing
import sys
from pathlib import Path

from ifgan_jax.data.protocol import Expression
from tests.data import deliveries

SIZE = 72  # pixels
SETS = ("raf_db", "bu3dfe", "ck_plus", "mmi")


def write(name: str, root: Path) -> None:
    """One owner's delivery; no two sets share a person."""

    def face(subject: str, label: Expression, intensity: float, frame: int):
        return deliveries.rendered(f"{name}{subject}", label, intensity, frame, 40)

    getattr(deliveries, name)(root / name, face)


def prepare(name: str, root: Path) -> None:
    from ifgan_jax.data import builder

    builder.prepare(builder.open_builder(root / "data", f"{name}/{SIZE}_given"), root / name)


def main() -> None:
    root = Path(sys.argv[1])
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        pool.map(functools.partial(write, root=root), SETS, chunksize=1)
        pool.map(functools.partial(prepare, root=root), SETS, chunksize=1)


if __name__ == "__main__":
    main()
