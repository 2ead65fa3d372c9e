"""Self-attention: the plain formula of Fig. 4, linear memory, γ, and the maps of Fig. 6."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax.models.attention import SelfAttention, attend, attention_rows
from tests.tiny import programs_in, relative_error


def plain(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """softmax(q kᵀ) v, written from Fig. 4 with the whole N×N map."""
    scores = query @ key.swapaxes(1, 2)
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


def inputs(n: int, scale: float, dtype=np.float64) -> tuple[jax.Array, ...]:
    """Query, key, value whose scores reach ±scale."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, n, width)) for width in (4, 4, 16))
    q *= scale / np.abs(q @ k.swapaxes(1, 2)).max()
    return tuple(jnp.asarray(x.astype(dtype)) for x in (q, k, v))


@pytest.mark.parametrize("scale", [1.0, 50.0])
@pytest.mark.parametrize("block", [1, 30 * 7, 30 * 30])  # a row, groups of 7, all rows
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_equals_the_plain_formula(block: int, scale: float, dtype, tolerance: float, x64):
    arguments = inputs(30, scale, dtype)
    exact = tuple(x.astype(jnp.float64) for x in arguments)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, 30, 16)))

    def ours(*a: jax.Array) -> jax.Array:
        return (attend(*a, block) * weights.astype(dtype)).sum()

    def theirs(*a: jax.Array) -> jax.Array:
        return (plain(*a) * weights).sum()

    assert relative_error(attend(*arguments, block), plain(*exact)) < tolerance
    for mine, reference in zip(
        jax.grad(ours, (0, 1, 2))(*arguments), jax.grad(theirs, (0, 1, 2))(*exact), strict=True
    ):
        assert relative_error(mine, reference) < tolerance


def test_scores_of_bfloat16_are_float32s():
    """Rounded to bfloat16, scores of 50 are off by an eighth and their weights by a tenth."""
    query, key, value = (x.astype(jnp.bfloat16) for x in inputs(30, 50.0))
    rows = attention_rows(query, key)
    assert rows.dtype == jnp.float32
    exact = [np.asarray(x, np.float64) for x in (query, key, value)]
    scores = exact[0] @ exact[1].swapaxes(1, 2)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(rows, weights, atol=1e-5)
    assert relative_error(attend(query, key, value, 210), weights @ exact[2]) < 1e-2


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("block", [64 * 7, 64 * 64])
def test_large_scores_stay_a_softmax(width: int, block: int):
    """In float32 one rounding of a score of 1e13 is 1e6, and exp of that infinite."""
    rng = np.random.default_rng(0)
    scales = ((width, 2e6), (width, 1e6), (8, 1.0))
    q, k, v = (jnp.asarray(rng.normal(size=(4, 64, w)) * s, jnp.float32) for w, s in scales)
    compiled = jax.jit(lambda *a: (attention_rows(*a[:2]), attend(*a, block)))
    rows, attended = compiled(q, k, v)
    np.testing.assert_allclose(rows.sum(-1), np.ones((4, 64)), rtol=1e-5)
    best = np.einsum("bqe,bne->bqn", *np.float64((q, k))).argmax(-1)
    np.testing.assert_allclose(attended, np.stack([v[b][best[b]] for b in range(4)]), rtol=1e-5)
    gradients = jax.jit(jax.grad(lambda *a: attend(*a, block).sum(), (0, 1, 2)))(q, k, v)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def temporaries(n: int, block: int) -> int:
    """Bytes of scratch memory of the compiled forward and backward pass over n positions."""
    shapes = [jax.ShapeDtypeStruct((2, n, width), jnp.float32) for width in (4, 4, 32)]

    def loss(*arguments: jax.Array) -> jax.Array:
        return jnp.square(attend(*arguments, block)).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_grows_linearly():
    """At 1, 2 and 4 times the positions; the whole map would take 4 and 16 times the memory."""
    one, two, four = (temporaries(n, 2**15) for n in (1024, 2048, 4096))
    assert two / one < 2.2
    assert four / one < 4.4
    whole = 2 * 4096 * 4096 * 4  # bytes of the N×N map of two images
    assert four < whole / 4
    assert temporaries(4096, 4096 * 4096) > whole  # the test does see a whole map


def test_no_array_of_the_program_exceeds_the_block():
    """Neither pass names an array of more scores of an image than the block."""
    n, block, images = 512, 512 * 16, 2
    shapes = [jax.ShapeDtypeStruct((images, n, width), jnp.float32) for width in (4, 4, 8)]
    program = jax.make_jaxpr(jax.grad(lambda *a: jnp.square(attend(*a, block)).sum(), (0, 1, 2)))(
        *shapes
    )

    def sizes(jaxpr) -> list[int]:
        found = []
        for equation in jaxpr.eqns:
            found += [v.aval.size for v in equation.outvars if hasattr(v.aval, "size")]
            for inner in programs_in(equation):
                found += sizes(inner)
        return found

    assert max(sizes(program.jaxpr)) <= images * block


def module(block: int = 2**19) -> SelfAttention:
    return SelfAttention(reduction=8, block=block, remat="attention", dtype=jnp.float32)


def test_no_product_of_the_backward_pass_sums_over_both_operands_rows():
    """XLA's CPU takes up to twelve times as long for such a one, where the result has short rows.

    It also turns other products into it, which the barrier is against.
    """

    def slow(program: Any, *inputs: Any) -> list[str]:
        text = jax.jit(program).lower(*inputs).compile().as_text()
        lines = [line for line in text.splitlines() if " dot(" in line]
        assert len(lines) == (1 if program is turned else 5)
        rows = "lhs_contracting_dims={1}, rhs_batch_dims={0}, rhs_contracting_dims={1}"
        return [line for line in lines if rows in line and "[2,64,4]{2,1,0} dot(" in line]

    def turned(scores: Any, query: Any) -> Any:
        return jnp.einsum("bqn,bqe->bne", scores, query)

    query, key, value = (jnp.ones((2, 64, channels)) for channels in (4, 4, 32))
    _, pull = jax.vjp(lambda *x: attend(*x, 64**2), query, key, value)
    assert not slow(lambda pull, dy: pull(dy), pull, value)
    assert slow(turned, jnp.ones((2, 64, 64)), query)  # as it would be found


def test_starts_as_the_identity_and_learns_gamma_first():
    """γ = 0: the input passes unchanged, and only γ has a gradient (SAGAN)."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 16)).astype(np.float32))
    variables = module().init(jax.random.key(0), x, None)
    np.testing.assert_array_equal(module().apply(variables, x, None), x)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=x.shape).astype(np.float32))
    gradient = jax.grad(lambda p: (module().apply({"params": p}, x, None) * weights).sum())(
        variables["params"]
    )
    assert float(gradient["gamma"]) != 0
    for name in ("query", "key", "value"):
        assert not np.any(gradient[name]["kernel"])


def test_reduces_query_and_key_to_an_eighth():
    x = jnp.zeros((1, 4, 4, 32))
    params = module().init(jax.random.key(0), x, None)["params"]
    shapes = {name: params[name]["kernel"].shape for name in ("query", "key", "value")}
    assert shapes == {"query": (1, 1, 32, 4), "key": (1, 1, 32, 4), "value": (1, 1, 32, 32)}


def test_rows_are_those_of_the_whole_map():
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(1, 16, 4)).astype(np.float32)) for _ in range(2))
    whole = attention_rows(q, k)
    np.testing.assert_allclose(whole.sum(-1), np.ones((1, 16)), rtol=1e-6)  # a row, not a column
    x = jnp.asarray(rng.normal(size=(2, 4, 4, 16)).astype(np.float32))
    variables = module().init(jax.random.key(1), x, None)
    points = jnp.array([3, 14])
    out, sown = module().apply(variables, x, points, mutable=["attention"])
    (rows,) = sown["attention"]["rows"]
    params = variables["params"]
    flat = x.reshape(2, 16, 16)
    query, key = (
        flat @ params[name]["kernel"][0, 0] + params[name]["bias"] for name in ("query", "key")
    )
    np.testing.assert_allclose(rows, attention_rows(query, key)[:, points], rtol=1e-5)
    np.testing.assert_array_equal(out, module().apply(variables, x, None))
