"""Names for the shapes that everything above shares. Images are NHWC, floats in [-1, 1].

b: images in the (global) batch, h w: pixels, c: channels, n: expression classes, d: features.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, UInt8

Image = Float[Array, "b h w c"]
PatchLogits = Float[Array, "b p q 1"]
Logits = Float[Array, "b n"]
Features = Float[Array, "b d"]
Labels = Int[Array, " b"]
Targets = Float[Array, "n h w c"]  # the average face of each expression, I_AE
PRNGKey = Key[Array, ""]
Params = Any  # a pytree of arrays, as Flax keeps `params` and `batch_stats`
Metrics = dict[str, jax.Array]


class Batch(NamedTuple):
    """One global batch as it comes from disk: grey levels before augmentation, canonical labels."""

    image: UInt8[Array, "b h w c"]
    label: Labels


def storage_dtype(compute_dtype: DTypeLike) -> jnp.dtype:
    """Type of parameters, statistics, losses and centres: float32, or float64 under float64."""
    return jnp.promote_types(compute_dtype, jnp.float32)


def to_model_range(grey: Any) -> jax.Array:
    """Grey levels in [0, 255] to the models' [-1, 1] (docs/decisions.md, row b)."""
    return jnp.asarray(grey, jnp.float32) / 127.5 - 1.0
