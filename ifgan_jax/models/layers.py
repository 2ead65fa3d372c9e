"""Layers that the three networks share, in the forms that compile to fast code on CPU, GPU and TPU.

Every form here equals a plain operation (tests/models/test_layers.py). NHWC throughout. `dtype` is
the type of the arithmetic; parameters and statistics are kept in `storage_dtype(dtype)`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ifgan_jax.arrays import storage_dtype

Initializer = Callable[..., jax.Array]
# What the backward pass computes again instead of keeping it: nothing, the attention's scores, or
# these and the inside of every stage of G and residual block of E.
REMAT = ("none", "attention", "blocks")
GAN_INIT = nn.initializers.normal(0.02)  # pix2pix: every convolution of G and D


def gan_scale_init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """pix2pix: BatchNorm scales drawn from N(1, 0.02)."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def conv(dtype: DTypeLike, **options: Any) -> Callable[..., nn.Conv]:
    """`nn.Conv` with our types and the small-map form; padding is always given explicitly."""
    return partial(
        nn.Conv,
        dtype=dtype,
        param_dtype=storage_dtype(dtype),
        conv_general_dilated=conv_general_dilated,
        **options,
    )


def run_block(
    block: nn.Module, x: Float[Array, "b h w c"], *, train: bool, remat: str
) -> Float[Array, "b oh ow f"]:
    """block(x, train=train); under "blocks" its inside is computed again in the backward pass."""

    def run(block: nn.Module, x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow f"]:
        return block(x, train=train)

    return nn.remat(run)(block, x) if remat == "blocks" else run(block, x)


def batch_norm(dtype: DTypeLike, train: bool, scale_init: Initializer) -> Callable[..., nn.Module]:
    """`nn.BatchNorm`, momentum 0.9 (PyTorch's 0.1); statistics in at least float32."""
    return partial(
        nn.BatchNorm,
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=dtype,
        param_dtype=storage_dtype(dtype),
        force_float32_reductions=jnp.dtype(dtype) != jnp.float64,  # else flax keeps float32
        scale_init=scale_init,
    )


def max_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """2×2 max pooling, stride 2, as a maximum over two axes: a backward pass without scatter.

    Ties (windows of zeros behind a ReLU) share the gradient; `nn.max_pool` gives it to the first.
    """
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


def max_pool_3x3_stride_2(x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow c"]:
    """ResNet's stem pool, padding 1 of -inf, as the maximum of nine shifted slices."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    windows = [padded[:, i : i + h : 2, j : j + w : 2] for i in range(3) for j in range(3)]
    return jnp.stack(windows).max(0)


def conv_general_dilated(
    x: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, by im2col and one matrix product where the map is tiny.

    A 3×3 convolution that gives a 2×2 map (ResNet's last stage at 64 px) costs XLA's CPU backward
    pass fifty times the product's time; on GPU and TPU a product of this size is no slower.
    """
    kh, kw, channels, features = kernel.shape
    (top, bottom), (left, right) = padding
    oh = (x.shape[1] + top + bottom - kh) // window_strides[0] + 1
    ow = (x.shape[2] + left + right - kw) // window_strides[1] + 1
    if oh * ow > 4 or kh * kw == 1:
        return jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **options)
    padded = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    sh, sw = window_strides
    patches = [
        padded[:, i : i + sh * (oh - 1) + 1 : sh, j : j + sw * (ow - 1) + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    columns = jnp.concatenate(patches, -1).reshape(-1, kh * kw * channels)
    return (columns @ kernel.reshape(-1, features)).reshape(x.shape[0], oh, ow, features)


class UpConv(nn.Module):
    """Nearest ×2, then a 3×3 convolution with padding 1 (Fig. 3's "up-conv 3x3").

    Computed on the small map: an output pixel of phase (a, b), its row and column mod 2, sees a
    2×2 window of it, through those of the nine taps that fall on the same small pixel, added up.
    Four 2×2 convolutions and a pixel shuffle: 16/36 of the multiplications.
    """

    features: int
    dtype: DTypeLike
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w f"]:
        b, h, w, c = x.shape
        shape = (3, 3, c, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, storage_dtype(self.dtype))
        # fold[a, s, u] = 1: tap u of phase a reads pixel s of its window of two.
        fold = jnp.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], kernel.dtype)
        phases = jnp.einsum("asu,btv,uvcf->abstcf", fold, fold, kernel).astype(self.dtype)
        window = ((1, 0), (0, 1))  # phase 0 starts one pixel before the small pixel, phase 1 at it

        def phase(row: int, column: int) -> Float[Array, "b h w f"]:
            return jax.lax.conv_general_dilated(
                x.astype(self.dtype),
                phases[row, column],
                window_strides=(1, 1),
                padding=(window[row], window[column]),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )

        rows = [jnp.stack([phase(row, 0), phase(row, 1)], axis=3) for row in (0, 1)]
        return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, self.features)
