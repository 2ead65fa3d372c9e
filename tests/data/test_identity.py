"""Who is rendered."""

import dataclasses

import numpy as np
import pytest

from ifgan_jax.data.synthetic.head_model import HeadModel
from ifgan_jax.data.synthetic.identity import AGES, BEARDS, HAIR_STYLES, sample_identity
from ifgan_jax.data.synthetic.shape import local_modifiers, smoothstep, three_way


@pytest.fixture(scope="module")
def model():
    return HeadModel.load()


@pytest.fixture(scope="module")
def people(model):
    return [sample_identity(np.random.default_rng(seed), model) for seed in range(25)]


def test_pure_function_of_the_stream(model, people):
    again = sample_identity(np.random.default_rng(3), model)
    for field in dataclasses.fields(again):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(people[3], field.name))


def test_model_is_left_alone(model):
    before = model.vertices.copy()
    sample_identity(np.random.default_rng(0), model)
    np.testing.assert_array_equal(model.vertices, before)


def test_people_differ_more_than_a_millimetre(people):
    shapes = np.stack([p.vertices for p in people])
    distance = np.abs(shapes[:, None] - shapes[None]).max((2, 3))
    assert distance[~np.eye(len(people), dtype=bool)].min() > 0.01  # dm


def test_head_units(model, people):
    """Origin between the eyes, and eye distance and eye-to-mouth as the mean head's on average."""
    left, right = (model.vertices[eye].mean(0) for eye in model.eyes)
    reference = np.linalg.norm(left - right)
    for person in people:
        left, right = (person.vertices[eye].mean(0) for eye in model.eyes)
        np.testing.assert_allclose(left + right, 0, atol=1e-9)
        assert 0.7 * reference < np.linalg.norm(left - right) < 1.3 * reference


def test_ranges(people):
    for p in people:
        assert sum(p.race) == pytest.approx(1.0)
        assert 0 <= p.gender <= 1
        assert p.age in AGES
        assert p.hair in HAIR_STYLES
        assert p.beard in BEARDS
        assert (p.beard == "none") == (p.beard_density == 0)
        assert p.gender >= 0.6 or p.beard == "none"
        for reflectance in (p.skin, p.lips * p.skin, p.iris, p.hair_tone):
            assert 0 < reflectance < 1
    assert len({p.hair for p in people}) == 3
    assert len({p.age for p in people}) >= 3


@pytest.mark.parametrize("value", [-1.0, -0.3, 0.0, 0.6])
def testthree_way_weights(value):
    weights = three_way(value, "weight")
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["maxweight"] - weights["minweight"] == pytest.approx(value)


def test_modifiers_tie_the_sides_and_leave_expressions_out(model):
    modifiers = dict(local_modifiers(model))
    assert modifiers["eye-scale"] == (
        ("local/l-eye-scale-decr", "local/l-eye-scale-incr"),
        ("local/r-eye-scale-decr", "local/r-eye-scale-incr"),
    )
    assert modifiers["head-oval"] == ((None, "local/head-oval"),)
    assert not [stem for stem in modifiers if stem.startswith(("asym", "mouth-angles", "neck"))]
    targets = [t for sides in modifiers.values() for side in sides for t in side if t]
    assert len(set(targets)) == len(targets)
    assert all(model.has(target) for target in targets)


def test_smoothstep():
    x = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    np.testing.assert_allclose(smoothstep(x, 0.0, 1.0), [0, 0, 0.5, 1, 1])
