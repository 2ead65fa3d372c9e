"""A figure of small pictures in rows and columns, with titles, labels, frames and marks."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

WIDTH = 4.5  # inches; at 340 px of a phone one point is one pixel
TITLE = 0.22  # inches of a line above pictures
GAP = 0.05  # inches between pictures
TEXT = 10.0  # points


class PictureGrid:
    """Pictures of one size in rows and columns, on one axis whose units are their pixels.

    An axis for each of them takes a dozen milliseconds, and a layout engine as long again.

    size: of a picture, height and width in pixels. label: inches kept at the left of all rows.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        size: tuple[int, ...],
        *,
        label: float = 0.0,
        title_lines: int = 1,
        titles_in_each_row: bool = False,
    ) -> None:
        self._size = height, width = size
        head = TITLE * title_lines
        between = head if titles_in_each_row else 0.0
        side = (WIDTH - label) / columns - GAP
        self._pixels = width / side  # of an inch
        down = height / self._pixels + GAP + between
        self._pitch = down * self._pixels, (side + GAP) * self._pixels
        inches = head + rows * down - between
        self.figure = Figure(figsize=(WIDTH, inches))
        self._axis = self.figure.add_axes((0, 0, 1, 1))
        self._axis.set_axis_off()
        left, top = -(label + GAP / 2) * self._pixels, -head * self._pixels
        right, bottom = left + WIDTH * self._pixels, top + inches * self._pixels
        self._axis.set(xlim=(left, right), ylim=(bottom, top))

    def show(self, row: int, column: int, image: np.ndarray, **how: Any) -> None:
        """An image over the whole cell, black 0 and white 1 unless `how`, imshow's, says more."""
        top, left, (height, width) = *self._corner(row, column), self._size
        extent = (left, left + width, top + height, top)
        how = {"cmap": "gray", "vmin": 0, "vmax": 1, **how}
        self._axis.imshow(image, extent=extent, aspect="auto", **how)

    def title(self, row: int, column: int, text: str) -> None:
        """Over a cell."""
        top, left = self._corner(row, column)
        x, y = left + self._size[1] / 2, top - GAP * self._pixels
        self._axis.text(x, y, text, fontsize=TEXT, ha="center", va="bottom")

    def label(self, row: int, text: str, rotation: int = 0) -> None:
        """Left of a row."""
        top, left = self._corner(row, 0)
        x, y = left - GAP * self._pixels, top + self._size[0] / 2
        self._axis.text(x, y, text, fontsize=TEXT, ha="right", va="center", rotation=rotation)

    def frame(self, row: int, column: int, colour: str) -> None:
        """Around a cell."""
        top, left, (height, width) = *self._corner(row, column), self._size
        self._axis.add_patch(Rectangle((left, top), width, height, ec=colour, fc="none", lw=2))

    def mark(
        self, row: int, column: int, point: Float[np.ndarray, "2"], marker: str, colour: str
    ) -> None:
        """A point (row, column) of a cell's picture, whose first pixel has its centre at (0, 0)."""
        y, x = point + self._corner(row, column) + 0.5
        self._axis.plot(x, y, marker, color=colour, markersize=5, markeredgecolor="black")

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        """A cell's upper left one, from that of the first: down, right."""
        return row * self._pitch[0], column * self._pitch[1]
