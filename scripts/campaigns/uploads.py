"""Target: the demo's page, given uploads and requests that no browser makes.

Every other picture is a photograph, in which the stand-in for MTCNN finds faces of any numbers.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ifgan_jax import build, sharding
from ifgan_jax.data import warp
from ifgan_jax.data.align import GIVEN
from ifgan_jax.data.detector import Detection
from ifgan_jax.predict import Predictor
from ifgan_jax.web.answers import Answerer
from ifgan_jax.web.app import App
from scripts.campaigns import small
from scripts.campaigns.deliveries import samples_of_pictures
from scripts.campaigns.mutations import Random, below, mutate, one_of
from scripts.campaigns.tries import Attempt, Target

HOSTS = (b"127.0.0.1:8000", b"localhost", b"[::1]:1")
REFUSALS = ("the file", "no such page", "this page", "does not take", "the upload")


def uploads(folder: Path) -> Attempt:
    """Mutated pictures in a body of any parts; every eighth request is mutated beside it."""
    samples = samples_of_pictures()
    answer = Answerer(untrained(folder), GIVEN)
    app = App(answer, any_host=False)

    def attempt(rng: Random) -> None:
        body = mutate(rng, one_of(rng, samples), samples)
        cuts = sorted(below(rng, len(body) + 1) for _ in range(below(rng, 3)))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
        headers = {b"host": one_of(rng, HOSTS), b"content-type": b"image/png"}
        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/faces"}
        if below(rng, 8) == 0:
            headers[one_of(rng, [b"host", b"origin", b"content-length"])] = mutate(
                rng, one_of(rng, HOSTS), HOSTS
            )
            scope["path"] = one_of(rng, ["/faces", "/", "/../etc/passwd", "/page.js", "", "/\0"])
            scope["method"] = one_of(rng, ["POST", "POST", "GET", "HEAD", "PUT", ""])
        found = (GIVEN, None) if below(rng, 2) else (one_of(rng, list(warp.MAPS)), Finding(rng))
        answer.alignment, answer._detector = found  # type: ignore[assignment]
        status, said = asyncio.run(_ask(app, scope | {"headers": list(headers.items())}, parts))
        assert status < 500, said  # a failure of the program, or it is still busy with another
        if status != 200:
            raise ValueError(json.loads(said)["error"])

    return attempt


class Finding:
    """In place of the detector."""

    NUMBERS = (0.0, -1.0, 1.0, 63.5, 1e-30, 1e30, np.inf, -np.inf, np.nan)

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def detect(self, pictures: list[np.ndarray]) -> list[Detection]:
        """Up to three faces in each: within it, in one place or line, or of NUMBERS."""
        return [self._in(picture) for picture in pictures]

    def _in(self, picture: np.ndarray) -> Detection:
        rng, faces = self.rng, below(self.rng, 4)
        points = rng.uniform(0, max(picture.shape), (faces, 5, 2))
        for face in points:
            kind = below(rng, 4)
            if kind == 1:
                face[:3] = face[0] + rng.uniform(0, 9, (3, 1)) * below(rng, 2)
            elif kind == 2:
                face[below(rng, 5), below(rng, 2)] = one_of(rng, self.NUMBERS)
        boxes = rng.choice([*self.NUMBERS, *range(64)], (faces, 4))
        single = [array.astype(np.float32) for array in (boxes, rng.random(faces), points)]
        return Detection(single[0], single[1], single[2], turned=bool(below(rng, 2)))


def untrained(folder: Path) -> Predictor:
    """A run of G and E as they are before the first step."""
    config = small.get_config("patterns")
    mesh = sharding.make_mesh(jax.devices()[:1])
    compiled = build.compile_steps(config, build.build(config, steps_per_epoch=1), mesh)
    return Predictor(folder, config, compiled, compiled.create_state(build.state_key(config)))


async def _ask(app: App, scope: dict[str, Any], parts: list[bytes]) -> tuple[int, bytes]:
    """The status and body of one reply."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, body = sent
    return start["status"], body["body"]


TARGETS = {"uploads": Target(uploads, REFUSALS, 2_000)}
