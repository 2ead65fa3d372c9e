"""What is painted on the skin: tone, lips, wrinkles, eyebrows, beard and scalp hair.

Numpy only. Positions are those of the mean head before any deformation [dm] (`HeadModel.vertices`),
so a mark follows its vertex; y is 6.9 at the nose tip, 7.17 at the eyes, 6.6 between the lips.
Reflectances are linear gray, 0 black to 1 white.
"""

import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from ifgan_jax.data.synthetic.expression import unit_strength
from ifgan_jax.data.synthetic.identity import Brow, Identity
from ifgan_jax.data.synthetic.shape import above_hairline, smoothstep

Pixels = Float64[np.ndarray, " p"]

_MOUTH_CAVITY = 0.05  # reflectance of the inner cheeks
_NOISE_SIZE = 256


def skin_reflectance(
    base: Float64[np.ndarray, "p 3"],
    masks: Mapping[str, Pixels],
    identity: Identity,
    weights: Mapping[str, float],
) -> tuple[Pixels, Pixels]:
    """Reflectance of skin pixels and the share of scalp hair in them, 0 to 1."""
    x, y, z = base.T
    side = np.abs(x)
    coarse = noise(identity.texture_seed, 0.35 * x + 0.5, 0.35 * y)
    fine = noise(identity.texture_seed + 1, 2.1 * x, 2.1 * y + z)
    gray = identity.skin * (1 + 0.045 * coarse + 0.03 * fine)
    gray *= 1 - 0.6 * _redness(x, y, masks)
    gray *= 1 - _freckles(x, y, identity)
    gray *= 1 - 0.10 * identity.wrinkles * _bump(
        np.hypot((side - 0.30) / 0.17, (y - 7.14) / 0.05), 1.0
    )
    gray = _mix(gray, gray * identity.lips, masks["lips"])
    gray *= 1 - 0.5 * _bump(np.hypot(side - 0.262, y - 6.605), 0.028)  # the mouth's corners
    gray *= 1 - np.clip(_lines(x, side, y, identity, weights), 0, 0.55)
    hair = identity.hair_tone * 0.93
    brows = min(0.8 * hair + 0.01, 0.4 * identity.skin)  # darker than the skin, also of the old
    gray = _mix(gray, brows, _brow(side, y, identity.brow, coarse, fine))
    if identity.beard != "none":
        gray = _mix(gray, hair, _beard(side, y, z, masks["lips"], identity, fine))
    scalp = np.zeros_like(x)
    if identity.hair != "bald":
        edge = 0.04 * noise(identity.texture_seed, 1.3 * x, 1.3 * z)
        scalp = smoothstep(above_hairline(base) + edge - identity.hairline, -0.04, 0.10)
        scalp *= 1 - smoothstep(masks["ears"], 0.05, 0.4)
        strands = noise(identity.texture_seed + 1, 3.0 * x + 0.15 * y, 3.0 * z + 0.2 * y)
        gray = _mix(gray, hair * (1 + 0.28 * strands), scalp)
    return _mix(gray, _MOUTH_CAVITY, masks["inside-mouth"]), scalp


def _mix(below: Pixels, above: Pixels | float, share: Pixels) -> Pixels:
    return below * (1 - share) + above * share


def _bump(x: Pixels, width: float | Pixels) -> Pixels:
    """1 at 0, falling like a Gaussian of this standard deviation."""
    return np.exp(-0.5 * (x / width) ** 2)


def _redness(x: Pixels, y: Pixels, masks: Mapping[str, Pixels]) -> Pixels:
    """Cheeks, nose tip and lids, where blood darkens the skin."""
    cheeks = _bump(np.abs(x) - 0.42, 0.16) * _bump(y - 6.92, 0.17)
    nose = 0.8 * _bump(x, 0.11) * _bump(y - 6.93, 0.10)
    return 0.12 * (cheeks + nose) + 0.05 * masks["eyelids"]


def _freckles(x: Pixels, y: Pixels, identity: Identity) -> Pixels:
    spots = smoothstep(noise(identity.texture_seed + 1, 4.3 * x, 4.3 * y), 1.0, 1.6)
    return identity.freckles * spots * _bump(y - 6.98, 0.2)


# ---------------------------------------------------------------------------------- wrinkles


def _lines(
    x: Pixels, side: Pixels, y: Pixels, identity: Identity, weights: Mapping[str, float]
) -> Pixels:
    """Share of light lost in creases: those of age and those an expression folds."""
    w = functools.partial(unit_strength, weights)
    age = identity.wrinkles
    old = age if age > 1 else 0.0
    smile, sneer, squint = w("mouthSmile"), w("noseSneer"), max(w("cheekSquint"), w("eyeSquint"))
    # nose to mouth
    fold, along = _segment(side, y, (0.20, 6.93), (0.40, 6.55))
    ends = 0.35 + 0.65 * smoothstep(along, 0.0, 0.3) * (1 - smoothstep(along, 0.75, 1.0))
    depth = 0.06 * age + 0.26 * smile + 0.22 * sneer
    depth += 0.18 * w("mouthUpperUp") + 0.10 * w("mouthStretch")
    lines = depth * ends * _bump(fold, 0.022)
    # across the forehead
    raised = max(w("browOuterUp"), 0.75 * w("browInnerUp"))
    for height, share in ((7.66, 1.0), (7.77, 1.0), (7.88, 0.7)):
        wave = y - height - 0.02 * np.sin(4 * x + identity.texture_seed % 7)
        lines += (
            share
            * (0.035 * old + 0.17 * raised)
            * _bump(wave, 0.014)
            * smoothstep(0.55 - side, 0.0, 0.2)
        )
    # between the brows, upright
    frown = _bump(side - 0.055 - 0.03 * (y - 7.45), 0.016) * _bump(y - 7.49, 0.08)
    lines += (0.03 * old + 0.32 * w("browDown")) * frown
    # crow's feet
    for start, end in (
        ((0.55, 7.30), (0.68, 7.36)),
        ((0.56, 7.27), (0.70, 7.27)),
        ((0.55, 7.24), (0.67, 7.17)),
    ):
        lines += (0.04 * old + 0.20 * squint) * _bump(_segment(side, y, start, end)[0], 0.010)
    # bridge of the nose, under the eyes, below the mouth's corners, above the chin
    for height in (7.22, 7.29, 7.35):
        lines += 0.22 * sneer * _bump(y - height, 0.014) * smoothstep(0.13 - side, 0.0, 0.05)
    under_eye = _segment(side, y, (0.14, 7.13), (0.45, 7.10))[0]
    lines += (0.05 * age + 0.16 * squint) * _bump(under_eye, 0.014)
    corner = _segment(side, y, (0.37, 6.56), (0.41, 6.40))[0]
    lines += (0.03 * age + 0.20 * w("mouthFrown")) * _bump(corner, 0.018)
    chin = _bump(y - 6.36 - 0.12 * x * x, 0.022) * smoothstep(0.30 - side, 0.0, 0.15)
    return lines + (0.05 + 0.20 * w("mouthShrugLower")) * chin


def _segment(
    x: Pixels, y: Pixels, start: tuple[float, float], end: tuple[float, float]
) -> tuple[Pixels, Pixels]:
    """Distance [dm] to a line segment, and how far along it the nearest point lies, 0 to 1."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(x - start[0] - along * dx, y - start[1] - along * dy), along


# -------------------------------------------------------------------------------------- hair


def _brow(side: Pixels, y: Pixels, brow: Brow, coarse: Pixels, fine: Pixels) -> Pixels:
    """Share of eyebrow hair."""
    inner, outer = 0.115, 0.56 * brow.length
    u = np.clip((side - inner) / (outer - inner), 0, 1)
    centre = 7.455 + brow.height + (0.035 + brow.arch) * np.sin(np.pi * np.minimum(0.78 * u, 1))
    centre -= 0.11 * np.maximum(u - 0.62, 0)
    thickness = brow.thickness * (1 - 0.65 * u**1.6) * (0.75 + 0.25 * smoothstep(u, 0.0, 0.12))
    strands = 0.75 + 0.25 * np.sin(140 * side + 90 * (y - centre) + 2 * fine)
    share = brow.density * _bump(y - centre, 0.62 * thickness)
    share *= smoothstep(side, inner - 0.04, inner + 0.05)
    share *= 1 - smoothstep(side, outer - 0.03, outer + 0.05)
    return np.clip(share * np.clip(strands + 0.15 * coarse, 0.3, 1.1), 0, 1)


def _beard(
    side: Pixels, y: Pixels, z: Pixels, lips: Pixels, identity: Identity, fine: Pixels
) -> Pixels:
    """Share of beard hair."""
    moustache = smoothstep(y, 6.68, 6.72) * (1 - smoothstep(y, 6.82, 6.88))
    moustache *= 1 - smoothstep(side, 0.30, 0.42)
    region = moustache
    if identity.beard == "goatee":
        chin = (1 - smoothstep(y, 6.40, 6.48)) * (1 - smoothstep(side, 0.25, 0.36))
        region = np.maximum(moustache, chin)
    elif identity.beard == "full":
        cheeks = smoothstep(side, 0.50, 0.68) * (1 - smoothstep(y, 6.75, 7.0))
        region = np.maximum(moustache, np.maximum(1 - smoothstep(y, 6.42, 6.52), cheeks))
    region = region * (1 - lips) * smoothstep(z, 0.15, 0.5) * smoothstep(y, 5.95, 6.2)
    return np.clip(region * identity.beard_density * (1 + 0.25 * fine), 0, 0.92)


# ------------------------------------------------------------------------------------- noise


@functools.lru_cache(maxsize=64)
def _noise_texture(seed: int) -> Float64[np.ndarray, "n n"]:
    """Periodic 1/f noise, mean 0, standard deviation 1."""
    white = np.random.default_rng(seed).normal(size=(_NOISE_SIZE, _NOISE_SIZE))
    f = np.fft.fftfreq(_NOISE_SIZE)
    frequency = np.hypot(f[:, None], f[None, :])
    frequency[0, 0] = 1.0
    pink = np.fft.ifft2(np.fft.fft2(white) / frequency).real
    return (pink - pink.mean()) / pink.std()


def noise(
    seed: int, u: Float64[np.ndarray, "*n"], v: Float64[np.ndarray, "*n"]
) -> Float64[np.ndarray, "*n"]:
    """The noise texture of `seed` at (u, v), which repeats at every integer; bilinear."""
    texture = _noise_texture(seed)
    x, y = u * _NOISE_SIZE, v * _NOISE_SIZE
    j, i = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = x - j, y - i
    j0, j1, i0, i1 = j % _NOISE_SIZE, (j + 1) % _NOISE_SIZE, i % _NOISE_SIZE, (i + 1) % _NOISE_SIZE
    upper = texture[i0, j0] * (1 - fx) + texture[i0, j1] * fx
    lower = texture[i1, j0] * (1 - fx) + texture[i1, j1] * fx
    return upper * (1 - fy) + lower * fy
