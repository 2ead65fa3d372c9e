"""What a face does: the seven expressions as weights of ARKit units.

Numpy only. A weight of 1 is the unit at its full strength. The prototypes follow the action units
of EMFACS (Friesen and Ekman 1983): anger 4+5+7+23, disgust 9+15+16, fear 1+2+4+5+20+26,
happiness 6+12, sadness 1+4+15, surprise 1+2+5+26, each in two or three usual variants.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ifgan_jax.data.protocol import Expression

MAX_WEIGHT = 1.3  # beyond it the mesh folds over itself
_RESPONSE = 0.75  # exponent of the intensity: half of it shows 60 % of the movement
# Units without a left and a right half.
CENTRAL = frozenset(
    {
        *("browInnerUp", "cheekPuff", "jawForward", "jawOpen", "mouthClose", "mouthFunnel"),
        *("mouthPucker", "mouthRollLower", "mouthRollUpper"),
        *("mouthShrugLower", "mouthShrugUpper", "tongueOut"),
    }
)
# fmt: off
PROTOTYPES: Mapping[Expression, Sequence[Mapping[str, float]]] = MappingProxyType({
    Expression.ANGER: (  # lips pressed; teeth bared; shouting
        {"browDown": 1.3, "eyeWide": .3, "noseSneer": .8, "mouthPress": .6, "mouthUpperUp": .3,
         "mouthShrugLower": .2, "mouthFrown": .15, "jawForward": .4},
        {"browDown": 1.3, "eyeWide": .6, "noseSneer": .5, "mouthUpperUp": .8,
         "mouthLowerDown": 1.0, "mouthStretch": .3, "mouthFunnel": .2, "jawOpen": .08},
        {"browDown": 1.3, "eyeWide": .7, "noseSneer": .5, "mouthUpperUp": .9,
         "mouthLowerDown": .8, "mouthFunnel": .35, "jawOpen": .35},
    ),
    Expression.DISGUST: (  # lips closed; upper lip raised; mouth open
        {"noseSneer": 1.2, "mouthUpperUp": .5, "browDown": .3, "eyeSquint": .5, "cheekSquint": .5,
         "mouthShrugLower": .6, "mouthShrugUpper": .6, "mouthFrown": .7},
        {"noseSneer": 1.2, "mouthUpperUp": .9, "browDown": .25, "eyeSquint": .5,
         "cheekSquint": .5, "mouthShrugUpper": .4, "mouthFrown": .6, "jawOpen": .12},
        {"noseSneer": 1.1, "mouthUpperUp": .9, "browDown": .2, "eyeSquint": .4,
         "cheekSquint": .5, "mouthFrown": .4, "jawOpen": .3, "mouthShrugLower": .3},
    ),
    Expression.FEAR: (  # lips drawn back; mouth open
        {"browInnerUp": 1.0, "browOuterUp": .15, "browDown": .5, "eyeWide": 1.2,
         "mouthStretch": 1.1, "mouthDimple": .4, "mouthLowerDown": .8, "jawOpen": .06},
        {"browInnerUp": 1.0, "browOuterUp": .1, "browDown": .5, "eyeWide": 1.2,
         "mouthStretch": 1.2, "mouthDimple": .3, "mouthLowerDown": .9, "jawOpen": .16},
    ),
    Expression.HAPPINESS: (  # showing teeth; lips closed; laughing
        {"mouthSmile": .9, "cheekSquint": .75, "eyeSquint": .35, "mouthUpperUp": .5,
         "mouthLowerDown": .3, "jawOpen": .12},
        {"mouthSmile": .8, "cheekSquint": .6, "eyeSquint": .3, "mouthDimple": .3,
         "mouthPress": .1},
        {"mouthSmile": .9, "cheekSquint": .9, "eyeSquint": .5, "mouthUpperUp": .5,
         "mouthLowerDown": .4, "jawOpen": .3},
    ),
    Expression.SADNESS: (  # chin raised; eyes cast down
        {"browInnerUp": 1.1, "browDown": .3, "mouthFrown": 1.0, "mouthShrugLower": .6,
         "eyeSquint": .2, "eyeBlink": .25, "mouthPress": .2},
        {"browInnerUp": 1.1, "browDown": .2, "mouthFrown": .8, "mouthShrugLower": .4,
         "mouthStretch": .25, "eyeBlink": .35, "eyeLookDown": .3},
    ),
    Expression.SURPRISE: (  # jaw dropped; lips rounded
        {"browInnerUp": 1.1, "browOuterUp": 1.1, "eyeWide": 1.1, "jawOpen": .8,
         "mouthFunnel": .25},
        {"browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 1.0, "jawOpen": .6,
         "mouthFunnel": .5, "mouthPucker": .15},
    ),
    Expression.NEUTRAL: ({},),
})
# fmt: on


def sample_expression(
    rng: np.random.Generator, expression: Expression, intensity: float
) -> dict[str, float]:
    """Draws the weights of ARKit units for one picture.

    Args:
      rng: source of the variant, of each unit's strength, of asymmetry and of the gaze.
      expression: which prototypes.
      intensity: 0 (neutral) to about 1; its power of 0.75 is a factor on the prototype.

    Returns:
      weights by unit name ("browDownLeft", "jawOpen", …), 0 to `MAX_WEIGHT`.
    """
    variants = PROTOTYPES[expression]
    prototype = variants[int(rng.integers(len(variants)))]
    weights = _gaze(rng)
    for unit, strength in prototype.items():
        x = strength * intensity**_RESPONSE * np.exp(rng.normal(0, 0.15))
        tilt = rng.normal(0, 0.06)
        if unit in CENTRAL:
            halves = {unit: x}
        else:
            halves = {unit + "Left": x * (1 + tilt), unit + "Right": x * (1 - tilt)}
        for name, value in halves.items():
            weights[name] = weights[name] + value if name in weights else value
    return {name: float(np.clip(x, 0.0, MAX_WEIGHT)) for name, x in weights.items()}


def _gaze(rng: np.random.Generator) -> dict[str, float]:
    """Where the eyes look and how far the lids hang: both eyes alike, unrelated to expression."""
    sideways, upwards = rng.normal(0, 0.25, 2)
    side, height = min(abs(sideways), 0.5), min(abs(upwards) * 0.5, 0.5)
    vertical = "eyeLookUp" if upwards > 0 else "eyeLookDown"
    left, right = ("Out", "In") if sideways > 0 else ("In", "Out")
    lid = max(float(rng.normal(0, 0.05)), 0.0)
    return {
        vertical + "Left": height,
        vertical + "Right": height,
        f"eyeLook{left}Left": side,
        f"eyeLook{right}Right": side,
        "eyeBlinkLeft": lid,
        "eyeBlinkRight": lid,
    }


def unit_strength(weights: Mapping[str, float], unit: str) -> float:
    """Mean of the two halves of a unit, or the unit itself; 0 if it does not move."""
    names = (unit,) if unit in CENTRAL else (unit + "Left", unit + "Right")
    return sum(weights[n] for n in names if n in weights) / len(names)
