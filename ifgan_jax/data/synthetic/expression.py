"""What a face does: the seven expressions as weights of ARKit units.

Numpy only. A weight of 1 is the unit at its full strength. The prototypes follow the action units
of EMFACS (Friesen and Ekman 1983): anger 4+5+7+23, disgust 9+15+16, fear 1+2+4+5+20+26,
happiness 6+12, sadness 1+4+15, surprise 1+2+5+26, each in two or three usual variants.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ifgan_jax.data.protocol import Expression

MAX_WEIGHT = 1.15  # beyond it the mesh folds over itself
# Units without a left and a right half.
CENTRAL = frozenset(
    "browInnerUp jawOpen jawForward mouthRollLower mouthRollUpper mouthShrugLower "
    "mouthShrugUpper mouthFunnel mouthPucker mouthClose tongueOut cheekPuff".split()
)
# fmt: off
PROTOTYPES: Mapping[Expression, Sequence[Mapping[str, float]]] = MappingProxyType({
    Expression.ANGER: (
        dict(browDown=1.0, eyeSquint=.45, eyeWide=.25, mouthPress=.8, mouthRollLower=.35,
             mouthRollUpper=.25, noseSneer=.25, mouthShrugLower=.3, jawForward=.2),
        dict(browDown=1.0, eyeWide=.45, noseSneer=.5, mouthUpperUp=.35, mouthLowerDown=.7,
             mouthStretch=.35, jawOpen=.18, mouthFunnel=.15),
    ),
    Expression.DISGUST: (
        dict(noseSneer=1.0, mouthUpperUp=.65, browDown=.6, eyeSquint=.6, cheekSquint=.55,
             mouthShrugLower=.45, mouthFrown=.35),
        dict(noseSneer=.9, mouthUpperUp=.75, browDown=.45, eyeSquint=.7, cheekSquint=.5,
             jawOpen=.22, mouthLowerDown=.3),
    ),
    Expression.FEAR: (
        dict(browInnerUp=.95, browOuterUp=.45, browDown=.3, eyeWide=.9, mouthStretch=.85,
             jawOpen=.22, mouthLowerDown=.35),
        dict(browInnerUp=1.0, browOuterUp=.3, browDown=.25, eyeWide=1.0, mouthStretch=.6,
             jawOpen=.42, mouthFrown=.2, mouthUpperUp=.1),
    ),
    Expression.HAPPINESS: (
        dict(mouthSmile=1.0, cheekSquint=.75, eyeSquint=.35, mouthUpperUp=.35, jawOpen=.12,
             mouthLowerDown=.15),
        dict(mouthSmile=.85, cheekSquint=.6, eyeSquint=.3, mouthDimple=.3, mouthPress=.1),
        dict(mouthSmile=1.0, cheekSquint=.9, eyeSquint=.5, mouthUpperUp=.4, jawOpen=.3,
             mouthLowerDown=.3),
    ),
    Expression.SADNESS: (
        dict(browInnerUp=.85, browDown=.3, mouthFrown=.95, mouthShrugLower=.65, eyeSquint=.25,
             eyeBlink=.22, mouthPress=.2),
        dict(browInnerUp=.9, mouthFrown=.7, mouthShrugLower=.3, eyeBlink=.3, mouthRollLower=.3,
             mouthStretch=.2, eyeLookDown=.35),
    ),
    Expression.SURPRISE: (
        dict(browInnerUp=.95, browOuterUp=1.0, eyeWide=.9, jawOpen=.62, mouthFunnel=.18),
        dict(browInnerUp=.9, browOuterUp=.9, eyeWide=.7, jawOpen=.38, mouthFunnel=.35,
             mouthPucker=.1),
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
      intensity: factor on the prototype, 0 (neutral) to about 1.

    Returns:
      weights by unit name ("browDownLeft", "jawOpen", …), 0 to `MAX_WEIGHT`.
    """
    variants = PROTOTYPES[expression]
    prototype = variants[rng.integers(len(variants))]
    weights = _gaze(rng)
    for unit, strength in prototype.items():
        x = strength * intensity * np.exp(rng.normal(0, 0.15))
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
