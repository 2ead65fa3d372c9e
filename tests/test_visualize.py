"""Each figure renders, says what it shows, and shows the arrays it was given."""

import io

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from ifgan_jax import visualize

NAMES = ["anger", "happiness", "surprise"]

QUERIES = ["eye", "lip", "cheek"]


def faces(seed: int, n: int = 3, dtype: type = np.float32) -> np.ndarray:
    images = np.random.default_rng(seed).uniform(-1, 1, (n, 12, 10, 1))
    return (images * 127.5 + 127.5).astype(np.uint8) if dtype is np.uint8 else images.astype(dtype)


def attention(seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    maps = np.random.default_rng(seed).random((3, 3, 4, 5))
    points = np.tile([[1.0, 2.0], [9.0, 5.0], [5.0, 8.0]], (3, 1, 1))
    return maps / maps.sum((2, 3), keepdims=True), points


def log_rows(steps: int = 12) -> list[dict[str, float | None]]:
    """Three epochs of four steps; the loss falls from 1 to 1e-3, accuracy rises to 1."""
    rows: list[dict[str, float | None]] = []
    for step in range(1, steps + 1):
        row = {"step": step, "epoch": (step - 1) // 4, "train/generator/l1": 10 ** (-step / 4)}
        row |= {"train/classifier/accuracy": step / steps, "train/generator/gradient": 1.0}
        rows.append(row | ({"validation/accuracy": step / 20} if step % 4 == 0 else {}))
    return rows


def texts(figure: Figure) -> set[str]:
    png(figure)  # tick labels exist once drawn
    return {t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text()}


def png(figure: Figure) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(visualize.png_bytes(figure)))


def cells(figure: Figure) -> dict[tuple[int, int], list[AxesImage]]:
    """The images of each cell, by row and column: cells of one size, in order, none on another."""
    (axis,) = figure.axes
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    width, height = figure.get_size_inches()
    assert (right - left) / width == pytest.approx((bottom - top) / height)  # square pixels
    found: dict[tuple[float, float], list[AxesImage]] = {}
    for image in axis.images:
        left, right, bottom, top = image.get_extent()
        assert (right - left, bottom - top) == pytest.approx((10, 12))
        found.setdefault((round(top, 3), round(left, 3)), []).append(image)
    tops, lefts = (sorted({corner[i] for corner in found}) for i in range(2))
    assert np.diff(tops).min(initial=99) > 12
    assert np.diff(lefts).min(initial=99) > 10
    return {(tops.index(top), lefts.index(left)): of for (top, left), of in found.items()}


def marks(figure: Figure, row: int, column: int) -> list[tuple[list[float], str]]:
    """Points marked on a cell, (x, y) from its first pixel, and their colours."""
    left, right, bottom, top = cells(figure)[row, column][0].get_extent()
    points = [(*line.get_xydata()[0], line.get_color()) for line in figure.axes[0].lines]
    return [
        ([x - left - 0.5, y - top - 0.5], colour)
        for x, y, colour in points
        if left <= x <= right and top <= y <= bottom
    ]


def shown(figure: Figure, row: int, column: int) -> np.ndarray:
    """What a cell's first image looks like."""
    return values(cells(figure)[row, column][0])


def values(image: AxesImage) -> np.ndarray:
    """Gray values between its black and white."""
    black, white = image.get_clim()
    return (np.asarray(image.get_array()) - black) / (white - black)


def every_figure() -> dict[str, Figure]:
    maps, points = attention()
    return {
        "grid": visualize.transfer_grid(
            faces(0), faces(1), faces(2), NAMES, ["S1", "S2", "S3"], across=1
        ),
        "attention": visualize.attention_maps(faces(0), faces(1), maps, points, NAMES, QUERIES),
        "averages": visualize.average_faces(faces(0), NAMES, [3, 4, 5]),
        "curves": visualize.curves(log_rows()),
        "confusion": visualize.confusion_figure(np.arange(9).reshape(3, 3), NAMES),
    }


def test_each_renders_at_one_width_and_the_same_bytes():
    for (name, figure), again in zip(every_figure().items(), every_figure().values(), strict=True):
        data = visualize.png_bytes(figure)
        assert data.startswith(b"\x89PNG")
        assert png(figure).shape[1] == round(visualize.WIDTH * visualize.DPI), name
        assert data == visualize.png_bytes(again), name
        assert figure.canvas.manager is None, name  # pyplot's figures would pile up in a long run


def test_text_stays_inside():
    for name, figure in every_figure().items():
        png(figure)
        box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert box.x0 >= -0.01, name
        assert box.y0 >= -0.01, name
        assert box.x1 <= width + 0.01, name
        assert box.y1 <= height + 0.01, name


def test_grid_panels_hold_input_generated_target_of_the_row():
    columns = [faces(0), faces(1, dtype=np.uint8), faces(2)]
    figure = visualize.transfer_grid(*columns, NAMES, ["S1", "S2", "S3"], across=1)
    assert len(cells(figure)) == 9
    assert {"input", "generated", "target", "anger\nS1", "surprise\nS3"} <= texts(figure)
    for row in range(3):
        for column, images in enumerate(columns):
            unit = images / 255 if images.dtype == np.uint8 else (images + 1) / 2
            np.testing.assert_allclose(shown(figure, row, column), unit[row, ..., 0], atol=1e-6)


def test_grid_with_two_examples_a_row():
    columns = [np.concatenate([faces(i), faces(i + 3)])[:4] for i in range(3)]
    names = ["fear", "fear", "anger", "anger"]
    figure = visualize.transfer_grid(*columns, names, ["S1", "S2", "S3", "S4"], across=2)
    assert len(cells(figure)) == 12
    assert {"fear\nS1\nS2", "anger\nS3\nS4"} <= texts(figure)
    for i in range(4):
        for kind, images in enumerate(columns):
            found = shown(figure, i // 2, 3 * (i % 2) + kind)
            np.testing.assert_allclose(found, (images[i, ..., 0] + 1) / 2, atol=1e-6)


def test_black_and_white_are_those_of_the_range_not_of_the_picture():
    dark, bright = np.full((1, 12, 10, 1), -0.9), np.full((1, 12, 10, 1), 0.9)
    figure = visualize.transfer_grid(dark, bright, bright, ["fear"], ["S1"], across=1)
    np.testing.assert_allclose(shown(figure, 0, 0), 0.05)
    np.testing.assert_allclose(shown(figure, 0, 1), 0.95)


def test_colour_images_keep_their_channels():
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 10, 3), dtype=np.uint8)
    figure = visualize.average_faces(images, NAMES, [1, 1, 1])
    np.testing.assert_allclose(cells(figure)[0, 1][0].get_array(), images[1] / 255)


def test_attention_marks_each_query_at_its_pixel():
    maps, points = attention()
    figure = visualize.attention_maps(faces(0), faces(1), maps, points, NAMES, QUERIES)
    assert len(cells(figure)) == 15
    assert {"input", "generated", *QUERIES, *NAMES} <= texts(figure)
    marked, colours = zip(*marks(figure, 1, 1), strict=True)
    expected = [[2, 1], [5, 9], [8, 5]]  # (x, y) of the rows (row, column)
    assert marked == tuple(pytest.approx(point) for point in expected)
    assert len(set(colours)) == 3
    assert marks(figure, 1, 0) == []
    frames = {frame.get_xy(): frame for frame in figure.axes[0].patches}
    assert len(frames) == 9
    for query, colour in enumerate(colours):
        face, weights = cells(figure)[1, 2 + query]
        np.testing.assert_allclose(values(face), (faces(1)[1, ..., 0] + 1) / 2, atol=1e-6)
        np.testing.assert_array_equal(weights.get_array(), maps[1, query])
        assert weights.get_clim() == (0, maps[1, query].max())
        assert marks(figure, 1, 2 + query) == [(pytest.approx(expected[query]), colour)]
        left, _, _, top = face.get_extent()
        frame = frames[left, top]
        assert matplotlib.colors.same_color(frame.get_edgecolor(), colour)
        assert (frame.get_width(), frame.get_height()) == (10, 12)


def test_pictures_differ_when_their_data_differ():
    maps, points = attention()
    others, _ = attention(8)
    one, two = (
        visualize.attention_maps(faces(0), faces(1), m, points, NAMES, QUERIES)
        for m in (maps, others)
    )
    assert np.abs(png(one) - png(two)).max() > 0.1
    one, two = (visualize.average_faces(faces(k), NAMES, [1, 1, 1]) for k in (0, 1))
    assert np.abs(png(one) - png(two)).max() > 0.1


@pytest.mark.parametrize(("n", "label"), [(1, "a (n = 5)"), (6, "f (n = 5)"), (7, "g\nn = 5")])
def test_average_faces_name_and_count(n, label):
    figure = visualize.average_faces(faces(0, n), list("abcdefg"[:n]), [5] * n)
    assert len(cells(figure)) == n
    assert label in texts(figure)


def test_curves_draw_epoch_means_and_validation_beside():
    figure = visualize.curves(log_rows())
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["classifier\naccuracy", "generator\nl1"]  # no gradient norms
    assert {"training", "validation", "step"} <= texts(figure)
    steps, means, checked = (line.get_xydata().tolist() for line in figure.axes[0].lines)
    assert steps == [[s, pytest.approx(s / 12)] for s in range(1, 13)]
    np.testing.assert_allclose(means, [[4, 2.5 / 12], [8, 6.5 / 12], [12, 10.5 / 12]])
    assert checked == [[4, 0.2], [8, 0.4], [12, 0.6]]
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "log"]  # l1 spans 1000


def test_curves_leave_gaps_where_values_are_missing():
    rows = log_rows()
    rows[0]["train/generator/l1"], rows[1]["train/generator/l1"] = None, float("nan")
    lines = visualize.curves(rows).axes[1].lines
    assert lines[0].get_xdata().tolist() == list(range(3, 13))
    with pytest.raises(ValueError, match="nothing to draw"):
        visualize.curves([{"step": 1, "epoch": 0}])


def test_confusion_shows_counts_shaded_by_share_of_the_row():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 40]])
    figure = visualize.confusion_figure(matrix, NAMES)
    axis = figure.axes[0]
    np.testing.assert_allclose(values(axis.images[0]), [[0.75, 0.25, 0], [0, 0, 0], [0, 0, 1]])
    counts = {t.get_position(): t.get_text() for t in axis.texts}
    assert counts == {(c, r): str(matrix[r, c]) for r in range(3) for c in range(3)}
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    assert [t.get_text() for t in axis.get_yticklabels()] == NAMES


def test_bad_input_is_named(unchecked):
    maps, points = attention()
    with pytest.raises(ValueError, match=r"'names': 3, 'input': 3, 'generated': 2"):
        visualize.transfer_grid(
            faces(0), faces(1)[:2], faces(2), NAMES, ["S1", "S2", "S3"], across=1
        )
    with pytest.raises(ValueError, match=r"generated: float images must lie in \[-1, 1\]"):
        visualize.transfer_grid(
            faces(0), faces(1) * 255, faces(2), NAMES, ["S1", "S2", "S3"], across=1
        )
    with pytest.raises(ValueError, match=r"images: float images .* nan"):
        visualize.average_faces(faces(0) * np.nan, NAMES, [1, 1, 1])
    with pytest.raises(ValueError, match="attention weights >= 0"):
        visualize.attention_maps(faces(0), faces(1), maps - 0.1, points, NAMES, QUERIES)
    with pytest.raises(ValueError, match="no rows"):
        visualize.average_faces(faces(0)[:0], [], [])
    with pytest.raises(ValueError, match=r"'names': 2, 'matrix': 3"):
        visualize.confusion_figure(np.eye(3, dtype=int), NAMES[:2])
