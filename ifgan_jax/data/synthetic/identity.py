"""Who is rendered: shape and appearance of a subject, drawn once per subject.

Numpy only; knows the head model's target names, not the renderer. All strengths are without unit
unless a unit is given; reflectances are linear, 0 black to 1 white.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float64

from ifgan_jax.data.synthetic.head_model import HeadModel, Part
from ifgan_jax.data.synthetic.rasterize import vertex_normals

RACES = ("african", "asian", "caucasian")
AGES = ("teen", "young", "middle", "old")
HAIR_STYLES = ("bald", "short", "long")
BEARDS = ("none", "full", "moustache", "goatee")

# The model has the ages child, young and old; between them shapes are mixed.
_AGE_MIX = {
    "teen": {"young": 0.65, "child": 0.35},
    "young": {"young": 1.0},
    "middle": {"young": 0.55, "old": 0.45},
    "old": {"young": 0.1, "old": 0.9},
}
_WRINKLES = {"teen": 0.4, "young": 0.6, "middle": 1.0, "old": 1.5}
_OPPOSITES = (
    ("-decr", "-incr"),
    ("-down", "-up"),
    ("-in", "-out"),
    ("-backward", "-forward"),
    ("-concave", "-convex"),
    ("-compress", "-uncompress"),
)
# Left alone: the neck, the head as a whole, and shapes that look like an expression.
_FIXED = (
    *("neck", "measure-neck", "head-trans", "head-angle", "head-back", "asym"),
    *("mouth-trans-in", "mouth-trans-out", "nose-trans-in", "nose-trans-out"),
    *("mouth-laugh", "mouth-dimples", "mouth-angles"),
)
_EYE_DISTANCE, _EYE_TO_MOUTH = 0.6156, 0.655  # of the mean head [dm]; both set the size on screen


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
      race: weights of `RACES`, sum 1; gender: 0 female to 1 male; age: one of `AGES`.
      weight, muscle: of the body, -1 to 1.
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
    weight: float
    muscle: float
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
    weight = _cut_normal(rng, 0.45, 1.0)
    muscle = _cut_normal(rng, 0.40, 1.0)
    hair = _sample_hair_style(rng, gender)
    hairline = float(rng.normal(0, 0.08) + (0.10 * gender if age in ("middle", "old") else 0.0))
    vertices = model.vertices.copy()
    _add_macro_shape(vertices, model, race, gender, age, weight, muscle)
    _add_local_shape(vertices, model, rng)
    _add_asymmetry(vertices, model, rng)
    _straighten_teeth(vertices, model)
    volume = rng.uniform(0.06, 0.24)
    if hair != "bald":
        _add_hair_volume(vertices, model, hairline, volume)
    vertices, scale = _to_head_units(vertices, model)
    beard, beard_density = _sample_beard(rng, gender, age)
    return Identity(
        vertices=vertices,
        scale=scale,
        race=race,
        gender=gender,
        age=age,
        weight=weight,
        muscle=muscle,
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


def _cut_normal(rng: np.random.Generator, sd: float, limit: float) -> float:
    return float(np.clip(rng.normal(0, sd), -limit, limit))


# ------------------------------------------------------------------------------------- shape


def _add_macro_shape(
    vertices: Float64[np.ndarray, "v 3"],
    model: HeadModel,
    race: tuple[float, ...],
    gender: float,
    age: str,
    weight: float,
    muscle: float,
) -> None:
    """Race × gender × age, and gender × age × muscle × weight: MakeHuman's macro targets."""
    for year, share in _AGE_MIX[age].items():
        for sex, part in (("male", gender), ("female", 1 - gender)):
            for name, fraction in zip(RACES, race, strict=True):
                model.add(vertices, f"macro/{name}-{sex}-{year}", share * part * fraction)
            for m, m_weight in _three_way(muscle, "muscle").items():
                for w, w_weight in _three_way(weight, "weight").items():
                    name = f"macro/universal-{sex}-{year}-{m}-{w}"
                    if model.has(name):  # average-average is the base head
                        model.add(vertices, name, share * part * m_weight * w_weight)


def _three_way(value: float, noun: str) -> dict[str, float]:
    """Linear mixing weights of minimum, average and maximum for a value in [-1, 1]."""
    return {
        "max" + noun: max(value, 0.0),
        "average" + noun: 1.0 - abs(value),
        "min" + noun: max(-value, 0.0),
    }


Sides = tuple[tuple[str | None, str], ...]  # (target for negative, for positive values) per side


@functools.cache
def local_modifiers(model: HeadModel) -> tuple[tuple[str, Sides], ...]:
    """Signed shape axes such as "chin-width": stem and targets, left and right tied together."""
    axes: dict[str, list[tuple[str | None, str]]] = {}
    for name in model.names:
        if not name.startswith("local/"):
            continue
        side, stem = _split_side(name.removeprefix("local/"))
        if stem.startswith(_FIXED):
            continue
        negative = next((n for n, _ in _OPPOSITES if stem.endswith(n)), None)
        positive = next((p for _, p in _OPPOSITES if stem.endswith(p)), None)
        if negative is not None:
            continue  # counted with its opposite
        if positive is None:
            axes.setdefault(stem, []).append((None, name))
        else:
            opposite = next(n for n, p in _OPPOSITES if p == positive)
            stem = stem.removesuffix(positive)
            axes.setdefault(stem, []).append((f"local/{side}{stem}{opposite}", name))
    return tuple((stem, tuple(sides)) for stem, sides in axes.items())


def _split_side(name: str) -> tuple[str, str]:
    return (name[:2], name[2:]) if name.startswith(("l-", "r-")) else ("", name)


def _add_local_shape(
    vertices: Float64[np.ndarray, "v 3"], model: HeadModel, rng: np.random.Generator
) -> None:
    """Nose, chin, cheeks, …: each axis normal around the mean, sides nearly alike."""
    for stem, sides in local_modifiers(model):
        sd = 0.18 if any(s in stem for s in ("trans", "lip", "mouth-scale")) else 0.26
        value = _cut_normal(rng, sd, 0.9)
        for negative, positive in sides:
            x = value + rng.normal(0, 0.04)
            if x > 0:
                model.add(vertices, positive, x if negative else 0.6 * x)
            elif negative:
                model.add(vertices, negative, -x)


def _add_asymmetry(
    vertices: Float64[np.ndarray, "v 3"], model: HeadModel, rng: np.random.Generator
) -> None:
    for name in model.names:
        if name.startswith("local/asym-") and rng.random() < 0.25:
            model.add(vertices, name, rng.uniform(0, 0.5))


def _straighten_teeth(vertices: Float64[np.ndarray, "v 3"], model: HeadModel) -> None:
    """Teeth and tongue follow the shape as a whole: MakeHuman's targets bend them into fangs."""
    for inner in (model.upper_teeth, model.lower_mouth):
        shift = (vertices[inner] - model.vertices[inner]).mean(0)
        vertices[inner] = model.vertices[inner] + shift


def above_hairline(base: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
    """Distance [dm] above the mean head's hairline, a plane that falls towards the neck."""
    return base[:, 1] - 0.964 * base[:, 2] - 6.552


def smoothstep(x: np.ndarray | float, low: float, high: float) -> Float64[np.ndarray, "*n"]:
    """0 up to `low`, 1 from `high` on, a cubic between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _add_hair_volume(
    vertices: Float64[np.ndarray, "v 3"], model: HeadModel, hairline: float, volume: float
) -> None:
    """Lifts the scalp by up to `volume` [dm] along its normals."""
    normals = vertex_normals(vertices, model.triangles[model.parts == Part.SKIN])
    rise = smoothstep(above_hairline(model.vertices) - hairline, 0.02, 0.5)
    rise *= (1 - smoothstep(model.masks["ears"], 0.05, 0.4)) * (model.vertex_parts == Part.SKIN)
    vertices += normals * (volume * rise)[:, None]


def _to_head_units(
    vertices: Float64[np.ndarray, "v 3"], model: HeadModel
) -> tuple[Float64[np.ndarray, "v 3"], float]:
    """Moves the point between the eyes to the origin; makes all faces about the same size."""
    left, right = (vertices[eye].mean(0) for eye in model.eyes)
    centre = (left + right) / 2
    mouth = vertices[model.lips].mean(0)
    eyes, down = (float(np.sqrt((d * d).sum())) for d in (left - right, mouth - centre))
    scale = 2.0 / (eyes / _EYE_DISTANCE + down / _EYE_TO_MOUTH)
    return (vertices - centre) * scale, scale


# -------------------------------------------------------------------------------- appearance


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
