"""The seven expressions in ARKit units."""

import numpy as np
import pytest

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic.expression import (
    CENTRAL,
    MAX_WEIGHT,
    PROTOTYPES,
    sample_expression,
    unit_strength,
)
from ifgan_jax.data.synthetic.head_model import HeadModel

# EMFACS (Friesen & Ekman 1983) in ARKit's words, written apart from the module's table: units that
# every variant moves, and units that none does.
MOVES = {
    Expression.ANGER: ("browDown", "noseSneer"),  # AU 4, 9 or 10
    Expression.DISGUST: ("noseSneer", "mouthUpperUp"),  # AU 9, 10
    Expression.FEAR: ("browInnerUp", "browDown", "eyeWide", "mouthStretch"),  # AU 1, 4, 5, 20
    Expression.HAPPINESS: ("mouthSmile", "cheekSquint"),  # AU 12, 6
    Expression.SADNESS: ("browInnerUp", "mouthFrown"),  # AU 1, 15
    Expression.SURPRISE: ("browInnerUp", "browOuterUp", "eyeWide", "jawOpen"),  # AU 1, 2, 5, 26
}
NEVER = {
    Expression.ANGER: ("browInnerUp", "mouthSmile"),
    Expression.DISGUST: ("browInnerUp", "eyeWide", "mouthSmile"),
    Expression.FEAR: ("mouthSmile", "noseSneer"),
    Expression.HAPPINESS: ("browDown", "browInnerUp", "mouthFrown"),
    Expression.SADNESS: ("mouthSmile", "eyeWide", "jawOpen"),
    Expression.SURPRISE: ("browDown", "mouthSmile", "mouthFrown"),
}


@pytest.fixture(scope="module")
def model():
    return HeadModel.load()


def draws(expression, intensity, n=12):
    return [sample_expression(np.random.default_rng(s), expression, intensity) for s in range(n)]


def test_every_unit_exists(model):
    for expression in Expression:
        for weights in draws(expression, 1.0):
            assert all(model.has(f"arkit/{unit}") for unit in weights)


def test_every_expression_has_a_prototype():
    assert set(PROTOTYPES) == set(Expression)


@pytest.mark.parametrize("expression", MOVES)
def test_right_units_move(expression):
    for weights in draws(expression, 1.0):
        for unit in MOVES[expression]:
            assert unit_strength(weights, unit) > 0.2, unit
        for unit in NEVER[expression]:
            assert unit_strength(weights, unit) == 0.0, unit


def rise(model, weights, vertices):
    moved = np.zeros_like(model.vertices)
    for name, weight in weights.items():
        model.add(moved, "arkit/" + name, weight)
    return moved[vertices, 1].mean()


def test_mouth_corners_rise_and_fall(model):
    corners = list(model.mouth_corners)
    for weights in draws(Expression.HAPPINESS, 1.0):
        assert rise(model, weights, corners) > 0.05  # dm
    for weights in draws(Expression.SADNESS, 1.0):
        assert rise(model, weights, corners) < -0.01


def test_brows_rise_and_fall(model):
    x, y, z = model.vertices.T
    brows = np.flatnonzero((np.abs(y - 7.45) < 0.05) & (np.abs(x) < 0.45) & (z > 1.2))
    for weights in draws(Expression.SURPRISE, 1.0):
        assert rise(model, weights, brows) > 0.01  # dm
    for weights in draws(Expression.ANGER, 1.0):
        assert rise(model, weights, brows) < -0.01


def test_stronger_means_larger():
    for expression in MOVES:
        weak, strong = draws(expression, 0.3), draws(expression, 0.7)
        for a, b in zip(weak, strong, strict=True):
            for unit in MOVES[expression]:
                assert unit_strength(a, unit) < unit_strength(b, unit)


def test_neutral_moves_eyes_only():
    for weights in draws(Expression.NEUTRAL, 0.0):
        assert all(name.startswith("eye") for name in weights)
        assert max(weights.values()) <= 0.5


def test_weights_are_bounded():
    for expression in Expression:
        for weights in draws(expression, 3.0):
            assert all(0 <= w <= MAX_WEIGHT for w in weights.values())


def test_both_eyes_look_the_same_way():
    for weights in draws(Expression.NEUTRAL, 0.0):
        assert ("eyeLookOutLeft" in weights) == ("eyeLookInRight" in weights)
        assert weights["eyeBlinkLeft"] == weights["eyeBlinkRight"]


def test_unit_strength():
    assert unit_strength({"mouthSmileLeft": 0.4}, "mouthSmile") == pytest.approx(0.2)
    assert unit_strength({"jawOpen": 0.4}, "jawOpen") == pytest.approx(0.4)
    assert unit_strength({}, "jawOpen") == 0.0
    assert "jawOpen" in CENTRAL
