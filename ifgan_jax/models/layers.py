"""Layers that the three networks share, in the forms that compile to fast code on CPU, GPU and TPU.

Every form here equals a plain operation, gradients included (tests/models/test_layers.py). NHWC
throughout. `dtype` is the type of the arithmetic; parameters and statistics are kept in
`storage_dtype(dtype)`.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ifgan_jax.arrays import storage_dtype
from ifgan_jax.models.convolution import Padding, convolve

Initializer = Callable[..., jax.Array]
NO_PADDING: Padding = ((0, 0), (0, 0))
# What the backward pass computes again instead of keeping it: nothing, the attention's scores, or
# these and the inside of every stage of G and residual block of E.
REMAT = ("none", "attention", "blocks")
MOMENTUM = 0.9  # of the running statistics: PyTorch's 0.1
EPSILON = 1e-5  # added to the variance, as PyTorch does
GAN_INIT = nn.initializers.normal(0.02)  # pix2pix: every convolution of G and D


def gan_scale_init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """pix2pix: BatchNorm scales drawn from N(1, 0.02)."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class Conv(nn.Module):
    """A convolution with the parameters of `nn.Conv`, in the forms of `convolution.convolve`."""

    features: int
    kernel_size: tuple[int, int]
    padding: Padding
    dtype: DTypeLike
    kernel_init: Initializer
    strides: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow f"]:
        kept = storage_dtype(self.dtype)
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, kept)
        x, kernel = jnp.asarray(x, self.dtype), jnp.asarray(kernel, self.dtype)
        y = convolve(x, kernel, self.strides, self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), kept)
            y += bias.astype(self.dtype)
        return y


def run_block(
    block: nn.Module, x: Float[Array, "b h w c"], *, train: bool, remat: str
) -> Float[Array, "b oh ow f"]:
    """block(x, train=train); under "blocks" its inside is computed again in the backward pass."""

    def run(block: nn.Module, x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow f"]:
        return block(x, train=train)

    return nn.remat(run)(block, x) if remat == "blocks" else run(block, x)


class BatchNorm(nn.Module):
    """`nn.BatchNorm` by the batch's statistics (`train`) or the running ones, for speed.

    The biased variance; statistics in at least float32, over the global batch.
    """

    train: bool
    dtype: DTypeLike
    scale_init: Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        kept, features = storage_dtype(self.dtype), x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, features, kept)
        running_var = self.variable("batch_stats", "var", jnp.ones, features, kept)
        scale = self.param("scale", self.scale_init, features, kept)
        bias = self.param("bias", nn.initializers.zeros, features, kept)
        if not self.train:
            gain = scale * jax.lax.rsqrt(running_var.value + EPSILON)
            return ((x - running_mean.value) * gain + bias).astype(self.dtype)
        y, mean, var = normalize(x.astype(self.dtype), scale, bias)
        if not self.is_initializing():
            for running, of_batch in ((running_mean, mean), (running_var, var)):
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * of_batch
        return y


Normalized = tuple[Float[Array, "*n c"], Float[Array, " c"], Float[Array, " c"]]


@jax.custom_vjp
def normalize(
    x: Float[Array, "*n c"], scale: Float[Array, " c"], bias: Float[Array, " c"]
) -> Normalized:
    """x with mean 0 and variance 1 over all axes but the last, scaled and shifted; both statistics.

    The backward pass is the closed form: two sums and one pass over x, where differentiating the
    sums takes several. No gradient flows through the two statistics given back.
    """
    return _normalize(x, scale, bias)[0]


def _normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[Normalized, tuple[jax.Array, ...]]:
    axes = tuple(range(x.ndim - 1))
    wide = x.astype(scale.dtype)
    mean = wide.mean(axes)
    var = jnp.maximum(0.0, jnp.square(wide).mean(axes) - jnp.square(mean))
    inverse = jax.lax.rsqrt(var + EPSILON)  # 1/σ
    gain = scale * inverse
    y = (gain * wide + (bias - gain * mean)).astype(x.dtype)
    return (y, mean, var), (x, scale, mean, inverse)


def _normalize_backward(
    saved: tuple[jax.Array, ...], cotangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With x̂ = (x - μ)/σ: dx = scale/σ · (dy - mean(dy) - x̂ · mean(dy · x̂)).

    Sorted by dy, x and the rest: a sum of two products and a number for each channel.
    """
    x, scale, mean, inverse = saved
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    wide, dy = x.astype(scale.dtype), cotangents[0].astype(scale.dtype)
    d_bias = dy.sum(axes)
    d_scale = ((dy * wide).sum(axes) - mean * d_bias) * inverse  # Σ dy · x̂
    gain = scale * inverse
    slope = -gain * inverse * d_scale / count
    dx = gain * dy + (slope * wide - (gain * d_bias / count + slope * mean))
    return dx.astype(x.dtype), d_scale, d_bias


normalize.defvjp(_normalize, _normalize_backward)


@jax.custom_vjp
def relu(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """`jax.nn.relu`, its gradient read off the output, which the next layer keeps anyway.

    As a choice between two arrays XLA's CPU compiler computes it once. A maximum with 0 it computes
    again wherever it is used, and with it the whole chain of residual blocks before it.
    """
    return jnp.where(x <= 0, jnp.zeros((), x.dtype), x)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = relu(x)
    return y, y


def _relu_backward(y: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(y > 0, dy, 0),)


relu.defvjp(_relu_forward, _relu_backward)


def _largest(pixels: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The largest of each window's pixels, and which it is: the first of equals.

    A backward pass that looked for the maximum among the pixels could miss it: XLA may compute them
    once more for the comparison, fused in another way and so rounded in another way.
    """
    largest, which = pixels[0], jnp.zeros(pixels[0].shape, jnp.uint8)
    for i, pixel in enumerate(pixels[1:], 1):
        which = jnp.where(pixel > largest, jnp.uint8(i), which)
        largest = jnp.maximum(largest, pixel)
    return largest, which


@jax.custom_vjp
def max_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """2×2 max pooling, stride 2, with a backward pass without scatter."""
    return _pool_2x2(x)[0]


def _pool_2x2(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    b, h, w, c = x.shape
    windows = x.reshape(b, h // 2, 2, w // 2, 2, c)  # odd sides are refused
    return _largest([windows[:, :, i, :, j] for i in (0, 1) for j in (0, 1)])


def _pool_2x2_backward(which: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    b, h, w, c = dy.shape
    pixel = jnp.arange(4, dtype=jnp.uint8).reshape(2, 1, 2, 1)
    windows = jnp.where(which[:, :, None, :, None] == pixel, dy[:, :, None, :, None], 0)
    return (windows.reshape(b, 2 * h, 2 * w, c),)


max_pool_2x2.defvjp(_pool_2x2, _pool_2x2_backward)


def max_pool_3x3_stride_2(x: Float[Array, "b h w c"]) -> Float[Array, "b oh ow c"]:
    """ResNet's stem pool, padding 1, with a backward pass without scatter."""
    ends = [(1, 1 + size % 2) for size in x.shape[1:3]]  # to an even number of rows and columns
    return _pool_3x3(jnp.pad(x, ((0, 0), *ends, (0, 0)), constant_values=-jnp.inf))


@jax.custom_vjp
def _pool_3x3(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2-1 w/2-1 c"]:
    return _pool_3x3_forward(x)[0]


def _pool_3x3_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    h, w = x.shape[1:3]
    return _largest(
        [x[:, i : h + i - 2 : 2, j : w + j - 2 : 2] for i in range(3) for j in range(3)]
    )


def _pool_3x3_backward(which: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    """By phases of the pixels: odd rows lie in one window, even ones in two neighbours."""
    b, h, w, c = dy.shape
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    which, dy = jnp.pad(which, around), jnp.pad(dy, around)

    def of_phase(row: int, column: int) -> jax.Array:
        total = jnp.zeros((), dy.dtype)
        for i in range(row, 2):  # 0: the window before, 1: the one that starts here
            for j in range(column, 2):
                window = (slice(None), slice(i, i + h + 1), slice(j, j + w + 1))
                pixel = 3 * (row + 2 - 2 * i) + column + 2 - 2 * j
                total += jnp.where(which[window] == pixel, dy[window], 0)
        return total

    rows = [jnp.stack([of_phase(i, 0), of_phase(i, 1)], 3) for i in (0, 1)]
    return (jnp.stack(rows, 2).reshape(b, 2 * h + 2, 2 * w + 2, c),)


_pool_3x3.defvjp(_pool_3x3_forward, _pool_3x3_backward)


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
            padding = (window[row], window[column])
            return convolve(x.astype(self.dtype), phases[row, column], 1, padding)

        rows = [jnp.stack([phase(row, 0), phase(row, 1)], axis=3) for row in (0, 1)]
        return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, self.features)
