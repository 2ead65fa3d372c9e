"""A head, a face and a scene to a gray picture with its true landmarks.

Numpy only. A picture is `FRAME` head units wide (decimetres of the mean head), so that the
centre crop of 8/9 of its width (64 of 72 pixels) shows hairline to chin.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from ifgan_jax.data.synthetic.hair import curtain
from ifgan_jax.data.synthetic.head_model import HeadModel, Part
from ifgan_jax.data.synthetic.identity import Identity
from ifgan_jax.data.synthetic.rasterize import (
    Raster,
    interpolate,
    rasterize,
    unit,
    vertex_normals,
)
from ifgan_jax.data.synthetic.scene import Scene, rotation, turn
from ifgan_jax.data.synthetic.shading import Surface, light, material

FRAME = 1.8675  # width of the picture [head units]
EYE_HEIGHT = 0.411  # of the picture, from its top
SUPERSAMPLING = 2  # rays per pixel in each direction
_VIEWER = 9.0  # distance of the camera [head units]
_LEVELLING = 0.8  # share of the eyes' slant that alignment takes out, as a detector would
_METERED_SKIN = 0.4  # reflectance that is exposed as it is
_METERING = 0.4  # share of the difference to it (in stops) that the camera makes up for
_MOUTH_SETBACK = 0.10  # teeth and tongue lose to skin up to this far behind them [head units]
_TEETH_CENTRE = (0.0, 6.6, 0.9)  # their normals point away from here, evenly [dm, mean head]
_TEETH_ROUNDNESS = (1.2, 0.3, 1.0)
_LASH_REACH = 0.01  # lashes this far behind the lid [head units] still show


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A picture.

    Attributes:
      image: gray, 0 black to 255 white.
      landmarks: (x, y) in pixels, x right, y down, pixel centres at .5, of left eye, right eye,
        nose tip, left and right mouth corner; left and right are the image's, as MTCNN has it.
    """

    image: UInt8[np.ndarray, "s s"]
    landmarks: Float32[np.ndarray, "5 2"]


def render(
    model: HeadModel,
    identity: Identity,
    weights: Mapping[str, float],
    scene: Scene,
    size: int,
) -> Rendered:
    """Renders one picture of `size` × `size` pixels.

    Args:
      model: the head.
      identity: who.
      weights: ARKit units, 0 to `MAX_WEIGHT`.
      scene: pose, light, camera.
      size: width and height in pixels.

    Raises:
      ValueError: a weight names no ARKit unit of the model.
    """
    vertices = _deform(model, identity, weights)
    turned = turn(vertices, rotation(scene.pose))
    points = _project(turned, model, scene, size)
    canvas = _background(scene, size * SUPERSAMPLING)
    if identity.hair == "long":
        _draw_long_hair(canvas, identity, scene)
    raster = _draw_head(canvas, model, identity, weights, scene, vertices, points)
    _draw_lashes(canvas, model, points, raster)
    return Rendered(_develop(canvas, identity, scene, size), _landmarks(points, model))


def _deform(
    model: HeadModel, identity: Identity, weights: Mapping[str, float]
) -> Float64[np.ndarray, "v 3"]:
    """The identity's head with the expression [head units]."""
    vertices = identity.vertices.copy()
    for name, weight in weights.items():
        model.add(vertices, "arkit/" + name, weight * identity.scale)
    return vertices


def _project(
    turned: Float64[np.ndarray, "v 3"], model: HeadModel, scene: Scene, size: int
) -> Float64[np.ndarray, "v 3"]:
    """Perspective onto the supersampled picture, aligned by the eyes; (x, y, depth)."""
    depth = turned[:, 2]
    flat = turned[:, :2] * (_VIEWER / (_VIEWER - depth))[:, None]
    left, right = (flat[eye].mean(0) for eye in model.eyes)
    flat = flat - (left + right) / 2
    slant = np.arctan2(*(left - right)[::-1])
    c, s = np.cos(_LEVELLING * slant), np.sin(_LEVELLING * slant)
    flat = np.stack([c * flat[:, 0] + s * flat[:, 1], c * flat[:, 1] - s * flat[:, 0]], 1)
    flat = flat + np.array(scene.shift)
    pixels = size * SUPERSAMPLING
    scale = pixels / FRAME * scene.zoom
    x, y = flat[:, 0] * scale + 0.5 * pixels, EYE_HEIGHT * pixels - flat[:, 1] * scale
    return np.stack([x, y, depth], 1)


def _landmarks(points: Float64[np.ndarray, "v 3"], model: HeadModel) -> Float32[np.ndarray, "5 2"]:
    """The subject's right is the image's left."""
    left_eye, right_eye = (points[eye, :2].mean(0) for eye in model.eyes)
    left_corner, right_corner = (points[i, :2] for i in model.mouth_corners)
    order = [right_eye, left_eye, points[model.nose_tip, :2], right_corner, left_corner]
    return (np.stack(order) / SUPERSAMPLING).astype(np.float32)


def _background(scene: Scene, pixels: int) -> Float64[np.ndarray, "s s"]:
    """A vertical gradient in linear light."""
    column = np.linspace(*scene.background, pixels) ** 2.2
    return np.repeat(column[:, None], pixels, axis=1)


def _draw_long_hair(canvas: Float64[np.ndarray, "s s"], identity: Identity, scene: Scene) -> None:
    pixels = len(canvas)
    position = (np.arange(pixels) + 0.5) / pixels
    x = (position - 0.5)[None, :] * FRAME / scene.zoom - scene.shift[0]
    y = (EYE_HEIGHT - position)[:, None] * FRAME / scene.zoom - scene.shift[1]
    x, y = np.broadcast_arrays(x, y)
    share, brightness = curtain(x, y, identity, scene)
    canvas[:] = canvas * (1 - share) + brightness * share


@functools.cache
def _solid(model: HeadModel) -> tuple[Int64[np.ndarray, "t 3"], Int64[np.ndarray, " t"]]:
    """The opaque triangles and their parts."""
    solid = model.parts <= Part.TONGUE
    return model.triangles[solid], model.parts[solid]


def _draw_head(
    canvas: Float64[np.ndarray, "s s"],
    model: HeadModel,
    identity: Identity,
    weights: Mapping[str, float],
    scene: Scene,
    vertices: Float64[np.ndarray, "v 3"],
    points: Float64[np.ndarray, "v 3"],
) -> Raster:
    """Draws skin, eyes, teeth and tongue."""
    triangles, parts = _solid(model)
    normals = vertex_normals(vertices, triangles)
    teeth = np.isin(model.vertex_parts, (Part.UPPER_TEETH, Part.LOWER_TEETH))
    normals[teeth] = unit((model.vertices[teeth] - _TEETH_CENTRE) * _TEETH_ROUNDNESS)
    normals = turn(normals, rotation(scene.pose))
    a, b, c = (points[triangles[:, k], :2] for k in range(3))
    turn_sense = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    shown = (turn_sense < 0) | (parts >= Part.UPPER_TEETH)  # closed parts show their front only
    triangles, parts = triangles[shown], parts[shown]
    inner = (model.vertex_parts >= Part.UPPER_TEETH) & (model.vertex_parts <= Part.TONGUE)
    set_back = points - np.outer(inner, [0.0, 0.0, _MOUTH_SETBACK])
    raster = rasterize(set_back, triangles, len(canvas))
    names = tuple(model.masks)
    columns = [model.vertices, normals, model.occlusion[:, None]]
    columns += [model.masks[name][:, None] for name in names]
    values = interpolate(np.concatenate(columns, 1), triangles, raster)
    surface = Surface(
        base=values[:, :3],
        normal=_towards_viewer(unit(values[:, 3:6])),
        part=parts[raster.triangle],
        occlusion=values[:, 6],
        masks={name: values[:, 7 + k] for k, name in enumerate(names)},
    )
    canvas.ravel()[raster.pixel] = light(
        material(surface, model, identity, weights), surface.normal, scene
    )
    return raster


def _towards_viewer(normal: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, "p 3"]:
    return np.where(normal[:, 2:] < 0, -normal, normal)


def _draw_lashes(
    canvas: Float64[np.ndarray, "s s"],
    model: HeadModel,
    points: Float64[np.ndarray, "v 3"],
    head: Raster,
) -> None:
    """Darkens the picture where lashes lie before the head; lower lashes are fainter."""
    triangles = model.triangles[model.parts == Part.LASHES]
    raster = rasterize(points, triangles, len(canvas))
    depth = np.full(canvas.size, -np.inf)
    depth[head.pixel] = head.depth
    before = raster.depth > depth[raster.pixel] - _LASH_REACH
    x, y, _ = interpolate(model.vertices, triangles, raster)[before].T
    share = np.where(y < 7.26, 0.175, 0.50) * (0.6 + 0.4 * np.sin(260 * x))
    at = raster.pixel[before]
    canvas.ravel()[at] = canvas.ravel()[at] * (1 - share) + 0.015 * share


def _develop(
    canvas: Float64[np.ndarray, "s s"], identity: Identity, scene: Scene, size: int
) -> UInt8[np.ndarray, "{size} {size}"]:
    """Film curve, gamma, averaging of the rays, sensor noise, rounding to bytes.

    The exposure partly follows the skin, as a camera's meter does.
    """
    metered = (_METERED_SKIN / identity.skin) ** _METERING
    exposed = 1.2 * scene.exposure * metered * canvas
    tone = np.clip(1.35 * exposed / (1 + 0.75 * exposed), 0, 1) ** (scene.gamma / 2.2)
    image = tone.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean((1, 3))
    noise = np.random.default_rng(scene.noise_seed).normal(0, scene.noise, (size, size))
    return np.rint(255 * np.clip(image + noise, 0, 1)).astype(np.uint8)
