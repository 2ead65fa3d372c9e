"""Triangles to pixels: a depth-buffered rasteriser and smooth normals.

Numpy only. Screen coordinates are pixels, x right, y down, the centre of pixel (i, j) at
(j + 0.5, i + 0.5); depth grows towards the viewer. No BLAS call and only stable sorts, so the
result does not depend on threads.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

_EDGE = -1e-6  # barycentric tolerance that closes the cracks between neighbours
_MIN_AREA = 1e-9  # [px²] smaller triangles are skipped
_BATCH = 400_000  # candidate pixels examined at once, bounds the memory


@dataclasses.dataclass(frozen=True)
class Raster:
    """The nearest triangle at each covered pixel, p of them, in row-major order.

    Attributes:
      pixel: flat pixel number y * width + x, increasing.
      triangle: row of the triangle array.
      weights: barycentric weights of its three corners.
      depth: interpolated depth.
    """

    pixel: Int64[np.ndarray, " p"]
    triangle: Int64[np.ndarray, " p"]
    weights: Float64[np.ndarray, "p 3"]
    depth: Float64[np.ndarray, " p"]


def rasterize(
    points: Float64[np.ndarray, "v 3"], triangles: Int64[np.ndarray, "t 3"], size: int
) -> Raster:
    """Rasterises into a square of `size` pixels; points are (x, y, depth)."""
    corners = points[triangles]
    edge = corners[:, 1:, :2] - corners[:, :1, :2]
    area = edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0]
    low = np.floor(corners[:, :, :2].min(1) - 0.5).astype(np.int64)
    high = np.ceil(corners[:, :, :2].max(1) - 0.5).astype(np.int64)
    visible = (np.abs(area) > _MIN_AREA) & (high >= 0).all(1) & (low < size).all(1)
    extent = (high - low).max(1) + 1
    found = []
    smaller, block = 0, 2
    while smaller < extent.max(where=visible, initial=0):
        chosen = np.flatnonzero(visible & (extent > smaller) & (extent <= block))
        for part in np.array_split(chosen, 1 + len(chosen) * block**2 // _BATCH):
            found.append(_cover(corners[part], area[part], low[part], part, block, size))
        smaller, block = block, block * 2
    if not found:
        empty = np.zeros(0)
        return Raster(empty.astype(np.int64), empty.astype(np.int64), np.zeros((0, 3)), empty)
    pixel, triangle, weights, depth = (
        np.concatenate(column) for column in zip(*found, strict=True)
    )
    nearest = _nearest(pixel, depth, size * size)
    return Raster(pixel[nearest], triangle[nearest], weights[nearest], depth[nearest])


def _cover(
    corners: Float64[np.ndarray, "t 3 3"],
    area: Float64[np.ndarray, " t"],
    low: Int64[np.ndarray, "t 2"],
    numbers: Int64[np.ndarray, " t"],
    block: int,
    size: int,
) -> tuple[np.ndarray, ...]:
    """The pixels of the block at `low` that a triangle covers, in the columns of `Raster`."""
    step = np.arange(block)
    x = (low[:, 0, None] + step)[:, None, :]
    y = (low[:, 1, None] + step)[:, :, None]
    (ax, ay), (bx, by), (cx, cy) = (
        (corners[:, k, 0, None, None] - 0.5, corners[:, k, 1, None, None] - 0.5) for k in range(3)
    )
    scale = 1.0 / area[:, None, None]
    wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * scale
    wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * scale
    wc = 1.0 - wa - wb
    inside: Bool[np.ndarray, "t b b"] = (wa >= _EDGE) & (wb >= _EDGE) & (wc >= _EDGE)
    inside &= (x >= 0) & (x < size) & (y >= 0) & (y < size)
    which, row, column = np.nonzero(inside)
    weights = np.stack([wa[inside], wb[inside], wc[inside]], 1)
    depth = (weights * corners[which, :, 2]).sum(1)
    pixel = (low[which, 1] + row) * size + low[which, 0] + column
    return pixel, numbers[which], weights, depth


def _nearest(
    pixel: Int64[np.ndarray, " c"], depth: Float64[np.ndarray, " c"], pixels: int
) -> Int64[np.ndarray, " p"]:
    """The candidate with the greatest depth at each covered pixel; the last one of equals."""
    order = np.argsort(depth, kind="stable")
    best = np.full(pixels, -1)
    best[pixel[order]] = order
    return best[best >= 0]


def interpolate(
    values: Float64[np.ndarray, "v k"], triangles: Int64[np.ndarray, "t 3"], raster: Raster
) -> Float64[np.ndarray, "p k"]:
    """Vertex values at the covered pixels."""
    corners = triangles[raster.triangle]
    return sum(values[corners[:, k]] * raster.weights[:, k, None] for k in range(3))


def vertex_normals(
    vertices: Float64[np.ndarray, "v 3"], triangles: Int64[np.ndarray, "t 3"]
) -> Float64[np.ndarray, "v 3"]:
    """Unit normals, the area-weighted mean of the adjacent faces; zero where there is no face."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    corner, count = triangles.T.ravel(), len(vertices)
    total = np.stack([np.bincount(corner, np.tile(face[:, k], 3), count) for k in range(3)], 1)
    return unit(total)


def unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Vectors scaled to length 1; zero stays zero."""
    length = np.sqrt((vectors * vectors).sum(-1, keepdims=True))
    return vectors / np.maximum(length, 1e-12)
