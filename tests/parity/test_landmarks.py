"""MTCNN finds what it found when landmarks.json was made: five points of eight faces, to 1 px.

`python -m tests.parity.test_landmarks` writes the file anew, with the versions that made it.
astronaut.png is the head of Eileen Collins in scikit-image 0.25.2's `data.astronaut()`, a NASA
photograph in the public domain, in gray.
"""

import contextlib
import importlib.metadata
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifgan_jax.data import detector
from ifgan_jax.data.detector import Detector
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic.parallel import Request, record

pytestmark = pytest.mark.parity

ASTRONAUT = Path(__file__).with_name("astronaut.png")
COMMITTED = Path(__file__).with_name("landmarks.json")


def find() -> dict[str, list[list[float]]]:
    """Eyes, nose tip and mouth corners of each picture's best face, in pixels (x, y)."""
    pictures = {"astronaut": np.asarray(Image.open(ASTRONAUT))}
    for i, expression in enumerate(Expression):
        level, difficulty = (
            (0.0 if expression == Expression.NEUTRAL else 0.5),
            ("easy", "mild")[i % 2],
        )
        request = Request(3, i, expression, level, take=0, size=256, difficulty=difficulty)
        pictures[f"{difficulty}, {expression.name.lower()}"] = record(request)["image"]
    with contextlib.closing(Detector(cache=None)) as finder:
        found = {name: finder.detect([picture])[0] for name, picture in pictures.items()}
    return {
        name: np.round(x.points[x.scores.argmax()].astype(float), 2).tolist()
        for name, x in found.items()
    }


def test_landmarks_are_the_committed_ones():
    committed, found = json.loads(COMMITTED.read_text())["points"], find()
    assert found.keys() == committed.keys()
    for name, points in found.items():
        distances = np.linalg.norm(np.subtract(points, committed[name]), axis=1)
        assert distances.max() <= 1.0, name


def test_the_astronauts_points_lie_on_her_face():
    """As read off the picture by eye, to 6 px: no detector's word."""
    seen = [(83, 81), (126, 83), (105, 107), (84, 120), (123, 122)]
    committed = json.loads(COMMITTED.read_text())["points"]["astronaut"]
    assert np.linalg.norm(np.subtract(committed, seen), axis=1).max() <= 6


def die(seen: np.ndarray) -> None:
    """In place of the network, as if the system had killed its process."""
    os._exit(9)


def lack(seen: np.ndarray) -> None:
    """As PyTorch says that there is no memory."""
    raise RuntimeError("can't allocate memory")


@pytest.mark.parametrize(
    ("network", "told"), [(die, "died"), (lack, r"failed \(can't allocate memory\)")]
)
def test_when_the_detector_fails_it_is_told_and_the_next_call_finds(
    network: Callable, told: str, monkeypatch: pytest.MonkeyPatch
):
    picture = np.asarray(Image.open(ASTRONAUT))
    with contextlib.closing(Detector(cache=None)) as finder:
        with monkeypatch.context() as patched:
            patched.setattr(detector, "_mtcnn", network)
            with pytest.raises(OSError, match=rf"finds faces {told} at 1 pictures of \d+ × "):
                finder.detect([picture])
        assert len(finder.detect([picture])[0].scores) == 1


if __name__ == "__main__":
    libraries = ("facenet-pytorch", "torch", "torchvision", "pillow", "numpy")
    made_by = {name: importlib.metadata.version(name) for name in libraries}
    COMMITTED.write_text(json.dumps({"versions": made_by, "points": find()}, indent=1) + "\n")
