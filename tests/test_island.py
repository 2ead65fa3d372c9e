"""Eq. 5 and the centres' delta rule against loops written from the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax import island

ALPHA, STEP = 0.03, 0.5


@pytest.fixture
def example(x64):
    """Five images of three classes out of four: class 2 is absent."""
    rng = np.random.default_rng(0)
    centres, features = rng.normal(size=(4, 7)), rng.normal(size=(5, 7))
    return centres, features, np.array([0, 1, 1, 3, 1])


def delta(centres: np.ndarray, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Δc_j by loops (Cai et al. 2018), α the weight of the pair term."""
    n = len(centres)
    change = np.zeros_like(centres)
    for j in range(n):
        mine = features[labels == j]
        pull = sum((centres[j] - x for x in mine), np.zeros(centres.shape[1])) / (1 + len(mine))
        push = np.zeros(centres.shape[1])
        for k in range(n):
            if k != j:
                a, b = np.linalg.norm(centres[k]), np.linalg.norm(centres[j])
                dot = centres[k] @ centres[j]
                push += centres[k] / (a * b) - dot * centres[j] / (a * b**3)
        change[j] = pull + ALPHA / (n - 1) * push
    return change


def test_delta_rule(example):
    centres, features, labels = example
    new = island.update_centres(*map(jnp.asarray, example), step=STEP, alpha=ALPHA)
    expected = centres - STEP * delta(centres, features, labels)
    np.testing.assert_allclose(new, expected, rtol=1e-12)


def test_absent_class_moves_by_the_pair_term_alone(example):
    centres, features, labels = map(jnp.asarray, example)
    new = island.update_centres(centres, features, labels, step=STEP, alpha=ALPHA)
    without = island.update_centres(centres, features, labels, step=STEP, alpha=0.0)
    assert not np.array_equal(new[2], centres[2])
    np.testing.assert_array_equal(without[2], centres[2])


def test_pair_term(example):
    centres = example[0]
    expected = np.zeros((4, 4))
    for j in range(4):
        for k in range(4):
            if j != k:
                cosine = centres[j] @ centres[k]
                cosine /= np.linalg.norm(centres[j]) * np.linalg.norm(centres[k])
                expected[j, k] = cosine + 1
    np.testing.assert_allclose(island.pair_term(jnp.asarray(centres)), expected, atol=1e-12)


def test_push_is_the_pair_terms_gradient_over_twice_n_minus_one(example):
    """The gradient counts each pair twice and has no 1/(N-1): components note 2.3."""
    centres, features, labels = map(jnp.asarray, example)
    moved = island.update_centres(centres, features, labels, step=1.0, alpha=1.0)
    unmoved = island.update_centres(centres, features, labels, step=1.0, alpha=0.0)
    gradient = jax.grad(lambda c: island.pair_term(c).sum())(centres)
    np.testing.assert_allclose(unmoved - moved, gradient / (2 * 3), rtol=1e-10)


@pytest.mark.parametrize(
    ("reduction", "divisor"),
    [("sum", 1), ("mean_images", 5), ("mean_images_and_features", 35)],
)
def test_reductions(example, reduction, divisor):
    centres, features, labels = example
    squares = island.distances(*map(jnp.asarray, (features, labels, centres)))
    expected = sum(np.sum((x - centres[y]) ** 2) for x, y in zip(features, labels, strict=True))
    np.testing.assert_allclose(
        island.REDUCTIONS[reduction](squares), expected / divisor, rtol=1e-12
    )


def test_gradient_reaches_features_and_not_centres(example):
    centres, features, labels = map(jnp.asarray, example)
    to_features, to_centres = jax.grad(lambda x, c: island.distances(x, labels, c).sum(), (0, 1))(
        features, centres
    )
    np.testing.assert_allclose(to_features, 2 * (features - centres[labels]), rtol=1e-12)
    assert not np.any(to_centres)


def test_zero_centres_stay_finite():
    zeros = jnp.zeros((3, 4))
    new = island.update_centres(zeros, jnp.ones((2, 4)), jnp.array([0, 0]), step=0.5, alpha=0.03)
    assert np.isfinite(new).all()


def test_initial_deviation():
    centres = island.init_centres(jax.random.key(0), 6, 2048, deviation=3.0, dtype=jnp.bfloat16)
    assert centres.dtype == jnp.float32
    assert float(centres.std()) == pytest.approx(3.0, rel=0.02)
