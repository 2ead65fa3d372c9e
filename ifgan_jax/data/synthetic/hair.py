"""Long hair behind the head: a curtain painted on the background.

Numpy only. Lengths are head units (decimetres of the mean head); brightness is linear light.
"""

import numpy as np
from jaxtyping import Float64

from ifgan_jax.data.synthetic.identity import Identity
from ifgan_jax.data.synthetic.scene import Scene
from ifgan_jax.data.synthetic.shape import smoothstep
from ifgan_jax.data.synthetic.skin import noise

_HEAD_HALF_WIDTH = 0.78  # at the ears
_CROWN = 0.25  # height above the eyes where the curtain begins to round off
_EDGE = 0.05  # softness of the outline
_YAW_SHIFT = 0.010  # sideways shift of the back of the head for each degree of yaw


def curtain(
    x: Float64[np.ndarray, "s s"], y: Float64[np.ndarray, "s s"], identity: Identity, scene: Scene
) -> tuple[Float64[np.ndarray, "s s"], Float64[np.ndarray, "s s"]]:
    """Coverage, 0 to 1, and light of the curtain at positions from the point between the eyes."""
    x = x + _YAW_SHIFT * scene.pose[0]
    wave = 0.04 * noise(identity.texture_seed + 1, 0.01 * x, 0.06 * y)
    half = _HEAD_HALF_WIDTH + identity.hair_width * smoothstep(-y, -_CROWN, 0.6) + wave
    rounding = np.sqrt(np.clip(1 - (np.maximum(y - _CROWN, 0) / 1.1) ** 2, 0, 1))
    inside = smoothstep(half * rounding - np.abs(x), -_EDGE, _EDGE)
    strands = 1 + 0.3 * noise(identity.texture_seed, 1.5 * x, 0.1 * y)
    outward = np.clip(x / half * scene.light[0] + 0.5 * scene.light[1] + 0.3, 0.1, 1.0)
    behind = smoothstep(np.abs(x), 0.35, 0.75)  # the part behind the neck lies in shadow
    light = scene.ambient * 0.7 + scene.key * 0.6 * outward
    return inside, 0.93 * identity.hair_tone * strands * light * (0.3 + 0.7 * behind)
