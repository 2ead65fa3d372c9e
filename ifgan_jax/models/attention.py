"""Self-attention over positions (Fig. 4), in memory linear in their number but under remat `none`.

Queries and keys are reduced to C2 = C/8 channels (C2 is not given in the paper; SAGAN's choice).
Scores are plain dot products without 1/√d, softmax runs over each row, the learnt γ starts at 0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from ifgan_jax.arrays import storage_dtype
from ifgan_jax.models.layers import GAN_INIT, NO_PADDING, Conv


def attention_rows(
    query: Float[Array, "b q e"], key: Float[Array, "b n e"]
) -> Float[Array, "b q n"]:
    """softmax_n(query · key): the attention map of each query, in at least float32."""
    return jax.nn.softmax(_scores(query, key), axis=-1)


def _scores(query: jax.Array, key: jax.Array) -> Float[Array, "b q n"]:
    if query.shape[-1] == 1:
        # XLA fuses a product of one channel into what follows, which then sees other roundings
        # of the scores than their maximum has: exp of a difference is infinite. Zeros beside help.
        query, key = (jnp.pad(x, ((0, 0), (0, 0), (0, 1))) for x in (query, key))
    return jnp.einsum("bqe,bne->bqn", query, key, preferred_element_type=storage_dtype(key.dtype))


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(
    query: Float[Array, "b n e"],
    key: Float[Array, "b n e"],
    value: Float[Array, "b n c"],
    block: int,
) -> Float[Array, "b n c"]:
    """softmax(query keyᵀ) value, holding at most about `block` of each image's n² scores at once.

    The rows are taken in groups, and a group's scores are computed again in the backward pass: one
    more product per group buys memory linear in n. A group has at least one row.
    """
    return _attend(query, key, value, block)[0]


def _attend(query: jax.Array, key: jax.Array, value: jax.Array, block: int) -> tuple:
    """The output, and what the backward pass needs: each row's log Σ exp of its scores."""

    def rows(carry: tuple, group: tuple[jax.Array]) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        scores = _scores(group[0], key)
        largest = scores.max(-1, keepdims=True)
        weights = jnp.exp(scores - largest)
        total = weights.sum(-1, keepdims=True)
        output = jnp.einsum("bqn,bnc->bqc", weights.astype(value.dtype), value)
        return carry, ((output / total).astype(value.dtype), largest + jnp.log(total))

    _, (output, log_total) = _in_groups(rows, (), (query,), block)
    return output, (query, key, value, output, log_total)


def _attend_backward(block: int, saved: tuple[jax.Array, ...], d_output: jax.Array) -> tuple:
    """P = softmax(S), O = P V:  dV = PᵀdO, dS = P ∘ (dO Vᵀ - rowsum(dO ∘ O)), dQ = dS K, dK = dSᵀQ.

    Groups of rows again: each adds to dK and dV.
    """
    query, key, value, output, log_total = saved
    wide = log_total.dtype
    product = partial(jnp.einsum, preferred_element_type=wide)
    dots = (d_output.astype(wide) * output.astype(wide)).sum(-1, keepdims=True)
    sums = jnp.zeros(key.shape, wide), jnp.zeros(value.shape, wide)

    def rows(sums: tuple, group: tuple) -> tuple[tuple, jax.Array]:
        """P, S and dS transposed, (b, n, q): the order in which XLA's CPU products are fast."""
        query, log_total, dots, d_output = group
        log_weights = _scores(key, query) - _turned(log_total)
        weights = jnp.exp(jnp.minimum(log_weights, 0))  # at most 1, however the scores are rounded
        to_weights = product("bnc,bqc->bnq", value, d_output)
        to_scores = (weights * (to_weights - _turned(dots))).astype(query.dtype)
        d_key = product("bnq,bqe->bne", to_scores, query)
        d_value = product("bnq,bqc->bnc", weights.astype(value.dtype), d_output)
        # The barrier keeps XLA from turning the product, which takes a CPU up to 12 times as long.
        d_query = jax.lax.optimization_barrier(jnp.einsum("bne,bnq->beq", key, to_scores))
        return (sums[0] + d_key, sums[1] + d_value), _turned(d_query)

    inputs = (query, log_total, dots, d_output)
    (d_key, d_value), d_query = _in_groups(rows, sums, inputs, block)
    return d_query, d_key.astype(key.dtype), d_value.astype(value.dtype)


attend.defvjp(_attend, _attend_backward)


def _turned(x: Float[Array, "b n k"]) -> Float[Array, "b k n"]:
    return x.swapaxes(1, 2)


def _in_groups(
    rows: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    inputs: tuple[jax.Array, ...],
    block: int,
) -> tuple[Any, Any]:
    """`jax.lax.scan` of `rows` over groups of the inputs' second axis, padded with zeros."""
    b, n = inputs[0].shape[:2]
    size = max(1, min(n, block // n))
    groups = -(-n // size)
    if groups == 1:
        return rows(carry, inputs)

    def split(x: Float[Array, "b n k"]) -> Float[Array, "g b q k"]:
        padded = jnp.pad(x, ((0, 0), (0, groups * size - n), (0, 0)))
        return padded.reshape(b, groups, size, -1).swapaxes(0, 1)

    def join(x: Float[Array, "g b q k"]) -> Float[Array, "b n k"]:
        return x.swapaxes(0, 1).reshape(b, groups * size, -1)[:, :n]

    carry, outputs = jax.lax.scan(rows, carry, jax.tree.map(split, inputs))
    return carry, jax.tree.map(join, outputs)


class SelfAttention(nn.Module):
    """x + γ · the values of all positions, weighted by attention (Fig. 4).

    With `points`, flat positions (row · w + column), their attention rows are sown as the variable
    `rows` of collection `attention`, (b, q, h·w): the maps of Fig. 6.
    """

    reduction: int
    block: int
    remat: str
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], points: Int[Array, " q"] | None
    ) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        projection = partial(
            Conv, kernel_size=(1, 1), padding=NO_PADDING, dtype=self.dtype, kernel_init=GAN_INIT
        )
        reduced = c // self.reduction
        query, key, value = (
            projection(features, name=name)(x).reshape(b, h * w, features)
            for name, features in (("query", reduced), ("key", reduced), ("value", c))
        )
        gamma = self.param("gamma", nn.initializers.zeros, (), storage_dtype(self.dtype))
        if points is not None:
            self.sow("attention", "rows", attention_rows(query[:, points], key))
        if self.remat == "none":
            rows = attention_rows(query, key).astype(value.dtype)
            attended = jnp.einsum("bqn,bnc->bqc", rows, value)
        else:
            attended = attend(query, key, value, self.block)
        return gamma.astype(x.dtype) * attended.reshape(x.shape) + x
