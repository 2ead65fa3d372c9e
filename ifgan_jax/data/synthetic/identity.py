"""Who is rendered: shape and appearance of a subject, drawn once per subject.

Numpy only; the shape is built by `shape`. Strengths have no unit unless one is given; reflectances
are linear, 0 black to 1 white.
"""

import dataclasses

import numpy as np
from jaxtyping import Float64

from ifgan_jax.data.synthetic.head_model import HeadModel
from ifgan_jax.data.synthetic.shape import (
    add_asymmetry,
    add_hair_volume,
    add_local_shape,
    add_macro_shape,
    cut_normal,
    straighten_teeth,
    to_head_units,
)

AGES = ("teen", "young", "middle", "old")
HAIR_STYLES = ("bald", "short", "long")
BEARDS = ("none", "full", "moustache", "goatee")

_WRINKLES = {"teen": 0.4, "young": 0.6, "middle": 1.0, "old": 1.5}


@dataclasses.dataclass(frozen=True)
class Brow:
    """Eyebrows; lengths in decimetres on the mean head."""

    thickness: float
    density: float
    arch: float
    height: float
    length: float


@dataclasses.dataclass(frozen=True, eq=False)
class Identity:
    """A subject.

    Attributes:
      vertices: the neutral head in head units: decimetres of the mean head's size, origin
        between the eyes.
      scale: head units per decimetre of this head.
      race: weights of `shape.RACES`, sum 1; gender: 0 female to 1 male; age: one of `AGES`.
      skin, hair_tone, iris: reflectances; lips: factor on the skin's.
      hair: one of `HAIR_STYLES`; hairline: how far back it lies [dm]; hair_width:
        of long hair on each side [head units].
      beard: one of `BEARDS`; beard_density: 0 to 1; freckles, wrinkles: strengths.
      expressiveness: factor on every expression of this subject.
      texture_seed: of the skin's and hair's noise.
    """

    vertices: Float64[np.ndarray, "v 3"]
    scale: float
    race: tuple[float, float, float]
    gender: float
    age: str
    skin: float
    lips: float
    iris: float
    brow: Brow
    hair: str
    hair_tone: float
    hairline: float
    hair_width: float
    beard: str
    beard_density: float
    freckles: float
    wrinkles: float
    expressiveness: float
    texture_seed: int


def sample_identity(rng: np.random.Generator, model: HeadModel) -> Identity:
    """Draws a subject and builds its neutral head."""
    african, asian, caucasian = (float(x) for x in rng.dirichlet([0.35] * 3))
    race = african, asian, caucasian
    gender = float(rng.beta(0.35, 0.35))
    age = str(rng.choice(AGES, p=[0.12, 0.40, 0.30, 0.18]))
    weight = cut_normal(rng, 0.45, 1.0)
    muscle = cut_normal(rng, 0.40, 1.0)
    hair = _sample_hair_style(rng, gender)
    hairline = float(rng.normal(0, 0.08) + (0.10 * gender if age in ("middle", "old") else 0.0))
    vertices = model.vertices.copy()
    add_macro_shape(vertices, model, race, gender, age, weight, muscle)
    add_local_shape(vertices, model, rng)
    add_asymmetry(vertices, model, rng)
    straighten_teeth(vertices, model)
    volume = rng.uniform(0.06, 0.24)
    if hair != "bald":
        add_hair_volume(vertices, model, hairline, volume)
    vertices, scale = to_head_units(vertices, model)
    beard, beard_density = _sample_beard(rng, gender, age)
    return Identity(
        vertices=vertices,
        scale=scale,
        race=race,
        gender=gender,
        age=age,
        skin=_sample_skin(rng, race),
        lips=rng.uniform(0.38, 0.58)
        if rng.random() < 0.6 - 0.5 * gender
        else rng.uniform(0.52, 0.66),
        iris=_sample_iris(rng, race),
        brow=_sample_brow(rng, gender),
        hair=hair,
        hair_tone=_sample_hair_tone(rng, race, age),
        hairline=hairline,
        hair_width=rng.uniform(0.10, 0.28),
        beard=beard,
        beard_density=beard_density,
        freckles=rng.uniform(0, 0.08) * (race[2] + 0.2),
        wrinkles=_WRINKLES[age] * rng.uniform(0.8, 1.2),
        expressiveness=float(np.exp(rng.normal(0, 0.10))),
        texture_seed=int(rng.integers(1 << 30)),
    )


def _sample_skin(rng: np.random.Generator, race: tuple[float, ...]) -> float:
    tone = 0.36 * race[0] + 0.70 * race[1] + 0.76 * race[2] + rng.normal(0, 0.05)
    return float(np.clip(tone, 0.26, 0.84)) ** 2


def _sample_hair_style(rng: np.random.Generator, gender: float) -> str:
    shares = np.array([0.1 * gender, 0.45 + 0.40 * gender, 0.60 - 0.55 * gender])
    return str(rng.choice(HAIR_STYLES, p=shares / shares.sum()))


def _sample_hair_tone(rng: np.random.Generator, race: tuple[float, ...], age: str) -> float:
    if age == "old":
        return float(rng.choice([0.06, 0.25, 0.45]))
    return 0.025 + race[2] ** 2 * float(rng.choice([0.0, 0.04, 0.10, 0.22], p=[0.4, 0.3, 0.2, 0.1]))


def _sample_iris(rng: np.random.Generator, race: tuple[float, ...]) -> float:
    if race[2] > 0.4:
        return float(rng.choice([0.05, 0.10, 0.18, 0.26], p=[0.5, 0.25, 0.15, 0.1]))
    return rng.uniform(0.03, 0.08)


def _sample_brow(rng: np.random.Generator, gender: float) -> Brow:
    return Brow(
        thickness=rng.uniform(0.036, 0.063) * (0.85 + 0.35 * gender),
        density=rng.uniform(0.7, 1.0),
        arch=rng.uniform(0.0, 0.06) * (1.3 - gender),
        height=float(rng.normal(0, 0.015)),
        length=rng.uniform(0.90, 1.08),
    )


def _sample_beard(rng: np.random.Generator, gender: float, age: str) -> tuple[str, float]:
    density = float(rng.choice([0.0, 0.15, 0.3, 0.6], p=[0.45, 0.25, 0.15, 0.15]))
    style = str(rng.choice(BEARDS[1:]))
    if gender < 0.6 or age == "teen" or density == 0.0:
        return "none", 0.0
    return style, density
