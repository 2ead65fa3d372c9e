"""How well people, and their expressions, can be told from a representation of their faces.

A representation is one vector for each image. Its probe is linear: principal components, then
Fisher's discriminant, both fitted on other people, its strength chosen on others still; every
representation gets the same. Intervals are bootstrapped over the people tested. Numpy and
scikit-learn (extra `probe`): no jax, TensorFlow, config or file.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Num
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ifgan_jax import bootstrap

COMPONENTS = 256  # principal components kept at most
SHRINKAGES = (0.001, 0.01, 0.1, 0.5, 0.9)  # of the covariance within a class, to choose from
DIMENSIONS = (8, 32, 128)  # of the space in which people are compared, to choose from
RESAMPLES = 1000
SEED = 0  # of the resampling


class Images(NamedTuple):
    """n images: what is probed, the expressions they show, and whom (numbers of people)."""

    features: Num[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"]
    subjects: Int[np.ndarray, " n"]


class Groups(NamedTuple):
    """Images of three groups of people who share nobody."""

    train: Images  # fits the probe
    validation: Images  # chooses its strength
    gallery: Images  # is measured


class Measure(NamedTuple):
    """A figure with its interval over people, and what guessing reaches."""

    value: float
    low: float
    high: float
    chance: float


class Identity(NamedTuple):
    """How well a person is found again when showing another expression.

    rank_1: the nearest of the gallery is the query's person. auc: two images of one person are
    nearer than two of two. linear_probe: a linear classifier of the gallery's people names the
    query's.
    """

    rank_1: Measure
    auc: Measure
    linear_probe: Measure


def principal_components(groups: Groups) -> Groups:
    """Those of the training people's images, COMPONENTS at most: what the probes then work on.

    Raises ValueError as `check`.
    """
    check(groups)
    fitted = groups.train.features.astype(np.float64)
    mean, scale = fitted.mean(0), fitted.std(0).max()  # one scale: pixels keep their proportions
    if not scale:
        return Groups(*(images._replace(features=images.features[:, :0]) for images in groups))
    pca = PCA(min(COMPONENTS, *fitted.shape), random_state=SEED).fit((fitted - mean) / scale)
    varies = pca.explained_variance_ > 1e-9

    def reduce(images: Images) -> Images:
        features = pca.transform((images.features - mean) / scale)[:, varies]
        return images._replace(features=features)

    return Groups(*map(reduce, groups))


def probe_identity(groups: Groups) -> Identity:
    """The person, from images of other expressions. Raises ValueError as `check`."""
    check(groups)
    train, validation, gallery = groups
    metric = max(
        _metrics(train), key=lambda metric: _pooled_auc(_orderings(_trials(metric, validation)))
    )
    shrinkage = max(SHRINKAGES, key=lambda s: float(_named(validation, s)[0].mean()))
    trials = _trials(metric, gallery)
    hits, subjects = (np.concatenate(x) for x in zip(*map(_found_first, trials), strict=True))
    orderings = _orderings(trials)
    chance = 1 / len(np.unique(gallery.subjects))
    return Identity(
        rank_1=_over_people(hits, subjects, chance),
        auc=Measure(
            _pooled_auc(orderings),
            *_interval(lambda w: _pooled_auc(orderings, w), len(orderings.right)),
            0.5,
        ),
        linear_probe=_over_people(*_named(gallery, shrinkage), chance),
    )


def probe_labels(groups: Groups) -> Measure:
    """What `labels` name, from images of other people; guessing says the most frequent label.

    Raises ValueError as `check`.
    """
    check(groups)
    train, validation, gallery = groups

    def right(images: Images, shrinkage: float) -> Float64[np.ndarray, " n"]:
        predicted = _classify(train.features, train.labels, images.features, shrinkage)
        return (predicted == images.labels).astype(float)

    shrinkage = max(SHRINKAGES, key=lambda s: float(right(validation, s).mean()))
    chance = float(np.mean(gallery.labels == _most_frequent(train.labels)))
    return _over_people(right(gallery, shrinkage), gallery.subjects, chance)


def check(groups: Groups) -> None:
    """ValueError for people in two groups, too few of them, NaN or Inf."""
    named = list(zip(Groups._fields, groups, strict=True))
    for (name, images), (other, others) in itertools.combinations(named, 2):
        if shared := set(images.subjects.tolist()) & set(others.subjects.tolist()):
            raise ValueError(f"probe: {len(shared)} people are in {name} and in {other}")
    for name, images in named:
        if len(np.unique(images.subjects)) < 2:
            raise ValueError(f"probe: {name} needs images of at least 2 people")
        if not np.isfinite(images.features).all():
            raise ValueError(f"probe: NaN or Inf in the features of {name}")


def _discriminant(
    features: Float[np.ndarray, "n d"], classes: Int[np.ndarray, " n"], shrinkage: float
) -> LinearDiscriminantAnalysis:
    return LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage).fit(features, classes)


def _metrics(train: Images) -> Iterator[Float64[np.ndarray, "d k"]]:
    """Projections in which people lie apart, of each strength; 0 wide where nothing varies."""
    if not train.features.shape[1]:
        yield np.zeros((0, 0))
        return
    for shrinkage in SHRINKAGES:
        scalings = _discriminant(train.features, train.subjects, shrinkage).scalings_
        wide = min(scalings.shape[1], len(np.unique(train.subjects)) - 1)
        yield from (scalings[:, : min(k, wide)] for k in DIMENSIONS)


def _classify(
    fitted: Float[np.ndarray, "n d"],
    classes: Int[np.ndarray, " n"],
    features: Float[np.ndarray, "m d"],
    shrinkage: float,
) -> Int[np.ndarray, " m"]:
    """The class of each row by the linear discriminant; the most frequent where nothing varies."""
    if not fitted.shape[1]:
        return np.full(len(features), _most_frequent(classes))
    return _discriminant(fitted, classes, shrinkage).predict(features)


def _most_frequent(classes: Int[np.ndarray, " n"]) -> int:
    """The smallest of equals."""
    values, counts = np.unique(classes, return_counts=True)
    return int(values[counts.argmax()])


class Trial(NamedTuple):
    """Queries against a gallery: cosines, the row of each query's person, who the people are."""

    scores: Float64[np.ndarray, "q p"]
    owner: Int[np.ndarray, " q"]
    people: Int[np.ndarray, " p"]


def _halves(images: Images) -> Iterator[tuple[Images, Images]]:
    """(gallery, queries) of other expressions, and the other way round; people who have both."""
    expressions = np.unique(images.labels)
    for first in (0, 1):
        known = np.isin(images.labels, expressions[first::2])
        both = np.intersect1d(images.subjects[known], images.subjects[~known])
        use = np.isin(images.subjects, both)
        gallery, queries = (Images(*(x[use & part] for x in images)) for part in (known, ~known))
        yield gallery, queries


def _trials(metric: Float64[np.ndarray, "d k"], images: Images) -> list[Trial]:
    trials = []
    for known, queries in _halves(images):
        people, owner = np.unique(queries.subjects, return_inverse=True)
        points, asked = (_unit(x.features[:, : len(metric)] @ metric) for x in (known, queries))
        templates = _unit(np.stack([points[known.subjects == who].mean(0) for who in people]))
        trials.append(Trial(asked @ templates.T, owner, people))
    return trials


def _unit(vectors: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length == 0, 1, length)


def _found_first(trial: Trial) -> tuple[Float64[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """1 where the query's person is nearest, 1/t when t are equally near; and who it is."""
    nearest = trial.scores == trial.scores.max(1, keepdims=True)
    hit = nearest[np.arange(len(nearest)), trial.owner] / nearest.sum(1)
    return hit, trial.people[trial.owner]


class Orderings(NamedTuple):
    """By person i of a same-person pair and j of a pair of two: how often the first is nearer."""

    right: Float64[np.ndarray, "p p"]  # ties count one half
    same: Float64[np.ndarray, " p"]  # pairs
    different: Float64[np.ndarray, " p"]


def _orderings(trials: list[Trial]) -> Orderings:
    people = np.unique(np.concatenate([trial.people for trial in trials]))
    same: list[list[float]] = [[] for _ in people]
    different: list[list[float]] = [[] for _ in people]
    for trial in trials:
        rows = np.searchsorted(people, trial.people[trial.owner])
        for scores, owner, row in zip(trial.scores, trial.owner, rows, strict=True):
            same[row].append(scores[owner])
            different[row].extend(np.delete(scores, owner))
    right = np.zeros((len(people), len(people)))
    for j, others in enumerate(map(np.sort, different)):
        for i, own in enumerate(same):
            below, not_above = (np.searchsorted(others, own, side) for side in ("left", "right"))
            right[i, j] = (below.sum() + not_above.sum()) / 2
    return Orderings(right, *(np.array([len(x) for x in y], float) for y in (same, different)))


def _pooled_auc(orderings: Orderings, weights: Float64[np.ndarray, " p"] | None = None) -> float:
    """Area under the ROC curve of all pairs, each person counted `weights` times."""
    w = np.ones(len(orderings.right)) if weights is None else weights
    right, same, different = orderings
    return float(w @ right @ w / ((w @ same) * (w @ different)))


def _named(
    images: Images, shrinkage: float
) -> tuple[Float64[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """1 where a classifier of the people, fitted on one half of the expressions, is right."""
    right, subjects = [], []
    for known, queries in _halves(images):
        named = _classify(known.features, known.subjects, queries.features, shrinkage)
        right.append((named == queries.subjects).astype(float))
        subjects.append(queries.subjects)
    return np.concatenate(right), np.concatenate(subjects)


def _over_people(
    values: Float64[np.ndarray, " n"], subjects: Int[np.ndarray, " n"], chance: float
) -> Measure:
    """The mean over images, its interval over people."""
    people, row = np.unique(subjects, return_inverse=True)
    total, images = np.bincount(row, values), np.bincount(row).astype(float)
    interval = _interval(lambda w: float((w @ total) / (w @ images)), len(people))
    return Measure(float(values.mean()), *interval, chance)


def _interval(
    statistic: Callable[[Float64[np.ndarray, " p"]], float], num_people: int
) -> tuple[float, float]:
    """Of a statistic of how often each person counts."""
    drawn = bootstrap.weights(np.random.default_rng(SEED), num_people, RESAMPLES)
    return bootstrap.interval([statistic(weights) for weights in drawn.astype(float)])
