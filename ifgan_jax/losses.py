"""The terms of eq. 2 to 4, elementwise: callers reduce. Nothing here knows a model or a weight.

Logits are unnormalised; images are in [-1, 1]. Eq. 5 has a module of its own, `island`.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ifgan_jax.arrays import Image, Labels, Logits


def adversarial(logits: Float[Array, "*s"], *, real: bool) -> Float[Array, "*s"]:
    """Cross entropy of patch logits with "real" or "fake" (eq. 2): -log D or -log(1 - D).

    D descends `adversarial(real, real=True) + adversarial(fake, real=False)`, eq. 2 negated. G
    descends `adversarial(fake, real=True)`, the non-saturating form of its part (Goodfellow 2014).
    """
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, real))


def l1(generated: Image, target: Image) -> Image:
    """|I_AE - G(I_SE)| by pixel (eq. 3)."""
    return jnp.abs(target - generated)


def softmax_cross_entropy(logits: Logits, labels: Labels) -> Float[Array, " b"]:
    """-log p(l_e | pair) by image (eq. 4, whose printed form lacks the minus sign)."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
