"""Many faces on many cores, in order.

Numpy only: the workers are fresh processes that load this package and nothing else.
"""

import dataclasses
import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ifgan_jax.data.processes import hidden_main_module
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic.face import face

_CHUNK = 8  # faces handed to a worker at once


@dataclasses.dataclass(frozen=True)
class Request:
    """The arguments of `face`."""

    seed: int
    subject: int
    expression: Expression
    level: float
    take: int
    size: int
    difficulty: str


def record(request: Request) -> dict[str, Any]:
    """One face as the data set's image, landmarks and attributes."""
    made = face(**vars(request))
    who, scene = made.identity, made.scene
    attributes = {
        "race": np.array(who.race, np.float32),
        "gender": np.float32(who.gender),
        "age": who.age,
        "pose": np.array(scene.pose, np.float32),
        "light": np.array(scene.light, np.float32),
        "key": np.float32(scene.key),
        "ambient": np.float32(scene.ambient),
    }
    return {"image": made.image, "landmarks": made.landmarks, "attributes": attributes}


def records(requests: Sequence[Request], processes: int) -> Iterator[dict[str, Any]]:
    """`record` of each request, in order; the bytes do not depend on `processes`."""
    if processes == 1:
        yield from map(record, requests)
        return
    with hidden_main_module():
        pool = multiprocessing.get_context("spawn").Pool(processes)
    with pool:
        yield from pool.imap(record, requests, chunksize=_CHUNK)
