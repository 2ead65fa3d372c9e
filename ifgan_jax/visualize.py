"""Figures of a run from arrays: transfer grid (Fig. 5), attention maps (Fig. 6), curves, confusion.

Images are NHWC with one or three channels, uint8 or float in [-1, 1]; the dtype says which, and
black and white are the ends of that range, never of the picture, so that pictures compare. Every
function returns a matplotlib Figure 4.5 inches wide, whose 10 pt letters stay readable on a phone;
no pyplot, no global state. Captions belong to the page that shows a figure (report.py). Colours
are Okabe and Ito's, which colour-blind readers tell apart. No jax, TensorFlow, config or file.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ifgan_jax.picture_grid import TEXT, WIDTH, PictureGrid

Images = UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n h w c"]
Rows = Sequence[Mapping[str, int | float | None]]  # lines of metrics.jsonl

BLUE, VERMILLION, YELLOW = "#0072B2", "#D55E00", "#F0E442"
QUERIES = (("#56B4E9", "o"), (VERMILLION, "s"), (YELLOW, "^"))  # colour and shape of a query point
DPI = 200
SMALL = 8.5  # points, where TEXT does not fit
UNDRAWN = "gradient|norm_"  # terms that `curves` leaves out: a dozen panels are enough


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes each time (no date, no software version)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def transfer_grid(
    inputs: Images,
    generated: Images,
    targets: Images,
    names: Sequence[str],
    subjects: Sequence[str],
    *,
    across: int,
) -> Figure:
    """As Fig. 5: examples with input, generated face and target (the average face) side by side.

    names, subjects: what stands left of each row, e.g. "happiness" and "S083".
    across: examples in a row; a row is named by its first.
    Raises ValueError where the numbers of examples differ, or for images out of their range.
    """
    columns = {"input": inputs, "generated": generated, "target": targets}
    _check_rows(names, **columns, subjects=subjects)
    rows = -(-len(names) // across)
    grid = PictureGrid(rows, 3 * across, inputs.shape[1:3], label=0.85)
    for kind, (title, images) in enumerate(columns.items()):
        for example in range(across):
            grid.title(0, 3 * example + kind, title)
        for i, image in enumerate(_displayed(title, images)):
            grid.show(i // across, 3 * (i % across) + kind, image)
    for row in range(rows):
        of_row = slice(row * across, (row + 1) * across)
        grid.label(row, "\n".join([names[of_row][0], *subjects[of_row]]))
    return grid.figure


def attention_maps(
    images: Images,
    generated: Images,
    maps: Float[np.ndarray, "n q a b"],
    points: Float[np.ndarray, "n q 2"],
    names: Sequence[str],
    queries: Sequence[str],
) -> Figure:
    """As Fig. 6: a row an example with input, generated face and maps of up to three queries.

    The points (say eye, mouth, cheek) are marked on the generated face and on their own map. A map
    is bright where the query looks; it lies over the faint face, enlarged smoothly to the face's
    size, from 0 to its own largest weight.

    Args:
      maps: rows of the attention matrix, weights >= 0 over a × b positions that cover the image.
      points: (row, column) of each query, in pixels of the generated face.
      names: what stands left of each row.
      queries: the points' names, over their maps.
    Raises:
      ValueError: numbers of rows differ, images out of range, negative or non-finite weights.
    """
    _check_rows(names, images=images, generated=generated, maps=maps, points=points)
    if not (np.isfinite(maps).all() and (maps >= 0).all()):
        raise ValueError("maps must hold finite attention weights >= 0 (rows of a softmax)")
    grid = PictureGrid(len(names), 2 + len(queries), generated.shape[1:3], label=0.25)
    inputs, faces = _displayed("images", images), _displayed("generated", generated)
    for column, title in enumerate(("input", "generated", *queries)):
        grid.title(0, column, title)
    for row, name in enumerate(names):
        grid.show(row, 0, inputs[row])
        grid.show(row, 1, faces[row])
        grid.label(row, name, rotation=90)
        for query, (colour, marker) in enumerate(QUERIES[: len(queries)]):
            weights, column = maps[row, query], 2 + query
            grid.show(row, column, faces[row])
            over = {"cmap": "inferno", "vmax": weights.max(), "alpha": 0.6}
            grid.show(row, column, weights, interpolation="bilinear", **over)
            grid.frame(row, column, colour)
            for marked in (1, column):
                grid.mark(row, marked, points[row, query], marker, colour)
    return grid.figure


def average_faces(images: Images, names: Sequence[str], counts: Sequence[int]) -> Figure:
    """The average face of each expression, with the number of images it is the mean of.

    Raises ValueError where the numbers differ, or for images out of their range.
    """
    _check_rows(names, images=images, counts=counts)
    columns = min(len(names), 3 if len(names) <= 6 else 4)
    rows = math.ceil(len(names) / columns)
    lines = 1 if columns < 4 else 2
    grid = PictureGrid(rows, columns, images.shape[1:3], title_lines=lines, titles_in_each_row=True)
    for i, (face, name, count) in enumerate(
        zip(_displayed("images", images), names, counts, strict=True)
    ):
        grid.show(*divmod(i, columns), face)
        title = f"{name} (n = {count})" if lines == 1 else f"{name}\nn = {count}"
        grid.title(*divmod(i, columns), title)
    return grid.figure


def curves(rows: Rows) -> Figure:
    """One small panel a term: training (each step faint, mean of each epoch bold) and validation.

    Accuracies come first, the rest in the order in which it appears; gradient and centre norms are
    left out (metrics.jsonl and TensorBoard have them). "validation/accuracy" shares the panel of
    "train/classifier/accuracy". An axis is logarithmic where values are positive and span more than
    a factor 50. Missing or non-finite values leave gaps.

    Args:
      rows: {"step": …, "epoch": …, "train/<term>": …, "validation/<term>": …} by ascending step.
    Raises:
      ValueError: no row holds a "train/" or "validation/" term.
    """
    names = dict.fromkeys(name for row in rows for name in row if "/" in name)
    shown = [name.partition("/")[2] for name in names if not re.search(UNDRAWN, name)]
    terms = [t for t in dict.fromkeys(shown) if not any(o.endswith("/" + t) for o in shown)]
    if not terms:
        raise ValueError('no "train/…" or "validation/…" term in rows: nothing to draw')
    terms.sort(key=lambda term: "accuracy" not in term)  # stable: the rest keeps its order
    lines = math.ceil(len(terms) / 2)
    figure = Figure(figsize=(WIDTH, 0.4 + 1.6 * lines), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False).ravel()
    for axis in axes[len(terms) :]:
        axis.remove()
    for axis, term in zip(axes, terms, strict=False):
        _curve(axis, rows, term)
    handles = {
        label: h for a in axes for h, label in zip(*a.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles, loc="outside upper center", ncols=2, frameon=False, fontsize=TEXT
    )
    figure.supxlabel("step", fontsize=TEXT)
    return figure


def confusion_figure(matrix: Int[np.ndarray, "k k"], names: Sequence[str]) -> Figure:
    """Counts, true classes in rows; a cell's shade is its share of the row, white 0 to blue 1.

    A class without images keeps a row of zeros. Raises ValueError where `names` do not fit.
    """
    _check_rows(names, matrix=matrix)
    figure = Figure(figsize=(WIDTH, WIDTH * 0.95), layout="constrained")
    axis = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axis.imshow(shares, "Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, str(count), color=colour, ha="center", va="center", fontsize=TEXT)
    axis.set_xticks(
        range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=TEXT
    )
    axis.set_yticks(range(len(names)), names, fontsize=TEXT)
    axis.set_xlabel("predicted", fontsize=TEXT)
    axis.set_ylabel("true", fontsize=TEXT)
    axis.tick_params(length=0)
    return figure


def _curve(axis: Axes, rows: Rows, term: str) -> None:
    """Draws one panel of `curves`."""
    steps, values, epochs = series(rows, f"train/{term}")
    if len(steps):
        ends = [np.flatnonzero(epochs == epoch) for epoch in np.unique(epochs)]
        means = np.array([values[i].mean() for i in ends])
        axis.plot(steps, values, color=BLUE, alpha=0.25, linewidth=0.7)
        ends_at = [steps[i[-1]] for i in ends]
        axis.plot(ends_at, means, "o-", color=BLUE, markersize=2, linewidth=1.6, label="training")
        values = means
    validation = [f"validation/{term}", f"validation/{term.rpartition('/')[2]}"]
    steps, checked, _ = series(rows, *validation)
    if len(steps):
        axis.plot(
            steps, checked, "o-", color=VERMILLION, markersize=3, linewidth=1, label="validation"
        )
    dress(axis, term.replace("/", "\n"), np.concatenate([values, checked]))


def dress(axis: Axes, title: str, drawn: Float[np.ndarray, " n"]) -> None:
    """A small panel's title, grid and ticks; logarithmic if `drawn` spans more than a factor 50."""
    if len(drawn) and drawn.max() > 50 * drawn.min() > 0:
        axis.set_yscale("log")
    else:
        axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axis.set_title(title, fontsize=SMALL, loc="left")
    axis.tick_params(labelsize=SMALL)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def series(rows: Rows, *keys: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, values and epochs of the rows that hold a finite value under one of `keys`."""
    found: list[tuple[Any, ...]] = [
        (row["step"], value, row["epoch"])
        for row in rows
        for value in [next((row[key] for key in keys if key in row), None)]
        if value is not None and math.isfinite(value)
    ]
    steps, values, epochs = np.array(found, float).reshape(-1, 3).T
    return steps, values, epochs


def _displayed(name: str, images: Images) -> np.ndarray:
    """Pictures as imshow takes them, in [0, 1]: (n, h, w) for gray, (n, h, w, 3) for colour."""
    if images.dtype == np.uint8:
        shown = images / 255.0
    elif (shown := (images.astype(np.float64) + 1) / 2).min() < -1e-3 or not shown.max() <= 1.001:
        raise ValueError(
            f"{name}: float images must lie in [-1, 1], found {images.min()} to {images.max()}"
        )
    shown = np.clip(shown, 0, 1)
    return shown[..., 0] if images.shape[-1] == 1 else shown


def _check_rows(names: Sequence[str], **others: Any) -> None:
    lengths = {"names": len(names)} | {name: len(other) for name, other in others.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"lengths differ: {lengths}")
    if not names:
        raise ValueError("nothing to draw: no rows")
