"""The fast forms against the plain operations, values and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax.models import layers
from tests.tiny import relative_error

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def assert_same(ours, plain, *arguments: jax.Array, tolerance: float = 1e-12) -> None:
    """Values, and gradients of a random projection, for every argument."""
    value = plain(*arguments)
    weights = normal(*value.shape, seed=9)
    assert relative_error(ours(*arguments), value) < tolerance
    numbers = range(len(arguments))
    mine = jax.grad(lambda *a: (ours(*a) * weights).sum(), numbers)(*arguments)
    theirs = jax.grad(lambda *a: (plain(*a) * weights).sum(), numbers)(*arguments)
    for a, b in zip(mine, theirs, strict=True):
        assert relative_error(a, b) < tolerance


@pytest.mark.usefixtures("x64")
def test_max_pool_2x2():
    assert_same(layers.max_pool_2x2, lambda x: nn.max_pool(x, (2, 2), (2, 2)), normal(2, 8, 6, 3))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("side", [7, 8, 16])
def test_stem_pool(side: int):
    def plain(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    assert_same(layers.max_pool_3x3_stride_2, plain, normal(2, side, side, 3))


def test_ties_share_the_gradient():
    gradient = jax.grad(lambda x: layers.max_pool_2x2(x).sum())(jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], np.full((2, 2), 0.25))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("side", "stride", "pad", "kernel"),
    [
        (2, 1, 1, 3),
        (4, 2, 1, 3),
        (3, 2, 1, 3),
        (1, 1, 1, 3),
        (4, 1, 0, 4),
        (2, 2, 0, 1),
        (8, 2, 1, 3),
    ],
)
def test_convolution_on_small_maps(side: int, stride: int, pad: int, kernel: int):
    def arguments(x: jax.Array, w: jax.Array) -> tuple:
        return x, w, (stride, stride), ((pad, pad), (pad, pad))

    assert_same(
        lambda x, w: layers.conv_general_dilated(*arguments(x, w), dimension_numbers=DIMENSIONS),
        lambda x, w: jax.lax.conv_general_dilated(*arguments(x, w), dimension_numbers=DIMENSIONS),
        normal(2, side, side, 5),
        normal(kernel, kernel, 5, 4, seed=1),
    )


def test_small_map_form_is_taken_exactly_there():
    def uses_convolution(side: int) -> bool:
        x, w = jnp.zeros((1, side, side, 2)), jnp.zeros((3, 3, 2, 2))
        ours = jax.make_jaxpr(
            lambda x, w: layers.conv_general_dilated(
                x, w, (1, 1), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS
            )
        )
        return "conv_general_dilated" in str(ours(x, w))

    assert not uses_convolution(2)
    assert uses_convolution(3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (1, 5, 3, 2), (1, 1, 1, 1)])
def test_up_conv_is_nearest_then_convolution(shape: tuple[int, ...]):
    module = layers.UpConv(4, jnp.float64, nn.initializers.normal(1.0))
    x = normal(*shape)
    kernel = module.init(jax.random.key(0), x)["params"]["kernel"]

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        large = x.repeat(2, 1).repeat(2, 2)
        return jax.lax.conv_general_dilated(
            large, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS
        )

    assert_same(lambda x, k: module.apply({"params": {"kernel": k}}, x), plain, x, kernel)


def test_up_conv_costs_four_ninths():
    def flops(function, *arguments: jax.Array) -> float:
        return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]

    x = jnp.ones((1, 32, 32, 16))
    module = layers.UpConv(16, jnp.float32, nn.initializers.normal(1.0))
    params = module.init(jax.random.key(0), x)
    plain = flops(
        lambda x, k: jax.lax.conv_general_dilated(
            x.repeat(2, 1).repeat(2, 2), k, (1, 1), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS
        ),
        x,
        params["params"]["kernel"],
    )
    assert flops(module.apply, params, x) / plain == pytest.approx(16 / 36, rel=0.05)


@pytest.mark.parametrize(
    ("compute", "kept"),
    [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float32), (jnp.float64, jnp.float64)],
)
@pytest.mark.usefixtures("x64")
def test_types(compute, kept):
    """bfloat16 arithmetic keeps float32 parameters and statistics; float64 keeps float64."""
    norm = layers.batch_norm(compute, True, nn.initializers.ones)()
    x = jnp.ones((2, 4, 4, 3), compute)
    y, variables = norm.init_with_output(jax.random.key(0), x)
    assert y.dtype == compute
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(kept)}
    convolution = layers.conv(compute, padding=((1, 1), (1, 1)))(2, (3, 3))
    y, variables = convolution.init_with_output(jax.random.key(0), x)
    assert y.dtype == compute
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(kept)}


def test_batch_norm_momentum_is_pytorchs_tenth():
    norm = layers.batch_norm(jnp.float32, True, nn.initializers.ones)()
    x = jnp.stack([jnp.full((1, 1, 1), 4.0), jnp.full((1, 1, 1), 6.0)])  # mean 5, variance 1
    variables = norm.init(jax.random.key(0), x)
    _, new = norm.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(new["batch_stats"]["mean"], [0.5], rtol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["var"], [0.9 + 0.1], rtol=1e-6)
