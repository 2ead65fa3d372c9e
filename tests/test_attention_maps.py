"""The points that Fig. 6 asks at: on which parts of a face they lie, and where they are marked."""

import numpy as np
import pytest

from ifgan_jax.attention_maps import QUERY_POINTS, draw_attention
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic import face


def test_query_points_lie_on_eye_mouth_and_cheek():
    """The shares of Fig. 6's points against the rendered faces' true landmarks, centre crop."""
    size, crop = 72, 64
    faces = [
        face(0, subject, Expression.HAPPINESS, 1.0, 0, size=size, difficulty="mild")
        for subject in range(12)
    ]
    landmarks = np.mean([rendered.landmarks for rendered in faces], axis=0)
    left_eye, _, nose, left_corner, right_corner = (landmarks - (size - crop) / 2) / crop  # x, y
    cell = 1 / 16  # of the attention map
    (eye_row, eye_column), (lip_row, lip_column), (cheek_row, cheek_column) = QUERY_POINTS.values()
    assert abs(eye_column - left_eye[0]) < cell
    assert abs(eye_row - left_eye[1]) < cell
    mouth = (left_corner + right_corner) / 2
    assert abs(lip_column - mouth[0]) < cell
    assert abs(lip_row - mouth[1]) < cell
    assert left_eye[1] < cheek_row < mouth[1]
    assert cheek_column < nose[0] - 2 * cell


def test_query_points_are_marked_where_they_are_asked():
    """Row and column, shares of the sides, on the generated face and each on its own map."""
    faces = np.zeros((1, 32, 32, 1), np.float32)
    figure = draw_attention(faces, faces, np.ones((1, 3, 8, 8), np.float32), ["fear"])
    images = figure.axes[0].images
    firsts = np.array(sorted({image.get_extent()[0] + 0.5 for image in images}))
    (top,) = {image.get_extent()[3] + 0.5 for image in images}
    marks: list[list] = [[] for _ in firsts]  # of each picture
    for line in figure.axes[0].lines:
        ((x, y),) = line.get_xydata()
        picture = int((firsts <= x).sum()) - 1
        marks[picture].append([x - firsts[picture], y - top])
    expected = [[c * 32, r * 32] for r, c in QUERY_POINTS.values()]
    assert marks[:2] == [[], pytest.approx(np.array(expected))]
    assert marks[2:] == [[pytest.approx(point)] for point in expected]
