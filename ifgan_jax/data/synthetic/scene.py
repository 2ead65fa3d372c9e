"""What surrounds a head: its pose, the light, the camera's exposure, the background.

Numpy only. Angles are degrees; directions are unit vectors with x right, y up, z to the viewer.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64

from ifgan_jax.data.synthetic.shape import cut_normal

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How far pose and light vary.

    Attributes:
      yaw, pitch, roll: standard deviations of the pose [degrees], cut at three of them.
      azimuth: greatest angle of the key light to either side [degrees].
      elevation, key, ambient: ranges of the light's height [degrees] and strengths (1: full).
      noise: range of the sensor noise's standard deviation (image range 0 to 1).
    """

    yaw: float
    pitch: float
    roll: float
    azimuth: float
    elevation: Range
    key: Range
    ambient: Range
    noise: Range


DIFFICULTIES: Mapping[str, Difficulty] = MappingProxyType(
    {
        "easy": Difficulty(
            2.0, 1.0, 1.0, 20.0, (20.0, 45.0), (0.7, 0.9), (0.45, 0.6), (0.002, 0.004)
        ),
        "mild": Difficulty(
            8.0, 4.0, 2.0, 60.0, (5.0, 55.0), (0.5, 1.1), (0.30, 0.65), (0.003, 0.012)
        ),
        "hard": Difficulty(
            16.0, 8.0, 6.0, 90.0, (-10.0, 75.0), (0.4, 1.4), (0.12, 0.65), (0.006, 0.03)
        ),
    }
)


@dataclasses.dataclass(frozen=True)
class Scene:
    """One photograph's circumstances.

    Attributes:
      pose: yaw (to the image's right), pitch (down), roll (clockwise for the subject) [degrees].
      light: direction to the key light.
      key, ambient: strengths of the key light and of the light from all around.
      exposure: factor on all light; gamma: contrast of the film, 1 for a standard display.
      background: gray at the image's top and bottom, 0 black to 1 white.
      noise: standard deviation of the sensor noise (image range 0 to 1); noise_seed: its seed.
      shift: displacement right and up [head units]; zoom: relative change of size.
    """

    pose: tuple[float, float, float]
    light: tuple[float, float, float]
    key: float
    ambient: float
    exposure: float
    gamma: float
    background: tuple[float, float]
    noise: float
    noise_seed: int
    shift: tuple[float, float]
    zoom: float


def sample_scene(rng: np.random.Generator, difficulty: str) -> Scene:
    """Draws a scene.

    Raises:
      ValueError: the difficulty is not one of `DIFFICULTIES`.
    """
    if difficulty not in DIFFICULTIES:
        known = ", ".join(DIFFICULTIES)
        raise ValueError(f"difficulty {difficulty!r} is unknown; known are {known}")
    d = DIFFICULTIES[difficulty]
    yaw, pitch, roll = (cut_normal(rng, sd, 3 * sd) for sd in (d.yaw, d.pitch, d.roll))
    shift_x, shift_y, zoom = (float(x) for x in rng.normal(0, 0.012, 3))
    return Scene(
        pose=(yaw, pitch, roll),
        light=_direction(rng.uniform(-d.azimuth, d.azimuth), rng.uniform(*d.elevation)),
        key=rng.uniform(*d.key),
        ambient=rng.uniform(*d.ambient),
        exposure=rng.uniform(0.85, 1.15),
        gamma=rng.uniform(0.9, 1.1),
        background=(rng.uniform(0.05, 0.8), rng.uniform(0.05, 0.8)),
        noise=rng.uniform(*d.noise),
        noise_seed=int(rng.integers(1 << 32)),
        shift=(shift_x, shift_y),
        zoom=1.0 + zoom,
    )


def _direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    a, e = np.radians([azimuth, elevation])
    return float(np.sin(a) * np.cos(e)), float(np.sin(e)), float(np.cos(a) * np.cos(e))


def rotation(pose: tuple[float, float, float]) -> Float64[np.ndarray, "3 3"]:
    """The matrix of yaw, then pitch, then roll [degrees]; columns are turned by row @ matrix.T."""
    (sy, sp, sr), (cy, cp, cr) = np.sin(np.radians(pose)), np.cos(np.radians(pose))
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.einsum("ij,jk,kl->il", roll, pitch, yaw)


def turn(
    vectors: Float64[np.ndarray, "n 3"], matrix: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "n 3"]:
    """Each row turned by the matrix; without BLAS, whose rounding depends on its threads."""
    return np.einsum("nk,jk->nj", vectors, matrix)
