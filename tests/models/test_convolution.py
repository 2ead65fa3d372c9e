"""The fast forms against the plain convolution, values and gradients."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import pytest

from ifgan_jax.models import convolution
from tests.models.test_layers import DIMENSIONS, assert_same, normal

Paddings = Sequence[convolution.Padding]
PADS: Paddings = (((0, 0), (0, 0)), ((1, 1), (1, 1)), ((3, 3), (3, 3)), ((1, 0), (0, 1)))


def plain(x: jax.Array, kernel: jax.Array, stride: int, padding: convolution.Padding) -> jax.Array:
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=DIMENSIONS)


def check(
    h: int, w: int, side: int, stride: int, paddings: Paddings = PADS, c: int = 3, f: int = 4
) -> None:
    """With each padding, an input and a kernel for each, so that gradients stay apart."""
    inputs = [normal(2, h, w, c)] * len(paddings)
    kernels = [normal(side, side, c, f, seed=1)] * len(paddings)

    def of_all(convolve: Callable) -> Callable:
        return lambda inputs, kernels: [
            convolve(x, kernel, stride, padding)
            for x, kernel, padding in zip(inputs, kernels, paddings, strict=True)
        ]

    assert_same(of_all(convolution.convolve), of_all(plain), inputs, kernels)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("channels", [3, 5])  # the input's gradient at once, by phases
def test_gradients_of_every_tap_and_phase(side: int, stride: int, channels: int):
    """Even and odd sides; steps that leave the last rows unread; padding of one side only."""
    check(9, 8, side, stride, c=channels)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("c", "f", "run"), [(1, 8, 4), (2, 33, 2), (6, 8, 2), (6, 9, 1)])
def test_runs_of_outputs(stride: int, c: int, f: int, run: int):
    """Rows of 8 and of 11 columns: whole runs, and a part of one at the end.

    Columns padded by 3 on both sides, and on the last one alone: each padding takes a while.
    """
    for side in (3, 4, 7):
        assert convolution.run_of((side, side, c, f)) == run
        check(9, 8, side, stride, PADS[2:], c=c, f=f)
        check(7, 11, side, stride, PADS[2:], c=c, f=f)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_many_features(stride: int):
    check(5, 6, 3, stride, c=6, f=512)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("side", "stride", "pad", "kernel"),
    [(2, 1, 1, 3), (4, 2, 1, 3), (3, 2, 1, 3), (1, 1, 1, 3), (4, 1, 0, 4), (2, 2, 0, 1)],
)
def test_convolution_on_small_maps(side: int, stride: int, pad: int, kernel: int):
    check(side, side, kernel, stride, [((pad, pad), (pad, pad))])


def test_small_map_form_is_taken_exactly_there():
    def uses_convolution(side: int) -> bool:
        x, kernel = jnp.zeros((1, side, side, 2)), jnp.zeros((3, 3, 2, 2))
        ours = jax.make_jaxpr(lambda x, k: convolution.convolve(x, k, 1, PADS[1]))
        return "conv_general_dilated" in str(ours(x, kernel))

    assert not uses_convolution(2)
    assert uses_convolution(3)


def test_other_platforms_get_the_plain_gradient():
    """On TPU and GPU the gradients are XLA's own convolutions: one for each argument."""

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolution.convolve(x, kernel, 2, PADS[1]).sum()

    arguments = jnp.ones((1, 8, 8, 5)), jnp.ones((4, 4, 5, 2))
    traced = jax.jit(jax.grad(loss, (0, 1))).trace(*arguments)
    count = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count(".convolution")
        for platform in ("cpu", "tpu", "cuda")
    }
    assert count == {"cpu": 5, "tpu": 2, "cuda": 2}  # the kernel, the input: 4 phases, or one


def test_few_features_are_computed_in_runs_on_a_cpu_alone():
    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.vjp(lambda k: convolution.convolve(x, k, 1, PADS[1]), kernel)[0]

    traced = jax.jit(forward).trace(jnp.ones((1, 8, 8, 5)), jnp.ones((3, 3, 5, 8)))
    for platform in ("cpu", "tpu", "cuda"):
        lowered = traced.lower(lowering_platforms=(platform,)).as_text()
        assert lowered.count(".convolution") == 1
        assert ("stride = [1, 2]" in lowered) == (platform == "cpu")
