"""What an evaluation counts: confusion matrices, expression transfer, identity left.

Numpy in float64 and integers only: no jax, TensorFlow, config or file. Labels are `Expression`
values in [0, num_classes). Images are NHWC, uint8 or float in [-1, 1]; the two arrays of one call
share the scale. Confusion matrices merge by addition, so a test set may be cut into batches or
hosts in any way: never average the means of batches.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

Images = UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n h w c"]
Averages = UInt8[np.ndarray, "k h w c"] | Float[np.ndarray, "k h w c"]


def confusion_matrix(
    labels: Int[np.ndarray, " n"], predictions: Int[np.ndarray, " n"], num_classes: int
) -> Int[np.ndarray, "k k"]:
    """Counts of (true, predicted) pairs: rows are the truth, columns the prediction.

    Matrices of parts add up to the matrix of the whole; no examples give zeros.

    Raises:
      ValueError: lengths differ, or a value lies outside [0, num_classes).
    """
    _check_lengths(labels=labels, predictions=predictions)
    _check_range("labels", labels, num_classes)
    _check_range("predictions", predictions, num_classes)
    cells = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(confusion: Int[np.ndarray, "k k"]) -> float:
    """Σ_k c_kk / Σ_kl c_kl, in [0, 1]. Raises ValueError for a matrix without examples."""
    return float(np.trace(confusion) / _num_examples(confusion))


def per_class_recall(confusion: Int[np.ndarray, "k k"]) -> list[float | None]:
    """c_kk / Σ_l c_kl of each class k, in [0, 1]; None (empty in a table) for an absent class."""
    return [float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(confusion)]


def balanced_accuracy(confusion: Int[np.ndarray, "k k"]) -> float:
    """Mean recall over the classes present, in [0, 1]; absent classes count neither way.

    Raises ValueError for a matrix without examples.
    """
    _num_examples(confusion)
    return float(np.mean([r for r in per_class_recall(confusion) if r is not None]))


def transfer_accuracy(
    generated: Images, averages: Averages, labels: Int[np.ndarray, " n"]
) -> float:
    """How often a generated face looks most like the average face of its own expression.

    nearest_i = argmin_k Σ_pixels (generated_i − averages_k)², the lower k on a tie; the share is
    #{nearest_i = labels_i} / n. Row k of `averages` is the face of label k.

    Returns: the share, in [0, 1].

    Raises:
      ValueError: no faces, shapes or scales that differ, NaN or Inf, a label without average.
    """
    _check_images(generated=generated, averages=averages)
    _check_lengths(generated=generated, labels=labels)
    _check_range("labels", labels, len(averages))
    faces = generated.astype(np.float64)
    distances = [np.square(faces - average).sum((1, 2, 3)) for average in averages]
    nearest = np.argmin(distances, axis=0)
    return float(np.mean(nearest == labels))


def identity_variance(
    inputs: Images,
    generated: Images,
    labels: Int[np.ndarray, " n"],
    subjects: Shaped[np.ndarray, " n"],
) -> tuple[float | None, dict[int, float | None]]:
    """Share of the inputs' between-subject variance that remains in the generated faces.

    With m_es the mean image of subject s showing expression e, and M_e the mean of the m_es,
        B_e(x) = Σ_s Σ_pixels (m_es − M_e)²,   total = Σ_e B_e(generated) / Σ_e B_e(inputs).
    0: every subject gives the same face; 1: the subjects differ as much as before. What pose and
    light leave in a subject's mean counts too, in both terms alike.

    Returns: the total, and B_e(generated) / B_e(inputs) by label; None where fewer than two
    subjects show the expression (it adds nothing to the total) or their inputs are all alike. The
    total is None where that holds for every expression.

    Raises:
      ValueError: no faces, shapes, scales or lengths that differ, NaN or Inf.
    """
    _check_images(inputs=inputs, generated=generated)
    _check_lengths(inputs=inputs, generated=generated, labels=labels, subjects=subjects)
    shares: dict[int, float | None] = {}
    before = after = 0.0
    for label in np.unique(labels):
        rows = labels == label
        b_inputs = _between_subjects(inputs[rows], subjects[rows])
        b_generated = _between_subjects(generated[rows], subjects[rows])
        shares[int(label)] = b_generated / b_inputs if b_inputs else None
        before, after = before + b_inputs, after + b_generated
    return after / before if before else None, shares


def _between_subjects(images: Images, subjects: Shaped[np.ndarray, " n"]) -> float:
    """Σ_s Σ_pixels (m_s − mean of m)², exactly 0 for one subject."""
    means = [images[subjects == s].mean(0, dtype=np.float64) for s in np.unique(subjects)]
    return float(np.square(means - np.mean(means, axis=0)).sum())


def _num_examples(confusion: Int[np.ndarray, "k k"]) -> int:
    if not (total := int(confusion.sum())):
        raise ValueError("the confusion matrix holds no examples")
    return total


def _check_lengths(**arrays: Shaped[np.ndarray, "..."]) -> None:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"lengths differ: {lengths}")


def _check_range(name: str, values: Int[np.ndarray, " n"], num_classes: int) -> None:
    if bad := [int(v) for v in np.unique(values) if not 0 <= v < num_classes]:
        raise ValueError(f"{name} outside [0, {num_classes}): {bad}")


def _check_images(**arrays: Shaped[np.ndarray, "..."]) -> None:
    if empty := [name for name, array in arrays.items() if not len(array)]:
        raise ValueError(f"no images in {empty[0]}")
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"image shapes (h, w, c) differ: {shapes}")
    if len({array.dtype.kind for array in arrays.values()}) > 1:
        dtypes = {name: str(array.dtype) for name, array in arrays.items()}
        raise ValueError(f"scales differ, give all as uint8 or all as float in [-1, 1]: {dtypes}")
    if bad := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise ValueError(f"NaN or Inf in {bad[0]}")
