"""Rasteriser, scene, shading and the finished picture."""

import dataclasses
import pathlib

import numpy as np
import pytest

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic import face
from ifgan_jax.data.synthetic.face import subject_identity
from ifgan_jax.data.synthetic.head_model import HeadModel
from ifgan_jax.data.synthetic.rasterize import interpolate, rasterize, vertex_normals
from ifgan_jax.data.synthetic.render import EYE_HEIGHT, FRAME, render
from ifgan_jax.data.synthetic.scene import DIFFICULTIES, rotation, sample_scene

GOLDEN = pathlib.Path(__file__).with_name("golden_faces.npz")
SIZE = 96


def frontal(**changes):
    """A scene without noise, shift or zoom, seen from the front."""
    scene = sample_scene(np.random.default_rng(0), "easy")
    plain = {"pose": (0.0, 0.0, 0.0), "shift": (0.0, 0.0), "zoom": 1.0, "noise": 0.0}
    return dataclasses.replace(scene, **(plain | changes))


@pytest.fixture(scope="module")
def model():
    return HeadModel.load()


# -------------------------------------------------------------------------------- rasteriser


def brute_force(points, triangles, size):
    """Nearest triangle at every pixel centre, one pixel and one triangle at a time."""
    nearest, depth = np.full((size, size), -1), np.full((size, size), -np.inf)
    for number, (a, b, c) in enumerate(points[triangles]):
        matrix = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
        for y in range(size):
            for x in range(size):
                weights = np.linalg.solve(matrix, [x + 0.5, y + 0.5, 1])
                z = weights @ [a[2], b[2], c[2]]
                if weights.min() >= 0 and z > depth[y, x]:
                    nearest[y, x], depth[y, x] = number, z
    return nearest, depth


def test_rasterize_equals_brute_force():
    rng = np.random.default_rng(0)
    points = rng.uniform(-4, 20, (30, 3))
    triangles = rng.permutation(30).reshape(10, 3)
    nearest, depth = brute_force(points, triangles, 16)
    raster = rasterize(points, triangles, 16)
    assert np.array_equal(raster.pixel, np.flatnonzero(nearest.ravel() >= 0))
    assert np.array_equal(raster.triangle, nearest.ravel()[raster.pixel])
    np.testing.assert_allclose(raster.depth, depth.ravel()[raster.pixel], rtol=1e-9)
    x = interpolate(points, triangles, raster)[:, 0]
    np.testing.assert_allclose(x, raster.pixel % 16 + 0.5, atol=1e-9)


def test_rasterize_nothing():
    points = np.array([[-9.0, -9.0, 0.0], [-8.0, -9.0, 0.0], [-9.0, -8.0, 0.0]])
    assert len(rasterize(points, np.array([[0, 1, 2]]), 8).pixel) == 0


def test_normals_of_an_octahedron_point_outwards():
    vertices = np.concatenate([np.eye(3), -np.eye(3)])
    triangles = []
    for x in (0, 3):
        for y in (1, 4):
            for z in (2, 5):
                flipped = (x + y + z) % 2 == 0
                triangles.append([x, z, y] if flipped else [x, y, z])
    np.testing.assert_allclose(vertex_normals(vertices, np.array(triangles)), vertices, atol=1e-12)


# ------------------------------------------------------------------------------------- scene


def test_rotation_by_hand():
    """Yaw 90 degrees turns the face (+z) to the image's right (+x); pitch turns it down."""
    np.testing.assert_allclose(rotation((90.0, 0.0, 0.0)) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation((0.0, 90.0, 0.0)) @ [0, 0, 1], [0, -1, 0], atol=1e-12)
    matrix = rotation((20.0, -10.0, 5.0))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_scenes_stay_in_range(difficulty):
    d = DIFFICULTIES[difficulty]
    for seed in range(20):
        scene = sample_scene(np.random.default_rng(seed), difficulty)
        for angle, sd in zip(scene.pose, (d.yaw, d.pitch, d.roll), strict=True):
            assert abs(angle) <= 3 * sd
        assert np.linalg.norm(scene.light) == pytest.approx(1.0)
        assert d.key[0] <= scene.key <= d.key[1]
        assert d.noise[0] <= scene.noise <= d.noise[1]


def test_unknown_difficulty_is_named():
    with pytest.raises(ValueError, match=r"'brutal' is unknown; known are easy, mild, hard"):
        sample_scene(np.random.default_rng(0), "brutal")


# --------------------------------------------------------------------------------- landmarks


def test_landmarks_of_a_frontal_face_by_hand(model):
    """A pinhole 9 head units away; eyes centred at the height that the module states."""
    who = subject_identity(0, 1)
    points = render(model, who, {}, frontal(), SIZE).landmarks
    expected = SIZE * np.array([0.5, EYE_HEIGHT])
    np.testing.assert_allclose(points[:2].mean(0), expected, atol=1e-3)
    tip, eyes = who.vertices[model.nose_tip], [who.vertices[e] for e in model.eyes]
    right, left = [(e[:, :2] * 9 / (9 - e[:, 2:])).mean(0) @ [1, 1j] for e in eyes][::-1]
    seen = tip[:2] @ [1, 1j] * 9 / (9 - tip[2]) - (left + right) / 2
    seen *= np.exp(-0.8j * np.angle(left - right))  # alignment takes out 0.8 of the eyes' slant
    down_right = np.array([seen.real, -seen.imag]) * SIZE / FRAME
    np.testing.assert_allclose(points[2], expected + down_right, atol=1e-3)
    assert points[0, 0] < points[2, 0] < points[1, 0]
    assert points[3, 0] < points[4, 0]
    assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min()


@pytest.mark.parametrize("pose", [(0.0, 0.0, 0.0), (18.0, 5.0, 3.0), (-15.0, -5.0, 0.0)])
def test_landmarks_lie_where_the_features_are_drawn(model, pose):
    """Paint irises or lips differently and look where the picture changes."""
    who, weights = subject_identity(0, 5), {"eyeWideLeft": 0.8, "eyeWideRight": 0.8}
    scene = frontal(pose=pose)
    base = render(model, who, weights, scene, SIZE)

    def changed(**fields):
        other = render(model, dataclasses.replace(who, **fields), weights, scene, SIZE).image
        return np.abs(other.astype(int) - base.image) > 6

    rows, columns = np.nonzero(changed(iris=0.9))
    for x, y in base.landmarks[:2]:
        near = np.abs(columns + 0.5 - x) < SIZE / 10
        assert columns[near].mean() + 0.5 == pytest.approx(x, abs=2.5)  # px
        assert rows[near].mean() + 0.5 == pytest.approx(y, abs=2.5)
    rows, columns = np.nonzero(changed(lips=0.1))
    corners = base.landmarks[3:]
    assert columns.min() + 0.5 == pytest.approx(corners[0, 0], abs=4)
    assert columns.max() + 0.5 == pytest.approx(corners[1, 0], abs=4)
    assert rows.min() < corners[:, 1].mean() < rows.max()


def test_landmarks_scale_with_the_picture(model):
    small, large = (render(model, subject_identity(0, 2), {}, frontal(), s) for s in (36, 72))
    np.testing.assert_allclose(2 * small.landmarks, large.landmarks, atol=1e-3)
    halved = large.image.reshape(36, 2, 36, 2).mean((1, 3))
    assert np.abs(halved - small.image).mean() < 4  # grey levels; a shift by a pixel makes 9


# ----------------------------------------------------------------------------------- picture


def test_light_from_the_left_brightens_the_left(model):
    """The image's left half of the face is lit when the light's x is negative."""
    who = subject_identity(0, 2)
    left, right = (
        render(model, who, {}, frontal(light=(x, 0.0, 0.5), key=1.0, ambient=0.2), SIZE).image
        for x in (-0.86, 0.86)
    )
    cheek = np.s_[45:65, 25:40]
    assert left[cheek].mean() > right[cheek].mean() + 20


def test_no_hole_shows_the_background_through_the_face(model):
    """Change the background alone: nothing changes between the eyes, cheeks and mouth corners."""
    for subject in range(4):
        who = subject_identity(0, subject)
        weights = {"jawOpen": 0.8, "mouthStretchLeft": 1.0, "mouthStretchRight": 1.0}
        for pose in ((0.0, 0.0, 0.0), (20.0, 0.0, 0.0)):
            dark, bright = (
                render(model, who, weights, frontal(background=b, pose=pose), SIZE)
                for b in ((0.0, 0.0), (1.0, 1.0))
            )
            x0, y0 = np.floor(dark.landmarks.min(0)).astype(int)
            x1, y1 = np.ceil(dark.landmarks.max(0)).astype(int)
            assert np.array_equal(dark.image[y0:y1, x0:x1], bright.image[y0:y1, x0:x1])


def test_unknown_unit_is_named(model):
    with pytest.raises(ValueError, match="earWiggle"):
        render(model, subject_identity(0, 0), {"earWiggle": 1.0}, frontal(), 16)


def test_face_is_pure():
    """The same bytes whatever was drawn before; another number changes the picture."""
    arguments = (0, 3, Expression.FEAR, 1.0, 0)
    first = face(*arguments, size=36, difficulty="mild").image
    face(0, 9, Expression.ANGER, 0.7, 1, size=36, difficulty="hard")
    np.testing.assert_array_equal(first, face(*arguments, size=36, difficulty="mild").image)
    for other in (
        (1, 3, Expression.FEAR, 1.0, 0),
        (0, 4, Expression.FEAR, 1.0, 0),
        (0, 3, Expression.ANGER, 1.0, 0),
        (0, 3, Expression.FEAR, 0.9, 0),
        (0, 3, Expression.FEAR, 1.0, 1),
    ):
        assert (face(*other, size=36, difficulty="mild").image != first).mean() > 0.5


def test_expression_does_not_change_the_person():
    a, b = (face(0, 3, e, 1.0, 0, size=16, difficulty="mild") for e in list(Expression)[:2])
    assert a.identity is b.identity


@pytest.mark.parametrize("row", range(3))
def test_golden_faces(row):
    """Committed parameters and pictures: the same numbers to 1e-9, bytes to one grey level.

    Written by `python -m tests.data.test_render` after a wanted change; raise the builder's
    version then.
    """
    golden = np.load(GOLDEN, allow_pickle=False)
    made = golden_face(row)
    for name, value in made.items():
        if name != "image":
            np.testing.assert_allclose(value, golden[f"{name}{row}"], rtol=1e-9, atol=1e-5)
    difference = np.abs(made["image"].astype(int) - golden[f"image{row}"])
    assert difference.max() <= 1


def golden_face(row):
    subject, expression, level = ((0, 3, 0.7), (7, 4, 1.0), (12, 6, 0.0))[row]
    made = face(0, subject, Expression(expression), level, row, size=72, difficulty="mild")
    scene, who = made.scene, made.identity
    return {
        "image": made.image,
        "landmarks": made.landmarks,
        "weights": np.array([made.weights[name] for name in sorted(made.weights)]),
        "scene": np.array([*scene.pose, *scene.light, scene.key, scene.exposure]),
        "person": np.array([*who.race, who.gender, who.skin, who.scale, who.hairline]),
        "shape": who.vertices[::500],
    }


if __name__ == "__main__":
    faces = [golden_face(row) for row in range(3)]
    arrays = {f"{name}{row}": v for row, made in enumerate(faces) for name, v in made.items()}
    np.savez_compressed(GOLDEN, **arrays)
