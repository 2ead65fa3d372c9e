"""Convolutions in the forms that are fast on a CPU; elsewhere XLA's own, but on tiny maps.

Every form equals the plain operation, gradients included, for finite numbers
(tests/models/test_convolution.py). NHWC images, HWIO kernels, padding always explicit.

What XLA's CPU does badly, and what is done here instead (docs/benchmarks.md has the figures):
the gradient of the input of a strided convolution multiplies by the zeros of the dilated output,
few features leave most of each vector empty, and 3×3 convolutions on 2×2 maps cost fifty times the
matrix product that they are.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ifgan_jax.arrays import storage_dtype

Padding = tuple[tuple[int, int], tuple[int, int]]
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "u v c f"], stride: int, padding: Padding
) -> Float[Array, "b oh ow f"]:
    """`jax.lax.conv_general_dilated` by the same stride in both directions."""
    kh, kw = kernel.shape[:2]
    oh, ow = output_size(x.shape, kernel.shape, stride, padding)
    if oh * ow <= 4 and kh * kw > 1:
        return _by_product(x, kernel, stride, padding)
    return _convolve(x, kernel, stride, padding)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    # Where no gradient is asked for, XLA's own: exported programs have no branches by platform.
    return plain(x, kernel, stride, padding)


def plain(x: jax.Array, kernel: jax.Array, stride: int, padding: Sequence) -> jax.Array:
    """XLA's own, whatever the sizes."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS
    )


def _forward(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> tuple:
    if run_of(kernel.shape) == 1:
        return plain(x, kernel, stride, padding), (x, kernel)
    y = jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _by_runs(x, kernel, stride, padding),
        default=lambda x, kernel: plain(x, kernel, stride, padding),
    )
    return y, (x, kernel)


def _backward(
    stride: int, padding: Padding, saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return jax.lax.platform_dependent(
        *saved,
        dy,
        cpu=lambda x, kernel, dy: (
            _input_gradient(x, kernel, dy, stride, padding),
            _kernel_gradient(x, kernel, dy, stride, padding),
        ),
        default=lambda x, kernel, dy: jax.vjp(
            lambda x, kernel: plain(x, kernel, stride, padding), x, kernel
        )[1](dy),
    )


_convolve.defvjp(_forward, _backward)


def run_of(kernel: Sequence[int]) -> int:
    """Neighbouring outputs that `_by_runs` computes as one, as measured; 1: it is no faster."""
    kh, kw, channels, features = kernel
    if kh * kw == 1 or features == 1:
        return 1
    if channels <= 2:
        return 4 if features <= 32 else 2
    return 2 if features <= 8 and channels <= 16 else 1


def _by_runs(x: jax.Array, kernel: jax.Array, stride: int, padding: Sequence) -> jax.Array:
    """Neighbouring outputs of a row as features of one convolution: by strides as long as a run.

    The kernel is as wide as what a run reads, with zeros where an output of it does not.
    """
    run, (low, _) = run_of(kernel.shape), padding[1]
    if run == 1:
        return plain(x, kernel, stride, padding)
    oh, ow = output_size(x.shape, kernel.shape, stride, padding)
    runs, last = -(-ow // run), stride * (run - 1)  # where a run's last output is
    taps = [
        jnp.pad(kernel, ((0, 0), (place, last - place), (0, 0), (0, 0)))
        for place in range(0, last + 1, stride)
    ]
    read = stride * run * (runs - 1) + last + kernel.shape[1]
    y = jax.lax.conv_general_dilated(
        x,
        jnp.concatenate(taps, -1),
        (stride, stride * run),
        (padding[0], (low, read - x.shape[2] - low)),
        dimension_numbers=DIMENSIONS,
    )
    return y.reshape(x.shape[0], oh, runs * run, kernel.shape[3])[:, :, :ow]


def _kernel_gradient(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """Σ over images and positions: a convolution of x with dy, images as channels.

    Of dy with x, which finds the taps in reverse, where x has more channels: those of the second
    one fill the vectors. (Not where dy has one: 28 ms for 3.3 at D's last layer.)
    """
    kh, kw, c, f = kernel.shape
    oh, ow = dy.shape[1:3]
    # up to the last row that dy's taps reach; what lies beyond was not read
    pads = [
        (low, stride * (out - 1) + k - size - low)
        for size, (low, _), out, k in zip(x.shape[1:3], padding, (oh, ow), (kh, kw), strict=True)
    ]
    if kh == kw == 1:
        sides = ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0))
        read = jax.lax.pad(x, jnp.zeros((), x.dtype), sides)
        pixels = read[:, ::stride, ::stride].reshape(-1, c)
        # turned by itself: a product that turns its operand takes 1.1 to 1.7 times as long
        turned = jax.lax.optimization_barrier(pixels.T)
        return (turned @ dy.reshape(-1, f)).reshape(kernel.shape)

    if stride == 1 and 1 < f < c:
        reverse = [
            (k - 1 - low, k - 1 - high) for (low, high), k in zip(pads, (kh, kw), strict=True)
        ]
        return _over_images(dy, x, stride, reverse)[:, ::-1, ::-1].transpose(1, 2, 3, 0)
    return _over_images(x, dy, stride, pads).transpose(1, 2, 0, 3)


def _over_images(x: jax.Array, taps: jax.Array, dilation: int, pads: Sequence) -> jax.Array:
    """x's images as channels, by as many taps: a channel of x for an image of the result."""
    return jax.lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        taps.transpose(1, 2, 0, 3),
        (1, 1),
        pads,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=DIMENSIONS,
    )


def _input_gradient(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """In the form that is fastest for its sizes."""
    if x.shape[-1] <= 4:
        return _input_gradient_at_once(x, kernel, dy, stride, padding)
    if dy.shape[-1] >= 512 and math.prod(dy.shape[1:3]) <= 256:
        return _input_gradient_by_product(x, kernel, dy, stride, padding)
    return _input_gradient_by_phases(x, kernel, dy, stride, padding)


def _input_gradient_at_once(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """The phases as features of one convolution: alone, one of few channels leaves vectors empty.

    x[stride·m + a] was read by tap a + low - stride·t from output m + t.
    """
    b, h, w, c = x.shape
    indices, pads, positions = [], [], []
    for size, out, k, (low, _) in zip(
        (h, w), dy.shape[1:3], kernel.shape[:2], padding, strict=True
    ):
        first, last = -((k - 1 - low) // stride), (stride - 1 + low) // stride  # t
        tap = np.arange(stride) + low - stride * np.arange(first, last + 1)[:, None]
        indices.append(np.where((tap >= 0) & (tap < k), tap, k))  # k: zeros
        positions.append(-(-size // stride))
        pads.append((-first, positions[-1] + last - out))
    with_zeros = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    rows, columns = indices
    taps = with_zeros[rows[:, None, :, None], columns[None, :, None, :]]  # (t, t, a, a, c, f)
    features = taps.transpose(0, 1, 5, 2, 3, 4).reshape(len(rows), len(columns), dy.shape[-1], -1)
    phases = _by_runs(dy, features, 1, pads).reshape(b, *positions, stride, stride, c)
    whole = phases.swapaxes(2, 3).reshape(b, stride * positions[0], stride * positions[1], c)
    return whole[:, :h, :w]


def _input_gradient_by_product(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """dy times each tap, added up where the tap had read x.

    For many features on small maps, where turning the kernel around costs as much as using it.
    """
    wide = storage_dtype(dy.dtype)
    taps = jnp.einsum("bijf,uvcf->bijuvc", dy, kernel, preferred_element_type=wide)

    def place(axis: int, tap: int) -> tuple[int, int, int]:
        """Zeros before, after (either may cut off) and between: output o is x's stride·o + low."""
        low = tap - padding[axis][0]
        return low, x.shape[1 + axis] - low - stride * (dy.shape[1 + axis] - 1) - 1, stride - 1

    zero, whole = jnp.zeros((), wide), (0, 0, 0)
    parts = (
        jax.lax.pad(taps[:, :, :, u, v], zero, (whole, place(0, u), place(1, v), whole))
        for u in range(kernel.shape[0])
        for v in range(kernel.shape[1])
    )
    return sum(parts, start=zero).astype(dy.dtype)


def _input_gradient_by_phases(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    """One convolution of dy for each phase of x (its row and column mod stride), interleaved.

    x[stride·m + a] was read by taps u ≡ a + low (mod stride) only; a dilated dy would make the
    others multiply zeros.
    """
    b, h, w, c = x.shape
    positions = (-(-h // stride), -(-w // stride))  # of a phase
    turned = kernel.swapaxes(2, 3)

    def phase(*offsets: int) -> jax.Array:
        starts, pads = [], []
        for axis, offset in enumerate(offsets):
            ahead, start = divmod(offset + padding[axis][0], stride)
            count = len(range(start, kernel.shape[axis], stride))
            low = count - 1 - ahead
            starts.append(start)
            pads.append((low, positions[axis] - dy.shape[1 + axis] - low + count - 1))
        part = turned[starts[0] :: stride, starts[1] :: stride][::-1, ::-1]
        return _by_runs(dy, part, 1, pads) if part.size else jnp.zeros((b, *positions, c), dy.dtype)

    if stride == 1:
        return phase(0, 0)
    rows = [jnp.stack([phase(i, j) for j in range(stride)], 3) for i in range(stride)]
    whole = jnp.stack(rows, 2).reshape(b, stride * positions[0], stride * positions[1], c)
    return whole[:, :h, :w]


def output_size(
    shape: Sequence[int], kernel: Sequence[int], stride: int, padding: Sequence
) -> tuple[int, int]:
    """Rows and columns that a convolution of an NHWC shape with an HWIO kernel's gives."""
    oh, ow = (
        (size + low + high - k) // stride + 1
        for size, (low, high), k in zip(shape[1:3], padding, kernel[:2], strict=True)
    )
    return oh, ow


def _by_product(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """im2col and one matrix product, for maps of a few positions (ResNet's last stage at 64 px)."""
    kh, kw, channels, features = kernel.shape
    oh, ow = output_size(x.shape, kernel.shape, stride, padding)
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    patches = [
        padded[:, i : i + stride * (oh - 1) + 1 : stride, j : j + stride * (ow - 1) + 1 : stride]
        for i in range(kh)
        for j in range(kw)
    ]
    columns = jnp.concatenate(patches, -1).reshape(-1, kh * kw * channels)
    return (columns @ kernel.reshape(-1, features)).reshape(x.shape[0], oh, ow, features)
