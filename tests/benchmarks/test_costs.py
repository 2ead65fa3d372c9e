"""The count of FLOPs and bytes against closed forms, and against convolutions of ones."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from ifgan_jax.models import convolution
from ifgan_jax.models.attention import attend
from scripts.benchmarks.costs import Cost, count, of_compiler

NHWC = ("NHWC", "HWIO", "NHWC")


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def convolve(x: jax.Array, kernel: jax.Array, **options: Any) -> jax.Array:
    given = {"window_strides": (1, 1), "padding": ((1, 1), (1, 1)), **options}
    return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=NHWC, **given)


def test_convolution_and_its_gradients_have_the_closed_form():
    """3×3, padding 1: n outputs meet 3n - 2 real elements an axis, n/2 of stride 2 3n/2 - 1."""
    x, kernel = shape(5, 12, 8, 3), shape(3, 3, 3, 7)
    channels = 2 * 5 * 3 * 7
    for stride, pairs in ((1, (3 * 12 - 2) * (3 * 8 - 2)), (2, (18 - 1) * (12 - 1))):

        def total(x: jax.Array, kernel: jax.Array, stride: int = stride) -> jax.Array:
            return convolve(x, kernel, window_strides=(stride, stride)).sum()

        assert count(total, x, kernel).product_flops == channels * pairs
        for with_respect_to in (0, 1):  # each gradient has the forward pass's products, no more
            gradient = jax.grad(total, with_respect_to)
            assert count(gradient, x, kernel).product_flops == channels * pairs
        both = count(jax.value_and_grad(total, (0, 1)), x, kernel)
        assert both.product_flops == 3 * channels * pairs
        elements = 5 * 12 * 8 * 3 + 3 * 3 * 3 * 7 + 5 * (12 // stride) * (8 // stride) * 7
        assert both.product_bytes == 3 * 4 * elements  # each product meets two and gives the third


GEOMETRIES = {
    "one-sided padding": ((3, 9, 7, 4), (2, 2, 4, 6), {"padding": ((1, 0), (0, 1))}),
    # not less below and more above: XLA's CPU (jaxlib 0.10.2) then reads beyond the image
    "cropping": ((1, 9, 9, 2), (3, 3, 2, 2), {"padding": ((-2, -1), (1, -1))}),
    "transposed": ((2, 5, 6, 3), (4, 3, 3, 2), {"lhs_dilation": (2, 3), "padding": ((2, 2),) * 2}),
    "dilated": ((2, 11, 9, 3), (3, 3, 3, 2), {"rhs_dilation": (2, 3), "window_strides": (2, 1)}),
    "grouped": ((2, 6, 6, 6), (3, 3, 2, 9), {"feature_group_count": 3}),
    "batch groups": ((6, 6, 6, 2), (3, 3, 2, 9), {"batch_group_count": 3}),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_convolution_counts_real_products(name: str):
    """A convolution of ones with ones adds up one for each: padding and gaps hold zeros."""
    x, kernel, options = GEOMETRIES[name]
    products = convolve(jnp.ones(x), jnp.ones(kernel), **options).sum()
    cost = count(lambda x, kernel: convolve(x, kernel, **options), shape(*x), shape(*kernel))
    assert cost.flops == cost.product_flops == 2 * float(products)


def test_attention_has_the_closed_form():
    """Scores of e channels and sums over c: 2 b n² (e + c), by groups of rows or whole."""
    b, n, e, c = 2, 48, 3, 5
    query, key, value = shape(b, n, e), shape(b, n, e), shape(b, n, c)
    closed = 2 * b * n**2 * (e + c)
    for block in (b * n * 12, b * n * n):  # four groups in a loop, or one

        def attention(query: jax.Array, key: jax.Array, value: jax.Array, block: int = block):
            return attend(query, key, value, block)

        assert count(attention, query, key, value).product_flops == closed
        pull = jax.grad(lambda *inputs: attention(*inputs).sum(), (0, 1, 2))
        again = 2 * b * n**2 * e  # the scores of each group, in the backward pass
        assert count(pull, query, key, value).product_flops == 3 * closed + again

    def plain(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return (jax.nn.softmax(query @ key.mT) @ value).sum()

    cost = count(jax.value_and_grad(plain, (0, 1, 2)), query, key, value)
    assert cost.product_flops == 3 * closed  # each product has two gradients of its size
    assert cost.product_bytes == 3 * 4 * b * (2 * n**2 + n * (2 * e + 2 * c))
    assert cost.flops > cost.product_flops + 6 * b * n**2  # softmax: at least its two passes


def test_a_loop_counts_as_often_as_it_runs():
    def power(x: jax.Array) -> jax.Array:
        def twice(x: jax.Array, _: Any) -> tuple[jax.Array, None]:
            return jax.lax.fori_loop(0, 2, lambda _, y: jnp.tanh(y @ y), x), None

        return jax.lax.scan(twice, x, length=7)[0]

    x = shape(8, 8)
    product, tanh = 2 * 8**3, 8**2
    cost = count(jax.jit(power), x)
    assert cost.product_flops == 14 * product
    assert cost.product_bytes == 14 * 3 * 8 * 8 * 4
    # the inner loop's own counter is a number or two beside it
    assert 0 <= cost.flops - 14 * (product + tanh) <= 14 * 2
    once = of_compiler(jax.jit(power).lower(x).compile())["compiler_flops_loops_once"]
    assert once < cost.flops / 7


def test_elementwise_reductions_moves_and_bytes():
    x = shape(6, 10)
    assert count(lambda x: jnp.exp(x) * x, x) == Cost(2 * 60, (2 + 3) * 240)
    assert count(lambda x: x.sum(1), x) == Cost(60 - 6, 240 + 24)
    assert count(lambda x: jax.lax.slice_in_dim(x.T, 0, 10, 2), x).flops == 0
    product = count(lambda x: x @ x.T, x)
    assert product.product_bytes == 4 * (60 + 60 + 36)
    assert product.flops == 2 * 36 * 10


def test_only_what_is_used_counts():
    def gradient_of_first(x: jax.Array, y: jax.Array) -> jax.Array:
        _, pull = jax.vjp(lambda x, y: x @ y, x, y)
        return pull(jnp.ones((6, 6)))[0]

    assert count(gradient_of_first, shape(6, 10), shape(10, 6)).product_flops == 2 * 6 * 6 * 10


def test_inner_programs_of_any_kind():
    @jax.custom_vjp
    def square(x: jax.Array) -> jax.Array:
        return x @ x

    square.defvjp(lambda x: (square(x), x), lambda x, g: (g @ x.T + x.T @ g,))
    x = shape(4, 4)
    product = 2 * 4**3
    assert count(square, x).flops == product
    assert count(jax.grad(lambda x: square(x).sum()), x).product_flops == 2 * product
    remat = jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(x @ x) @ x)(x).sum())
    assert count(remat, x).product_flops == 5 * product  # one again, two gradients for each of two
    dearest = count(lambda x: jax.lax.cond(x[0, 0] > 0, lambda: x @ x @ x, lambda: x @ x), x)
    assert dearest.product_flops == 2 * product


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match=r"while: how often its inner program runs is not known"):
        count(lambda x: jax.lax.while_loop(lambda x: x < 9, lambda x: x * 2, x), 1.0)


def test_our_convolution_counts_as_the_plain_one():
    """Whatever form a CPU gets: the mathematics is what a plan for another device needs."""

    def cost(forward: Callable) -> Cost:
        loss = jax.grad(lambda x, kernel: jnp.square(forward(x, kernel)).sum(), (0, 1))
        return count(loss, shape(2, 7, 7, 6), shape(3, 3, 6, 512))

    ours = cost(lambda x, kernel: convolution.convolve(x, kernel, 1, ((1, 1), (1, 1))))
    assert ours.product_flops == cost(convolve).product_flops > 0
