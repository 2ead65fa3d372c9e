"""The fast forms against the plain operations, values and gradients."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax.models import convolution, layers
from tests.tiny import relative_error

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def assert_same(ours, plain, *arguments: jax.Array, tolerance: float = 1e-12) -> None:
    """Values, one or several, and gradients of a random projection, for every argument."""
    shapes = jax.eval_shape(plain, *arguments)
    weights = jax.tree.map(lambda value: normal(*value.shape, seed=9), shapes)

    @partial(jax.jit, static_argnums=0)
    def run(function, *arguments: jax.Array) -> tuple:
        value, pull = jax.vjp(function, *arguments)
        return value, pull(weights)

    found, expected = (jax.tree.leaves(run(side, *arguments)) for side in (ours, plain))
    for a, b in zip(found, expected, strict=True):
        assert relative_error(a, b) < tolerance


@pytest.mark.usefixtures("x64")
def test_relu():
    assert_same(layers.relu, jax.nn.relu, normal(4, 5))
    special = jnp.array([-jnp.inf, -0.0, 0.0, jnp.inf, jnp.nan])
    np.testing.assert_array_equal(layers.relu(special), jax.nn.relu(special))
    slopes = (jax.vmap(jax.grad(function))(special) for function in (layers.relu, jax.nn.relu))
    np.testing.assert_array_equal(*slopes)


def test_a_chain_of_blocks_costs_what_its_blocks_cost():
    """No block is computed again for those behind it: the compiler's FLOPs grow evenly."""

    def loss(x: jax.Array, kernels: list[jax.Array]) -> jax.Array:
        for kernel in kernels:
            y = convolution.convolve(x, kernel, 1, layers.NO_PADDING)
            y, _, _ = layers.normalize(y, jnp.ones(4), jnp.ones(4))
            x = layers.relu(y + x)
        return jnp.square(x).sum()

    def flops(blocks: int) -> float:
        arguments = jnp.ones((1, 8, 8, 4)), [jnp.ones((1, 1, 4, 4))] * blocks
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*arguments).compile()
        return compiled.cost_analysis()["flops"]

    assert flops(12) - flops(8) == pytest.approx(flops(8) - flops(4), rel=0.01)


@pytest.mark.usefixtures("x64")
def test_max_pool_2x2():
    assert_same(layers.max_pool_2x2, lambda x: nn.max_pool(x, (2, 2), (2, 2)), normal(2, 8, 6, 3))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("side", [7, 8, 16])
def test_stem_pool(side: int):
    def plain(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    assert_same(layers.max_pool_3x3_stride_2, plain, normal(2, side, side, 3))


def test_of_equal_pixels_the_first_has_the_gradient():
    """As `nn.max_pool` and PyTorch; and none is lost, however often a pixel is the largest."""
    zeros = jnp.zeros((1, 4, 4, 1))
    for ours, (window, stride, pad) in {
        layers.max_pool_2x2: ((2, 2), (2, 2), "VALID"),
        layers.max_pool_3x3_stride_2: ((3, 3), (2, 2), ((1, 1), (1, 1))),
    }.items():
        plain = partial(nn.max_pool, window_shape=window, strides=stride, padding=pad)
        theirs = jax.grad(lambda x, plain=plain: plain(x).sum())(zeros)
        np.testing.assert_array_equal(jax.grad(lambda x, ours=ours: ours(x).sum())(zeros), theirs)
        assert theirs.sum() == 4
    with pytest.raises(TypeError, match="reshape"):
        layers.max_pool_2x2(jnp.zeros((1, 3, 4, 1)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(6, 5), (2, 4, 3, 5)])
def test_batch_norm_is_flaxs(shape: tuple[int, ...]):
    """Output, both statistics, and the gradients for input, scale and bias."""
    x, scale, bias = 2 + 3 * normal(*shape), normal(5, seed=1), normal(5, seed=2)
    options = {"dtype": jnp.float64, "param_dtype": jnp.float64, "force_float32_reductions": False}
    theirs = nn.BatchNorm(False, momentum=0.9, epsilon=1e-5, **options)
    ours = layers.BatchNorm(True, jnp.float64, nn.initializers.ones)
    stats = {"mean": normal(5, seed=3), "var": 1 + normal(5, seed=4) ** 2}

    def run(norm: nn.Module, x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple:
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
        return norm.apply(variables, x, mutable=["batch_stats"])

    one, other = (lambda *a, norm=norm: run(norm, *a)[0] for norm in (ours, theirs))
    assert_same(one, other, x, scale, bias)
    mine, flaxs = (run(norm, x, scale, bias)[1]["batch_stats"] for norm in (ours, theirs))
    for name in ("mean", "var"):
        assert relative_error(mine[name], flaxs[name]) < 1e-12
    running = {"use_running_average": True, "epsilon": 1e-5, **options}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    tested = layers.BatchNorm(False, jnp.float64, nn.initializers.ones).apply(variables, x)
    assert relative_error(tested, nn.BatchNorm(**running).apply(variables, x)) < 1e-12


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
    norm = layers.BatchNorm(True, compute, nn.initializers.ones)
    x = jnp.ones((2, 4, 4, 3), compute)
    y, variables = norm.init_with_output(jax.random.key(0), x)
    assert y.dtype == compute
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(kept)}
    convolution = layers.Conv(2, (3, 3), ((1, 1), (1, 1)), compute, layers.GAN_INIT)
    y, variables = convolution.init_with_output(jax.random.key(0), x)
    assert y.dtype == compute
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(kept)}


def test_statistics_of_bfloat16_are_float32s():
    """Away from 0, where a square rounded to bfloat16 loses the variance."""
    x = jnp.asarray(3 + np.random.default_rng(0).normal(size=(64, 64, 2)), jnp.bfloat16)
    _, mean, var = layers.normalize(x, jnp.ones(2), jnp.zeros(2))
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(var, exact.var((0, 1)), rtol=1e-4)


def test_batch_norm_momentum_is_pytorchs_tenth():
    norm = layers.BatchNorm(True, jnp.float32, nn.initializers.ones)
    x = jnp.stack([jnp.full((1, 1, 1), 4.0), jnp.full((1, 1, 1), 6.0)])  # mean 5, variance 1
    variables = norm.init(jax.random.key(0), x)
    _, new = norm.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(new["batch_stats"]["mean"], [0.5], rtol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["var"], [0.9 + 0.1], rtol=1e-6)
