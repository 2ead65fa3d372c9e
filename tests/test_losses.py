"""Closed forms of eq. 2 to 4."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax import losses


@pytest.mark.parametrize("logit", [-30.0, -1.5, 0.0, 2.0])
def test_adversarial_is_minus_log_d(logit: float, x64):
    d = 1 / (1 + math.exp(-logit))
    logits = jnp.full((2, 3, 3, 1), logit, jnp.float64)
    np.testing.assert_allclose(losses.adversarial(logits, real=True), -math.log(d), rtol=1e-12)
    expected = -math.log1p(-d) if logit > -20 else d
    np.testing.assert_allclose(losses.adversarial(logits, real=False), expected, rtol=1e-9)


def test_l1_is_by_pixel():
    generated = jnp.array([[[[0.25], [-1.0]]]])
    np.testing.assert_array_equal(
        losses.l1(generated, jnp.zeros_like(generated))[0, 0, :, 0], [0.25, 1.0]
    )


def test_softmax_cross_entropy(x64):
    logits = jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]))
    np.testing.assert_allclose(
        losses.softmax_cross_entropy(logits, jnp.array([2, 0])),
        [-math.log(0.5), -math.log(0.7)],
        rtol=1e-12,
    )
