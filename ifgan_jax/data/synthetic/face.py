"""One face from numbers: random streams from the set's seed, and seeds for texture and noise.

Numpy only. A face is a pure function of (seed, subject, expression, level, take), the picture's
size and the difficulty, whatever was drawn before and in whatever process.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float32, UInt8

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic.expression import sample_expression
from ifgan_jax.data.synthetic.head_model import HeadModel
from ifgan_jax.data.synthetic.identity import Identity, sample_identity
from ifgan_jax.data.synthetic.render import render
from ifgan_jax.data.synthetic.scene import Scene, sample_scene

_IDENTITY, _PICTURE = 0, 1  # first key of the two families of streams


@dataclasses.dataclass(frozen=True)
class Face:
    """A picture and everything it was made from.

    Attributes:
      image: gray, 0 to 255.
      landmarks: (x, y) [pixels] of left eye, right eye, nose tip, left, right mouth corner as
        seen in the image.
      identity, weights, scene: what was drawn.
    """

    image: UInt8[np.ndarray, "s s"]
    landmarks: Float32[np.ndarray, "5 2"]
    identity: Identity
    weights: dict[str, float]
    scene: Scene


@functools.lru_cache(maxsize=4)
def subject_identity(seed: int, subject: int) -> Identity:
    """The subject of this number."""
    return sample_identity(_generator(_IDENTITY, seed, subject), HeadModel.load())


def face(
    seed: int,
    subject: int,
    expression: Expression,
    level: float,
    take: int,
    *,
    size: int,
    difficulty: str,
) -> Face:
    """Renders one face.

    Args:
      seed: of the whole set, >= 0.
      subject: number of the person, >= 0.
      expression: what it shows.
      level: intensity, 0 to 1, told apart to 1e-3.
      take: number of the photograph, >= 0; another take has another pose, light and variant.
      size: pixels.
      difficulty: a key of `scene.DIFFICULTIES`.
    """
    identity = subject_identity(seed, subject)
    rng = _generator(_PICTURE, seed, subject, int(expression), round(1000 * level), take)
    weights = sample_expression(rng, expression, level * identity.expressiveness)
    scene = sample_scene(rng, difficulty)
    picture = render(HeadModel.load(), identity, weights, scene, size)
    return Face(picture.image, picture.landmarks, identity, weights, scene)


def _generator(*keys: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(keys)))
