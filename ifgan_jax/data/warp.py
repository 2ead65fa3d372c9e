"""From three points of a face to a 256×256 picture of it: eyes and nose tip onto fixed places.

Coordinates are (x, y) in pixels, x to the right, y down; pixel (0, 0) covers [0, 1] × [0, 1]. A map
is a 2×3 matrix that takes source to target coordinates. "Eye centers and nose tip" are Sec. 4.2;
the paper does not say by which map: `MAPS` has both readings.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

Points = Float[np.ndarray, "3 2"]  # left eye, right eye (as the viewer sees them), nose tip
Matrix = Float[np.ndarray, "2 3"]

FRAME = 256  # pixels
# Where rendered frontal faces have them (mean of 40 people), made symmetric.
TEMPLATE = np.array([[89.0, 105.5], [167.0, 105.5], [128.0, 161.0]])


def similarity(source: Points) -> Matrix:
    """Rotation, scale and shift onto TEMPLATE, of least squares (Umeyama 1991), no reflection."""
    p, q = source @ (1, 1j), TEMPLATE @ (1, 1j)  # points as complex numbers
    centred = p - p.mean()
    turn = np.vdot(centred, q - q.mean()) / np.vdot(centred, centred)  # vdot conjugates its first
    shift = q.mean() - turn * p.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def affine(source: Points) -> Matrix:
    """The one affine map that takes three points onto TEMPLATE; shears the face.

    Raises ValueError (NumPy's LinAlgError) for points on one line.
    """
    return np.linalg.solve(np.column_stack([source, np.ones(3)]), TEMPLATE).T


MAPS: dict[str, Callable[[Points], Matrix]] = {"similarity": similarity, "affine": affine}


def warp(picture: UInt8[np.ndarray, "h w"], matrix: Matrix, size: int) -> UInt8[np.ndarray, "s s"]:
    """The picture seen through `matrix` (source → 256-pixel frame), in a frame of size × size.

    Beyond the picture its border goes on. Bicubic; a picture that shrinks is averaged first.

    Raises ValueError where the points were no face's: all of the picture would be less than 8
    pixels of the frame, or a pixel of it endless.
    """
    zoom = np.vstack([matrix * (size / FRAME), [0, 0, 1]])
    area = abs(np.linalg.det(zoom[:2, :2]))  # of a source pixel
    if not (8 * size / FRAME) ** 2 < area * max(picture.shape) ** 2 < math.inf:
        raise ValueError("the map shows the picture in less than 8 pixels, or one of them endless")
    shrink = max(1, math.floor(1 / math.sqrt(area)))
    back = np.linalg.inv(zoom)  # frame → source
    corners = back @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
    height, width = picture.shape
    reach = max(-corners[:2].min(), corners[0].max() - width, corners[1].max() - height, 0)
    margin = shrink * math.ceil(min(reach, max(height, width)) / shrink + 2)
    padded = np.pad(picture, margin, mode="edge")
    small = Image.fromarray(padded).reduce(shrink)
    steps = np.diag([1 / shrink, 1 / shrink, 1]) @ np.array(
        [[1, 0, margin], [0, 1, margin], [0, 0, 1]]
    )
    coefficients = (steps @ back)[:2].ravel().tolist()
    return np.asarray(
        small.transform(
            (size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC
        )
    )
