"""Island loss (eq. 5; Cai et al. 2018): class centres, their delta rule, and the two terms.

The centres (one row an expression, float32 or wider) are state, not parameters: no optimizer sees
them and no gradient reaches them. α is the weight of eq. 5's pair term, `step` the centres' own
step size (0.5 in the island-loss paper).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ifgan_jax.arrays import Features, Labels, PRNGKey, storage_dtype

Centres = Float[Array, "n d"]


def init_centres(
    key: PRNGKey, num_classes: int, num_features: int, *, deviation: float, dtype: DTypeLike
) -> Centres:
    """Gaussian centres; zeros would leave the cosine of eq. 5 undefined."""
    shape = (num_classes, num_features)
    return deviation * jax.random.normal(key, shape, storage_dtype(dtype))


def distances(features: Features, labels: Labels, centres: Centres) -> Float[Array, "b d"]:
    """(x_i - c_yi)², first term of eq. 5 by image and feature; the centres are held."""
    return jnp.square(features - jax.lax.stop_gradient(centres)[labels])


# How eq. 5 adds the squares up: the sum as printed, or its mean over images, or over both.
REDUCTIONS: dict[str, Callable[[Float[Array, "b d"]], Float[Array, ""]]] = {
    "sum": jnp.sum,
    "mean_images": lambda squares: squares.sum(-1).mean(),
    "mean_images_and_features": jnp.mean,
}


def _unit(centres: Centres) -> tuple[Centres, Float[Array, "n 1"]]:
    """Centres over their norms, and the norms, kept away from zero."""
    norms = jnp.linalg.norm(centres, axis=-1, keepdims=True)
    norms = jnp.maximum(norms, jnp.finfo(centres.dtype).tiny ** 0.5)
    return centres / norms, norms


def pair_term(centres: Centres) -> Float[Array, "n n"]:
    """cos(c_j, c_k) + 1 for j ≠ k and 0 on the diagonal: second term of eq. 5 by pair."""
    unit, _ = _unit(centres)
    cosines = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
    return (cosines + 1) * (1 - jnp.eye(len(centres), dtype=centres.dtype))


def update_centres(
    centres: Centres, features: Features, labels: Labels, *, step: float, alpha: float
) -> Centres:
    """One delta-rule step, c_j ← c_j - step Δc_j (island-loss paper, after Wen et al. 2016).

        Δc_j = Σ_i [y_i = j] (c_j - x_i) / (1 + n_j)
               + α/(N-1) Σ_{k≠j} (c_k / (|c_k||c_j|) - (c_k·c_j) c_j / (|c_k||c_j|³))

    n_j counts the batch's images of class j: an absent class moves by the pair term alone. Not the
    gradient of eq. 5, which has 2 in place of 1/(1 + n_j) and of 1/(N-1).
    """
    member = jax.nn.one_hot(labels, len(centres), dtype=centres.dtype)  # (b, n)
    count = member.sum(0)[:, None]
    # At full precision: TF32 or bfloat16 products would leave their error in the centres.
    summed = jnp.matmul(
        member.T, features.astype(centres.dtype), precision=jax.lax.Precision.HIGHEST
    )
    pull = (count * centres - summed) / (1 + count)
    unit, norms = _unit(centres)
    others = unit.sum(0) - unit  # Σ_{k≠j} c_k / |c_k|
    along = (others * unit).sum(-1, keepdims=True)
    push = (others - along * unit) / norms / (len(centres) - 1)
    return centres - step * (pull + alpha * push)
