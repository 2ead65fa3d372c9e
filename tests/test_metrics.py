"""Metrics against loops over single examples and numbers worked out by hand."""

import collections

import numpy as np
import pytest

from ifgan_jax import metrics

# Seven examples, three classes, class 1 never the truth; counted by hand.
LABELS = np.array([0, 0, 0, 0, 2, 2, 2])
PREDICTIONS = np.array([0, 0, 0, 1, 2, 0, 0])
CONFUSION = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 1]])


def test_confusion_has_truth_in_rows():
    np.testing.assert_array_equal(metrics.confusion_matrix(LABELS, PREDICTIONS, 3), CONFUSION)


def test_confusion_equals_loop_and_merges():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 7, (2, 200), dtype=np.int32)
    expected = np.zeros((7, 7), int)
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label, prediction] += 1
    parts = [slice(0, 0), slice(0, 3), slice(3, 150), slice(150, 200)]
    merged = sum(metrics.confusion_matrix(labels[p], predictions[p], 7) for p in parts)
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, predictions, 7), expected)
    np.testing.assert_array_equal(merged, expected)


def test_confusion_of_small_integers_does_not_overflow():
    labels = np.full(5, 99, np.int8)  # 99 · 100 + 99 is beyond int8
    assert metrics.confusion_matrix(labels, labels, 100)[99, 99] == 5


def test_accuracies_by_hand():
    assert metrics.accuracy(CONFUSION) == pytest.approx(4 / 7, rel=1e-15)
    assert metrics.per_class_recall(CONFUSION) == [0.75, None, pytest.approx(1 / 3)]
    assert metrics.balanced_accuracy(CONFUSION) == pytest.approx((3 / 4 + 1 / 3) / 2, rel=1e-15)


def test_no_examples_is_an_error():
    empty = np.zeros((3, 3), int)
    for measure in (metrics.accuracy, metrics.balanced_accuracy):
        with pytest.raises(ValueError, match="holds no examples"):
            measure(empty)
    assert metrics.per_class_recall(empty) == [None] * 3


def test_labels_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"labels outside \[0, 3\): \[-1, 7\]"):
        metrics.confusion_matrix(np.array([0, 7, -1]), np.array([0, 1, 2]), 3)
    with pytest.raises(ValueError, match=r"predictions outside \[0, 3\): \[3\]"):
        metrics.confusion_matrix(np.array([0, 1, 2]), np.array([0, 1, 3]), 3)


def test_lengths_are_named(unchecked):
    with pytest.raises(ValueError, match=r"'labels': 2, 'predictions': 3"):
        metrics.confusion_matrix(np.zeros(2, int), np.zeros(3, int), 3)


def test_transfer_accuracy_equals_loop():
    rng = np.random.default_rng(2)
    averages = rng.uniform(-1, 1, (4, 3, 5, 1)).astype(np.float32)
    labels = rng.integers(0, 4, 40)
    generated = np.clip(averages[labels] + rng.normal(0, 1, (40, 3, 5, 1)), -1, 1)
    expected = []
    for face in generated:
        distances = [((face - a).astype(np.float64) ** 2).sum() for a in averages]
        expected.append(distances.index(min(distances)))
    generated = generated.astype(np.float32)
    assert metrics.transfer_accuracy(generated, averages, np.array(expected)) == 1  # all of them
    share = metrics.transfer_accuracy(generated, averages, labels)
    assert share == np.mean(np.array(expected) == labels)
    assert 0.3 < share < 1  # noise strong enough that both outcomes occur


def test_transfer_accuracy_of_uint8_does_not_wrap():
    averages = np.array([0, 250], np.uint8).reshape(2, 1, 1, 1)
    generated = np.array([240, 10], np.uint8).reshape(2, 1, 1, 1)
    shares = [metrics.transfer_accuracy(generated, averages, np.array(x)) for x in ([1, 0], [1, 1])]
    assert shares == [1, 0.5]


def identity_variance_loop(inputs, generated, labels, subjects):
    """The docstring's formula, one image at a time."""
    totals = collections.Counter()
    for name, images in {"in": inputs, "out": generated}.items():
        for e in set(labels):
            groups = collections.defaultdict(list)
            for image, label, subject in zip(images, labels, subjects, strict=True):
                if label == e:
                    groups[subject].append(image.astype(np.float64).ravel())
            means = {s: sum(g) / len(g) for s, g in groups.items()}
            middle = sum(means.values()) / len(means)
            totals[name] += sum(((m - middle) ** 2).sum() for m in means.values())
    return totals["out"] / totals["in"]


def test_identity_variance_equals_loop():
    rng = np.random.default_rng(3)
    labels, subjects = rng.integers(0, 3, 60), rng.choice(["S1", "S2", "S10", "S7"], 60)
    inputs, generated = rng.uniform(-1, 1, (2, 60, 4, 3, 1))
    generated *= 0.5
    total, by_label = metrics.identity_variance(inputs, generated, labels, subjects)
    assert total == pytest.approx(
        identity_variance_loop(inputs, generated, labels, subjects), rel=1e-12
    )
    assert set(by_label) == {0, 1, 2}


def test_identity_variance_scales_with_the_square():
    rng = np.random.default_rng(4)
    labels, subjects = np.repeat([0, 5], 6), np.tile(["a", "b", "c"], 4)
    inputs = rng.uniform(-1, 1, (12, 4, 4, 1))
    expression = labels[:, None, None, None] / 10  # the same for all subjects: must not count
    scale = np.where(labels == 0, 0.1, 0.5)[:, None, None, None]
    _, by_label = metrics.identity_variance(inputs, scale * inputs + expression, labels, subjects)
    assert by_label == {0: pytest.approx(0.01), 5: pytest.approx(0.25)}
    total, _ = metrics.identity_variance(
        inputs, np.zeros_like(inputs) + expression, labels, subjects
    )
    assert total == pytest.approx(0, abs=1e-25)
    assert metrics.identity_variance(inputs, inputs, labels, subjects)[0] == 1


def test_identity_variance_without_two_subjects_is_empty():
    inputs = np.random.default_rng(5).uniform(-1, 1, (5, 2, 2, 1))
    labels, subjects = np.array([0, 0, 0, 2, 2]), np.array(["a", "b", "b", "a", "a"])
    total, by_label = metrics.identity_variance(inputs, inputs / 2, labels, subjects)
    assert by_label == {0: pytest.approx(0.25), 2: None}
    assert total == pytest.approx(0.25)
    alone = metrics.identity_variance(inputs[3:], inputs[3:], labels[3:], subjects[3:])
    assert alone == (None, {2: None})  # leave-one-subject-out


def test_bad_images_are_named(unchecked):
    images, labels = np.zeros((2, 4, 4, 1)), np.zeros(2, int)
    cases = {
        r"no images in generated": (images[:0], images, labels[:0]),
        r"'generated': \(4, 4, 1\), 'averages': \(4, 5, 1\)": (
            images,
            np.zeros((2, 4, 5, 1)),
            labels,
        ),
        r"'generated': 'float64', 'averages': 'uint8'": (images, images.astype(np.uint8), labels),
        r"NaN or Inf in generated": (images + np.nan, images, labels),
        r"lengths differ: \{'generated': 2, 'labels': 1\}": (images, images, labels[:1]),
        r"labels outside \[0, 2\): \[2\]": (images, images, labels + 2),
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            metrics.transfer_accuracy(*arguments)
    with pytest.raises(ValueError, match="'subjects': 1"):
        metrics.identity_variance(images, images, labels, np.array(["a"]))
