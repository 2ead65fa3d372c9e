"""The head: one mesh with named shape changes ("targets"), from the file head_model.npz beside it.

Owns the file's layout and nothing else. Numpy only; must not import the renderer or TensorFlow.
Lengths are decimetres (MakeHuman's unit), x to the subject's left, y up, z out of the face.
Origin and licence of the file: PROVENANCE.md beside it.
"""

import dataclasses
import enum
import functools
import importlib.resources

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

TARGET_UNIT = 1000.0  # targets are stored as int16 in units of 1e-3 dm
MASKS = ("lips", "eyelids", "inside-mouth", "ears")


class Part(enum.IntEnum):
    """What a triangle belongs to; left and right are the subject's."""

    SKIN = 0
    LEFT_EYE = 1
    RIGHT_EYE = 2
    UPPER_TEETH = 3
    LOWER_TEETH = 4
    TONGUE = 5
    HAIR = 6  # MakeHuman's guide strips; not rendered
    LASHES = 7


@dataclasses.dataclass(frozen=True, eq=False)
class HeadModel:
    """A triangle mesh and its targets.

    Attributes:
      vertices: mean head [dm].
      triangles: vertex numbers, counter-clockwise seen from outside.
      parts: `Part` of each triangle.
      vertex_parts: `Part` of each vertex.
      occlusion: ambient light that reaches a vertex, 0 none to 1 all.
      masks: how far a vertex lies in each region of `MASKS`, 0 to 1.
      names: target names "kind/name" with kind macro, local, arkit or, not used, unit-<race>.
      starts, index, offset: target i moves vertices index[starts[i]:starts[i+1]] by offset [dm].
    """

    vertices: Float64[np.ndarray, "v 3"]
    triangles: Int64[np.ndarray, "t 3"]
    parts: Int64[np.ndarray, " t"]
    vertex_parts: Int64[np.ndarray, " v"]
    occlusion: Float64[np.ndarray, " v"]
    masks: dict[str, Float64[np.ndarray, " v"]]
    names: tuple[str, ...]
    starts: Int64[np.ndarray, " n"]
    index: Int64[np.ndarray, " e"]
    offset: Float64[np.ndarray, "e 3"]

    @classmethod
    @functools.cache
    def load(cls) -> "HeadModel":
        """The head of the package; read once per process."""
        resource = importlib.resources.files("ifgan_jax.data.synthetic") / "head_model.npz"
        with importlib.resources.as_file(resource) as path, np.load(path, allow_pickle=False) as d:
            data = {name: d[name] for name in d.files}
        quads, quads_uv, group = (
            data[name].astype(np.int64) for name in ("quads", "quads_uv", "group")
        )
        vertex_parts = np.zeros(len(data["verts"]), np.int64)
        for part in Part:
            vertex_parts[quads[group == part]] = part
        return cls(
            vertices=_settle_mouth(data["verts"].astype(np.float64), vertex_parts),
            triangles=split_quads(quads),
            parts=np.concatenate([group, group]),
            vertex_parts=vertex_parts,
            occlusion=data["ao"].astype(np.float64),
            masks={name: _per_vertex(data["mask_" + name], quads, quads_uv) for name in MASKS},
            names=tuple(str(name) for name in data["names"]),
            starts=data["ptr"].astype(np.int64),
            index=data["idx"].astype(np.int64),
            offset=data["val"] / TARGET_UNIT,
        )

    @functools.cached_property
    def _number(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def has(self, name: str) -> bool:
        """Whether the target exists."""
        return name in self._number

    def target(self, name: str) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, "k 3"]]:
        """Vertex numbers (each once) and their offsets [dm] at weight 1.

        Raises:
          ValueError: the model has no target of this name.
        """
        if name not in self._number:
            raise ValueError(f"head model: no target named {name!r}; see HeadModel.names")
        i = self._number[name]
        entries = slice(self.starts[i], self.starts[i + 1])
        return self.index[entries], self.offset[entries]

    def add(self, vertices: Float64[np.ndarray, "v 3"], name: str, weight: float) -> None:
        """Moves `vertices` in place by `weight` times the target."""
        index, offset = self.target(name)
        vertices[index] += weight * offset

    @functools.cached_property
    def eyes(self) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
        """Vertices of the subject's left and right eyeball."""
        left, right = (np.flatnonzero(self.vertex_parts == p) for p in (1, 2))
        return left, right

    @functools.cached_property
    def upper_teeth(self) -> Int64[np.ndarray, " k"]:
        """Vertices of what moves with the skull inside the mouth."""
        return np.flatnonzero(self.vertex_parts == Part.UPPER_TEETH)

    @functools.cached_property
    def lower_mouth(self) -> Int64[np.ndarray, " k"]:
        """Vertices of what moves with the jaw inside the mouth: lower teeth and tongue."""
        parts = self.vertex_parts
        return np.flatnonzero((parts == Part.LOWER_TEETH) | (parts == Part.TONGUE))

    @functools.cached_property
    def lips(self) -> Int64[np.ndarray, " k"]:
        """Vertices of both lips."""
        return np.flatnonzero((self.masks["lips"] > 0.4) & (self.vertex_parts == Part.SKIN))

    @functools.cached_property
    def mouth_corners(self) -> tuple[int, int]:
        """The vertices at the subject's left and right mouth corner."""
        x = self.vertices[self.lips, 0]
        return int(self.lips[np.argmax(x)]), int(self.lips[np.argmin(x)])

    @functools.cached_property
    def nose_tip(self) -> int:
        """The foremost vertex of the skin between eyes and mouth."""
        eye = self.vertices[np.concatenate(self.eyes), 1].mean()
        mouth = self.vertices[self.lips, 1].max()
        y = self.vertices[:, 1]
        nose = np.flatnonzero((self.vertex_parts == Part.SKIN) & (y < eye) & (y > mouth))
        return int(nose[np.argmax(self.vertices[nose, 2])])


def _settle_mouth(
    vertices: Float64[np.ndarray, "v 3"], parts: Int64[np.ndarray, " v"]
) -> Float64[np.ndarray, "v 3"]:
    """Lowers the upper teeth behind the lip's edge, evens both rows, and lays the tongue down.

    MakeHuman's rows curve up by 1 dm per dm² to the sides, so that a smile shows gums only and an
    open jaw shows two fangs; its tongue touches the palate. Both rows go back a little, clear of
    the cheeks.
    """
    upper, lower, tongue = (parts == p for p in (Part.UPPER_TEETH, Part.LOWER_TEETH, Part.TONGUE))
    side = vertices[:, 0] ** 2
    settled = vertices.copy()
    settled[upper, 1] -= 0.040 + 0.75 * side[upper]
    settled[lower, 1] -= 0.020 + 0.95 * side[lower]
    settled[upper | lower] *= np.array([0.97, 1.0, 1.0])
    settled[upper | lower, 2] -= 0.010 + 0.3 * side[upper | lower]
    settled[tongue] -= np.array([0.0, 0.11, 0.09])
    return settled


def split_quads(quads: Int64[np.ndarray, "q 4"]) -> Int64[np.ndarray, "2*q 3"]:
    """Two triangles a quad: first all of (0, 1, 2), then all of (0, 2, 3)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _per_vertex(
    mask: UInt8[np.ndarray, " u"],
    quads: Int64[np.ndarray, "q 4"],
    quads_uv: Int64[np.ndarray, "q 4"],
) -> Float64[np.ndarray, " v"]:
    """A mask on texture coordinates as one on vertices; at texture seams the larger value."""
    values: Float[np.ndarray, " v"] = np.zeros(int(quads.max()) + 1)
    np.maximum.at(values, quads.ravel(), mask[quads_uv].ravel() / 255.0)
    return values
