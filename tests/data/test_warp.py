"""The maps and the warp, against closed forms, least squares and rendered faces' true points."""

import numpy as np
import pytest

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic.parallel import Request, record
from ifgan_jax.data.warp import FRAME, TEMPLATE, affine, similarity, warp
from tests.data import deliveries

RNG = np.random.default_rng(0)
FACES = [TEMPLATE * s + RNG.normal(0, 9, (3, 2)) + (40, -20) for s in (0.3, 1.0, 4.0)]


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("points", FACES)
def test_similarity_is_the_least_squares_one(points: np.ndarray):
    """Against numpy's solver on the linear system in (a, b, x, y)."""
    system = np.concatenate([[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in points])
    a, b, x, y = np.linalg.lstsq(system, TEMPLATE.ravel(), rcond=None)[0]
    expected = np.array([[a, -b, x], [b, a, y]])
    np.testing.assert_allclose(
        moved(similarity(points), points), moved(expected, points), atol=1e-6
    )
    np.testing.assert_allclose(similarity(points), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("points", FACES)
def test_affine_hits_all_three(points: np.ndarray):
    np.testing.assert_allclose(moved(affine(points), points), TEMPLATE, atol=1e-9)


def spots(points: np.ndarray, size: int) -> np.ndarray:
    """Bright spots with their centres at these points."""
    y, x = np.mgrid[:size, :size] + 0.5
    sum_of = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 9.0)) for px, py in points)
    return np.rint(200 * sum_of).clip(0, 255).astype(np.uint8)


def centre(image: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Centre of mass of the light around a point."""
    y, x = np.mgrid[: len(image), : len(image)] + 0.5
    weight = image * (np.hypot(x - near[0], y - near[1]) < 15).astype(float)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("size", [256, 512])
@pytest.mark.parametrize("seed", range(4))
def test_affine_puts_true_points_onto_the_template(size: int, seed: int):
    """Eyes and nose tip of a rendered face, marked in the picture, within 0.1 px."""
    request = Request(seed, 0, Expression.FEAR, 1.0, 0, 256, "hard")
    points = record(request)["landmarks"][:3].astype(np.float64) * size / 256
    image = warp(spots(points, size), affine(points), FRAME)
    for target in TEMPLATE:
        assert np.abs(centre(image, target) - target).max() < 0.1


def test_the_frame_is_scaled_with_its_size():
    points = TEMPLATE + 3.0
    image = warp(spots(points, 256), similarity(points), 128)
    for target in TEMPLATE / 2:
        assert np.abs(centre(image, target) - target).max() < 0.1


def test_identity_and_what_lies_beyond():
    face = deliveries.rendered("a", Expression.ANGER, 1.0, 0)
    image = np.asarray(np.kron(face, np.ones((4, 4), np.uint8)))[:256, :256]
    same = np.array([[1.0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(warp(image, same, 256), image)
    low = image[:200]  # neither square nor of the frame's size
    for right, down in ((100, 0), (-100, 0), (0, 100), (0, -100)):
        shifted = warp(low, np.array([[1.0, 0, right], [0, 1, down]]), 256)
        row = np.clip(np.arange(256) - down, 0, 199)
        column = np.clip(np.arange(256) - right, 0, 255)
        np.testing.assert_array_equal(shifted, low[row][:, column], f"{right}, {down}")


def test_rendered_faces_lie_where_photographs_are_put():
    requests = [Request(0, n, Expression.NEUTRAL, 0.0, 0, 256, "easy") for n in range(10)]
    points = np.mean([record(request)["landmarks"][:3] for request in requests], axis=0)
    assert np.abs(points - TEMPLATE).max() < 4


def test_a_picture_that_shrinks_is_averaged():
    """A bright line in every four becomes even grey: no line is passed over."""
    fine = ((np.indices((1024, 1024))[1] % 4 == 0) * 200).astype(np.uint8)
    image = warp(fine, np.array([[0.25, 0, 0], [0, 0.25, 0]]), 256)
    assert np.ptp(image[4:-4, 4:-4]) <= 2
    assert abs(float(image.mean()) - 50) < 2
