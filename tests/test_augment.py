"""Augmentation by dm-pix: ranges, each part alone, keys."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax.arrays import to_model_range
from ifgan_jax.augment import Augmentation, augment, centre_crop, prepare

PLAIN = Augmentation(crop=8, max_rotation=0.0, flip_probability=0.0)


def images(count: int = 64, side: int = 8) -> jax.Array:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, 256, (count, side, side, 1), np.uint8))


def test_without_options_only_the_range_changes():
    x = images()
    np.testing.assert_allclose(augment(jax.random.key(0), x, PLAIN), to_model_range(x), atol=1e-6)
    assert float(to_model_range(jnp.array([0, 255])).min()) == -1
    assert float(to_model_range(jnp.array([0, 255])).max()) == 1


def test_flips_half_of_the_images():
    x, options = images(), dataclasses.replace(PLAIN, flip_probability=0.5)
    y, plain = augment(jax.random.key(0), x, options), to_model_range(x)
    same = np.isclose(y, plain, atol=1e-6).all((1, 2, 3))
    flipped = np.isclose(y, plain[:, :, ::-1], atol=1e-6).all((1, 2, 3))
    assert np.all(same ^ flipped)
    assert 16 < flipped.sum() < 48


def test_crops_lie_anywhere_in_the_image():
    """Each image holds its own coordinates, so a crop tells where it was taken."""
    row, column = np.mgrid[:12, :12]
    x = jnp.asarray(np.repeat((row * 12 + column)[None, :, :, None], 256, 0).astype(np.uint8))
    y = augment(jax.random.key(0), x, PLAIN)
    corner = np.rint((np.asarray(y[:, 0, 0, 0]) + 1) * 127.5).astype(int)
    assert set(zip(corner // 12, corner % 12, strict=True)) == {
        (r, c) for r in range(5) for c in range(5)
    }


def test_rotation_is_uniform_within_its_bounds():
    """A ramp's gradient turns with the image: its angle is the drawn one."""
    ramp = np.broadcast_to(np.linspace(40, 200, 33)[None, None, :, None], (200, 33, 33, 1))
    options = Augmentation(crop=33, max_rotation=5.0, flip_probability=0.0)
    y = np.asarray(augment(jax.random.key(0), jnp.asarray(ramp.astype(np.uint8)), options))
    centre = y[:, 8:25, 8:25, 0]
    down = np.gradient(centre, axis=1).mean((1, 2))
    across = np.gradient(centre, axis=2).mean((1, 2))
    angles = np.degrees(np.arctan2(down, across))
    assert np.abs(angles).max() < 5.3
    assert np.abs(angles).max() > 4.5
    assert abs(angles.mean()) < 1
    assert angles.std() == pytest.approx(5 / math.sqrt(3), rel=0.15)


def test_flips_and_angles_are_drawn_apart():
    """A ramp falls where it was flipped, whatever its angle."""
    ramp = np.broadcast_to(np.linspace(40, 200, 33)[None, None, :, None], (400, 33, 33, 1))
    options = Augmentation(crop=33, max_rotation=5.0, flip_probability=0.5)
    y = np.asarray(augment(jax.random.key(0), jnp.asarray(ramp.astype(np.uint8)), options))
    down, across = (np.gradient(y[:, 8:25, 8:25, 0], axis=i).mean((1, 2)) for i in (1, 2))
    angle, flipped = np.arctan(down / across), across < 0
    assert 160 < flipped.sum() < 240
    assert abs(np.corrcoef(angle, flipped)[0, 1]) < 0.15  # three deviations of 400 draws
    assert abs(np.corrcoef(np.abs(angle), flipped)[0, 1]) < 0.15


def test_same_key_same_numbers_and_another_image_in_the_batch_changes_nothing():
    x, options = images(), Augmentation(crop=6, max_rotation=5.0, flip_probability=0.5)
    y = augment(jax.random.key(0), x, options)
    np.testing.assert_array_equal(y, augment(jax.random.key(0), x, options))
    assert np.any(y != augment(jax.random.key(1), x, options))
    other = augment(jax.random.key(0), x.at[3].set(0), options)
    np.testing.assert_array_equal(np.delete(y, 3, 0), np.delete(other, 3, 0))


def test_centre_crop():
    x = jnp.arange(36.0).reshape(1, 6, 6, 1)
    np.testing.assert_array_equal(centre_crop(x, 4), x[:, 1:5, 1:5])
    grey = jnp.full((1, 6, 6, 1), 255, jnp.uint8)
    np.testing.assert_array_equal(prepare(grey, 4), np.ones((1, 4, 4, 1)))
