"""Discriminator D: the 70×70 PatchGAN of pix2pix (Isola et al. 2017) on a pair of faces."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from ifgan_jax.arrays import Image, PatchLogits, storage_dtype
from ifgan_jax.models.layers import GAN_INIT, BatchNorm, Conv, gan_scale_init


class PatchGAN(nn.Module):
    """4×4 convolutions of strides 2, 2, 2, 1, 1: each logit judges a 70×70 patch of the pair.

    26×26 logits at 224 px. width: features of the first layer, doubled up to eight times.
    """

    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, source: Image, face: Image, *, train: bool) -> PatchLogits:
        convolution = partial(
            Conv,
            kernel_size=(4, 4),
            padding=((1, 1), (1, 1)),
            dtype=self.dtype,
            kernel_init=GAN_INIT,
        )
        norm = partial(BatchNorm, train, self.dtype, gan_scale_init)
        leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)
        x = jnp.concatenate([source, face], axis=-1).astype(self.dtype)
        x = leaky_relu(convolution(self.width, strides=2)(x))
        for factor, stride in ((2, 2), (4, 2), (8, 1)):
            x = convolution(factor * self.width, strides=stride, use_bias=False)(x)
            x = leaky_relu(norm()(x))
        return convolution(1)(x).astype(storage_dtype(self.dtype))
