"""The shape of a neutral head: MakeHuman's targets mixed, teeth set, hair raised, size evened.

Numpy only; knows the head model's target names, not the renderer. Vertices are in decimetres and
are changed in place, except by `to_head_units`.
"""

import functools

import numpy as np
from jaxtyping import Float64

from ifgan_jax.data.synthetic.head_model import HeadModel, Part
from ifgan_jax.data.synthetic.rasterize import vertex_normals

RACES = ("african", "asian", "caucasian")
# The model has the ages child, young and old; between them shapes are mixed.
_AGE_MIX = {
    "teen": {"young": 0.65, "child": 0.35},
    "young": {"young": 1.0},
    "middle": {"young": 0.55, "old": 0.45},
    "old": {"young": 0.1, "old": 0.9},
}
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


def cut_normal(rng: np.random.Generator, sd: float, limit: float) -> float:
    """A normal number around 0, cut at ± `limit`."""
    return float(np.clip(rng.normal(0, sd), -limit, limit))


def add_macro_shape(
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
            for m, m_weight in three_way(muscle, "muscle").items():
                for w, w_weight in three_way(weight, "weight").items():
                    name = f"macro/universal-{sex}-{year}-{m}-{w}"
                    if model.has(name):  # average-average is the base head
                        model.add(vertices, name, share * part * m_weight * w_weight)


def three_way(value: float, noun: str) -> dict[str, float]:
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


def add_local_shape(
    vertices: Float64[np.ndarray, "v 3"], model: HeadModel, rng: np.random.Generator
) -> None:
    """Nose, chin, cheeks, …: each axis normal around the mean, sides nearly alike."""
    for stem, sides in local_modifiers(model):
        sd = 0.18 if any(s in stem for s in ("trans", "lip", "mouth-scale")) else 0.26
        value = cut_normal(rng, sd, 0.9)
        for negative, positive in sides:
            x = value + rng.normal(0, 0.04)
            if x > 0:
                model.add(vertices, positive, x if negative else 0.6 * x)
            elif negative:
                model.add(vertices, negative, -x)


def add_asymmetry(
    vertices: Float64[np.ndarray, "v 3"], model: HeadModel, rng: np.random.Generator
) -> None:
    """A quarter of MakeHuman's one-sided shapes, each at up to half its strength."""
    for name in model.names:
        if name.startswith("local/asym-") and rng.random() < 0.25:
            model.add(vertices, name, rng.uniform(0, 0.5))


def straighten_teeth(vertices: Float64[np.ndarray, "v 3"], model: HeadModel) -> None:
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


def add_hair_volume(
    vertices: Float64[np.ndarray, "v 3"], model: HeadModel, hairline: float, volume: float
) -> None:
    """Lifts the scalp by up to `volume` [dm] along its normals."""
    normals = vertex_normals(vertices, model.triangles[model.parts == Part.SKIN])
    rise = smoothstep(above_hairline(model.vertices) - hairline, 0.02, 0.5)
    rise *= (1 - smoothstep(model.masks["ears"], 0.05, 0.4)) * (model.vertex_parts == Part.SKIN)
    vertices += normals * (volume * rise)[:, None]


def to_head_units(
    vertices: Float64[np.ndarray, "v 3"], model: HeadModel
) -> tuple[Float64[np.ndarray, "v 3"], float]:
    """Moves the point between the eyes to the origin; makes all faces about the same size."""
    left, right = (vertices[eye].mean(0) for eye in model.eyes)
    centre = (left + right) / 2
    mouth = vertices[model.lips].mean(0)
    eyes, down = (float(np.sqrt((d * d).sum())) for d in (left - right, mouth - centre))
    scale = 2.0 / (eyes / _EYE_DISTANCE + down / _EYE_TO_MOUTH)
    return (vertices - centre) * scale, scale
