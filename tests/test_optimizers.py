"""Adam with L2 and the step-wise schedule, against their formulas (PyTorch's: tests/parity)."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ifgan_jax.optimizers import adam_l2, steps_schedule


def test_schedule_drops_by_a_tenth_every_ten_epochs():
    schedule = steps_schedule(1e-4, decay=0.9, decay_every_epochs=10, steps_per_epoch=20)
    for step, expected in ((0, 1e-4), (199, 1e-4), (200, 0.9e-4), (1999, 1e-4 * 0.9**9)):
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-6)


def test_weight_decay_is_in_the_gradient(x64):
    """Kingma and Ba's recurrences with g + 1e-2 p in place of g, three steps by hand."""
    optimizer = adam_l2(lambda step: 1e-2, beta1=0.9, beta2=0.99, weight_decay=1e-2)
    p = expected = np.array([1.0, -2.0])
    params = jnp.asarray(p)
    state = optimizer.init(params)
    m = v = np.zeros(2)
    for t in range(1, 4):
        raw = np.array([0.3 * t, -0.1])
        g = raw + 1e-2 * expected
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        expected = expected - 1e-2 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        updates, state = optimizer.update(jnp.asarray(raw), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, expected, rtol=1e-10)
