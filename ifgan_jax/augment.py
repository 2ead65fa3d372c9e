"""Augmentation of the training images (Sec. 4.2), by dm-pix, inside the compiled step.

256 px: random horizontal flip, rotation, random 224 crop. The target is not augmented: it is the
fixed centre crop of the average face, so G learns to undo all three (docs/decisions.md, row s).
Keys come first; nothing here stores randomness.
"""

import dataclasses
import math

import dm_pix as pix
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ifgan_jax.arrays import PRNGKey, to_model_range


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """crop: side of the model's input in pixels; max_rotation: degrees, drawn from ± of it."""

    crop: int
    max_rotation: float
    flip_probability: float


def augment(
    key: PRNGKey, images: UInt8[Array, "b h w c"], options: Augmentation
) -> Float[Array, "b s s c"]:
    """Flipped, rotated and cropped images in [-1, 1]; a key and an image give one result."""

    def one(key: PRNGKey, image: Float[Array, "h w c"]) -> Float[Array, "s s c"]:
        flip_key, rotation_key, crop_key = jax.random.split(key, 3)
        image = pix.random_flip_left_right(flip_key, image, probability=options.flip_probability)
        degrees = options.max_rotation * jax.random.uniform(
            rotation_key, (), image.dtype, minval=-1.0
        )
        image = pix.rotate(image, degrees * math.pi / 180)  # bilinear, border repeated
        return pix.random_crop(crop_key, image, (options.crop, options.crop, image.shape[-1]))

    return jax.vmap(one)(jax.random.split(key, len(images)), to_model_range(images))


def centre_crop(images: Float[Array, "b h w c"], crop: int) -> Float[Array, "b {crop} {crop} c"]:
    """The fixed centre patch: of test images (Sec. 4.2), and of average faces (decisions.md, s)."""
    return jax.vmap(lambda image: pix.center_crop(image, crop, crop))(images)


def prepare(
    images: UInt8[Array | np.ndarray, "b h w c"] | Float[Array | np.ndarray, "b h w c"], crop: int
) -> Float[Array, "b {crop} {crop} c"]:
    """Grey levels in [0, 255] to centre-cropped model input, without augmentation."""
    return centre_crop(to_model_range(jnp.asarray(images)), crop)
