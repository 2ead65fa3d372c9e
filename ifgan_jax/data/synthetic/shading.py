"""Light on the head: material and brightness of every covered pixel.

Numpy only. Light is linear gray, 1 being a white surface under the full key light; directions
have x right, y up, z to the viewer.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int64

from ifgan_jax.data.synthetic.head_model import HeadModel, Part
from ifgan_jax.data.synthetic.identity import Identity
from ifgan_jax.data.synthetic.rasterize import unit
from ifgan_jax.data.synthetic.scene import Scene
from ifgan_jax.data.synthetic.shape import smoothstep
from ifgan_jax.data.synthetic.skin import skin_reflectance

Pixels = Float64[np.ndarray, " p"]

_TOOTH = 0.083  # width of a front tooth [dm]


@dataclasses.dataclass(frozen=True)
class Surface:
    """What is seen at p pixels.

    Attributes:
      base: position on the mean head [dm].
      normal: unit normal, towards the viewer.
      part: `Part`.
      occlusion: ambient light that arrives, 0 to 1.
      masks: skin regions, 0 to 1.
    """

    base: Float64[np.ndarray, "p 3"]
    normal: Float64[np.ndarray, "p 3"]
    part: Int64[np.ndarray, " p"]
    occlusion: Pixels
    masks: Mapping[str, Pixels]


@dataclasses.dataclass
class Material:
    """How p pixels answer light.

    Attributes:
      reflectance: diffuse, 0 to 1.
      gloss: strength of the highlight; sharpness: its exponent.
      wrap: how far light creeps round the terminator, 0 as stone, 0.5 as wet tissue.
      ambient, direct: share of the two lights that reaches the pixel.
    """

    reflectance: Pixels
    gloss: Pixels
    sharpness: Pixels
    wrap: Pixels
    ambient: Pixels
    direct: Pixels


def material(
    surface: Surface, model: HeadModel, identity: Identity, weights: Mapping[str, float]
) -> Material:
    """The material of each pixel by its part."""
    n = len(surface.part)
    m = Material(
        np.zeros(n), np.zeros(n), np.full(n, 14.0), np.full(n, 0.35), np.zeros(n), np.zeros(n)
    )
    _skin(m, surface, identity, weights)
    for part, eye in zip((Part.LEFT_EYE, Part.RIGHT_EYE), model.eyes, strict=True):
        _eye(m, surface, part, model.vertices[eye].mean(0), identity)
    _mouth(m, surface)
    return m


def _skin(m: Material, surface: Surface, identity: Identity, weights: Mapping[str, float]) -> None:
    at = np.flatnonzero(surface.part == Part.SKIN)
    masks = {name: mask[at] for name, mask in surface.masks.items()}
    m.reflectance[at], scalp = skin_reflectance(surface.base[at], masks, identity, weights)
    inside = masks["inside-mouth"] > 0.5
    m.gloss[at] = 0.10 * (1 - scalp) + 0.06 * masks["lips"]
    m.wrap[at] = 0.35 * (1 - 0.7 * scalp)
    m.ambient[at] = np.where(inside, 0.15, np.clip(0.25 + 0.95 * surface.occlusion[at], 0, 1.15))
    m.direct[at] = np.where(inside, 0.15, np.clip(0.35 + 0.75 * surface.occlusion[at], 0, 1.0))


def _eye(
    m: Material, surface: Surface, part: Part, centre: Float64[np.ndarray, " 3"], identity: Identity
) -> None:
    """Sclera, iris with its dark rim, pupil; the lid shades the upper part."""
    at = np.flatnonzero(surface.part == part)
    direction = unit(surface.base[at] - centre + np.array([0.0, 0.0, 0.02]))
    angle = np.degrees(np.arccos(np.clip(direction[:, 2], -1, 1)))
    iris, pupil = 1 - smoothstep(angle, 26.0, 29.0), 1 - smoothstep(angle, 10.0, 12.5)
    rim = 0.5 * np.exp(-0.5 * ((angle - 26.5) / 2.2) ** 2)
    spokes = 1 + 0.35 * np.sin(9 * np.arctan2(direction[:, 1], direction[:, 0]))
    white = 0.60 * (1 - 0.12 * smoothstep(np.abs(direction[:, 0]), 0.5, 0.9))
    gray = white * (1 - iris) + 0.92 * identity.iris * spokes * (1 - rim) * iris
    m.reflectance[at] = gray * (1 - pupil) + 0.02 * pupil
    m.gloss[at], m.sharpness[at], m.wrap[at] = 0.9, 120.0, 0.5
    lid = 1 - 0.38 * smoothstep(direction[:, 1], 0.05, 0.42)
    m.ambient[at] = m.direct[at] = np.clip(0.60 + 0.5 * surface.occlusion[at], 0, 1) * lid


def _mouth(m: Material, surface: Surface) -> None:
    """Teeth and tongue, darker the deeper they lie (z on the mean head) and under the upper lip."""
    x, y, depth = surface.base.T
    teeth = (surface.part == Part.UPPER_TEETH) | (surface.part == Part.LOWER_TEETH)
    gaps = np.exp(-0.5 * (np.sin(np.pi * x / _TOOTH) / 0.16) ** 2)
    m.reflectance[teeth] = (0.50 * (1 - 0.25 * gaps))[teeth]
    m.gloss[teeth] = 0.15
    reached = 0.06 + 0.80 * smoothstep(depth, 1.10, 1.47)
    under_lip = np.where(surface.part == Part.UPPER_TEETH, 0.45 * smoothstep(y, 6.60, 6.74), 0.0)
    m.ambient[teeth] = m.direct[teeth] = (reached * (1 - under_lip))[teeth]
    tongue = surface.part == Part.TONGUE
    m.reflectance[tongue] = 0.17
    m.ambient[tongue] = m.direct[tongue] = 0.08 + 0.40 * smoothstep(depth[tongue], 0.85, 1.30)


def light(material: Material, normal: Float64[np.ndarray, "p 3"], scene: Scene) -> Pixels:
    """Light sent to the viewer: key light, fill from the other side, sky, highlight."""
    key = np.array(scene.light)
    toward_key = _dot(normal, key)
    diffuse = np.maximum((toward_key + material.wrap) / (1 + material.wrap), 0)
    fill = 0.18 * np.maximum(_dot(normal, np.array([-0.8 * key[0], 0.1, 0.6])), 0)
    sky = scene.ambient * (0.75 + 0.25 * normal[:, 1] + 0.12 * normal[:, 2])
    half = unit(key + np.array([0.0, 0.0, 1.0]))
    highlight = material.gloss * np.maximum(_dot(normal, half), 0) ** material.sharpness
    received = sky * material.ambient + (scene.key * diffuse + fill) * material.direct
    return material.reflectance * received + scene.key * highlight * material.ambient


def _dot(vectors: Float64[np.ndarray, "p 3"], direction: Float64[np.ndarray, " 3"]) -> Pixels:
    return np.einsum("pk,k->p", vectors, direction)
