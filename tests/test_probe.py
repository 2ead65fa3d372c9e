"""The leak probe: planted people are found, what nobody left behind is not, ties are chance."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ifgan_jax import probe
from ifgan_jax.probe import Groups, Images, principal_components, probe_identity, probe_labels

EXPRESSIONS = 6


def people(first, count, rng, person=0.0, expression=0.0, noise=1.0, dims=24):
    """Images whose features are a person's own vector, an expression's, and noise."""
    subjects = np.repeat(np.arange(first, first + count), 2 * EXPRESSIONS)
    labels = np.tile(np.repeat(np.arange(EXPRESSIONS), 2), count)
    own = rng.normal(size=(count, dims))[subjects - first]
    shown = np.random.default_rng(99).normal(size=(EXPRESSIONS, dims))[labels]
    features = person * own + expression * shown + noise * rng.normal(size=(len(labels), dims))
    return Images(features.astype(np.float32), labels, subjects)


def groups(seed=0, **strengths):
    rng = np.random.default_rng(seed)
    counts = {0: 40, 100: 15, 200: 30}
    return Groups(*(people(first, count, rng, **strengths) for first, count in counts.items()))


def components(**strengths):
    return principal_components(groups(**strengths))


def test_planted_people_are_found():
    found = probe_identity(components(person=1.0, expression=0.5, noise=0.2))
    assert found.rank_1.value > 0.98
    assert found.auc.value > 0.99
    assert found.linear_probe.value > 0.95
    assert found.rank_1.chance == found.linear_probe.chance == 1 / 30


def test_without_people_only_chance_is_left():
    """Of 30 people, 360 queries: the standard deviation of a guess is below 0.01."""
    found = probe_identity(components(expression=2.0))
    assert abs(found.rank_1.value - 1 / 30) < 0.04
    assert abs(found.auc.value - 0.5) < 0.04
    assert abs(found.linear_probe.value - 1 / 30) < 0.04
    assert found.rank_1.low <= found.rank_1.value <= found.rank_1.high


def test_expressions_are_told_whoever_shows_them():
    assert probe_labels(components(person=1.0, expression=1.0, noise=0.3)).value > 0.95
    without = probe_labels(components(person=1.0))
    assert without.chance == pytest.approx(1 / EXPRESSIONS)
    assert abs(without.value - without.chance) < 0.06


def test_a_constant_representation_is_exactly_at_chance():
    constant = Groups(*(x._replace(features=np.ones_like(x.features)) for x in groups(person=1.0)))
    constant = principal_components(constant)
    assert constant.gallery.features.shape == (360, 0)
    found = probe_identity(constant)
    assert found.rank_1[:3] == pytest.approx((1 / 30,) * 3)
    assert found.auc == pytest.approx((0.5,) * 4)
    assert found.linear_probe.value == pytest.approx(1 / 30)
    assert probe_labels(constant)[0] == pytest.approx(1 / EXPRESSIONS)


@pytest.fixture
def trials():
    images = people(0, 7, np.random.default_rng(3), person=0.5)
    return probe._trials(np.eye(24)[:, :5], images)


def test_trials_by_brute_force(trials):
    images = people(0, 7, np.random.default_rng(3), person=0.5)
    x = images.features[:, :5].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for trial, first in zip(trials, (0, 1), strict=True):
        row = 0
        for i in np.flatnonzero(images.labels % 2 != first):
            cosines = []
            for person in range(7):
                known = (images.subjects == person) & (images.labels % 2 == first)
                template = x[known].mean(0)
                cosines.append(x[i] @ template / np.linalg.norm(template))
            np.testing.assert_allclose(trial.scores[row], cosines, atol=1e-12)
            assert trial.people[trial.owner[row]] == images.subjects[i]
            hit = probe._found_first(trial)[0][row]
            assert hit == (np.argmax(cosines) == images.subjects[i])
            row += 1
        assert row == len(trial.scores)


def test_auc_against_scikit_learn(trials):
    trials = [t._replace(scores=np.round(t.scores, 1)) for t in trials]  # with ties
    same = [np.eye(7)[t.owner] for t in trials]
    truth, scores = np.concatenate(same).ravel(), np.concatenate([t.scores for t in trials]).ravel()
    orderings = probe._orderings(trials)
    assert probe._pooled_auc(orderings) == pytest.approx(roc_auc_score(truth, scores))
    weights = np.array([2.0, 0, 1, 1, 0, 3, 0])
    each = np.concatenate([weights[t.owner] for t in trials]).repeat(7)
    expected = roc_auc_score(truth, scores, sample_weight=each)
    assert probe._pooled_auc(orderings, weights) == pytest.approx(expected)


def test_interval_of_a_mean_is_the_textbooks():
    """400 people of one image each: ± 1.96 σ/√n."""
    values = np.random.default_rng(5).normal(3, 2, 400)
    measure = probe._over_people(values, np.arange(400), 0.0)
    half = 1.96 * values.std() / 20
    assert measure.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert measure.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_interval_is_over_people_not_images():
    """Ten images of each that are all alike tell no more than one."""
    values = np.random.default_rng(5).normal(3, 2, 50)
    one = probe._over_people(values, np.arange(50), 0.0)
    ten = probe._over_people(values.repeat(10), np.arange(50).repeat(10), 0.0)
    assert ten == pytest.approx(one)


def test_people_without_one_half_are_left_out():
    images = people(0, 5, np.random.default_rng(0))
    some = (images.subjects != 2) | (images.labels % 2 == 0)
    trials = probe._trials(np.eye(24), Images(*(x[some] for x in images)))
    assert all(2 not in trial.people for trial in trials)


def test_bad_groups_are_refused():
    good = groups()
    with pytest.raises(ValueError, match="40 people are in train and in gallery"):
        probe_identity(good._replace(gallery=good.train))
    spoilt = good.validation.features.copy()
    spoilt[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or Inf in the features of validation"):
        probe_labels(good._replace(validation=good.validation._replace(features=spoilt)))
    alone = Images(*(x[:12] for x in good.train))
    with pytest.raises(ValueError, match="train needs images of at least 2 people"):
        probe_identity(good._replace(train=alone))
