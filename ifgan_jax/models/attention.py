"""Self-attention over positions (Fig. 4), in memory that grows linearly with their number.

Queries and keys are reduced to C2 = C/8 channels (C2 is not given in the paper; SAGAN's choice).
Scores are plain dot products without 1/√d, softmax runs over each row, the learnt γ starts at 0.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from ifgan_jax.arrays import storage_dtype
from ifgan_jax.models.layers import GAN_INIT, conv


def attention_rows(
    query: Float[Array, "b q e"], key: Float[Array, "b n e"]
) -> Float[Array, "b q n"]:
    """softmax_n(query · key): the attention map of each query, in at least float32."""
    scores = jnp.einsum("bqe,bne->bqn", query, key, preferred_element_type=storage_dtype(key.dtype))
    return jax.nn.softmax(scores, axis=-1)


def attend(
    query: Float[Array, "b n e"],
    key: Float[Array, "b n e"],
    value: Float[Array, "b n c"],
    block: int,
    *,
    remat: bool = True,
) -> Float[Array, "b n c"]:
    """softmax(query keyᵀ) value, holding at most about `block` of the b·n² scores at once.

    The rows are taken in groups, and a group's scores are computed again in the backward pass: one
    more product per group buys memory linear in n. A group has at least one row. Without `remat`
    the backward pass finds all scores kept.
    """
    b, n, _ = query.shape

    def rows(query: Float[Array, "b q e"]) -> Float[Array, "b q c"]:
        return jnp.einsum("bqn,bnc->bqc", attention_rows(query, key).astype(value.dtype), value)

    rows = jax.checkpoint(rows) if remat else rows
    size = max(1, min(n, block // (b * n)))
    groups = -(-n // size)
    if groups == 1:
        return rows(query)
    padded = jnp.pad(query, ((0, 0), (0, groups * size - n), (0, 0)))
    grouped = padded.reshape(b, groups, size, -1).swapaxes(0, 1)
    output = jax.lax.map(rows, grouped)  # one group at a time, forward and backward
    return output.swapaxes(0, 1).reshape(b, groups * size, -1)[:, :n]


class SelfAttention(nn.Module):
    """γ · h-weighted sum over all positions + x (Fig. 4).

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
        projection = conv(self.dtype, kernel_size=(1, 1), padding=((0, 0), (0, 0)))
        reduced = c // self.reduction
        query, key, value = (
            projection(features, kernel_init=GAN_INIT, name=name)(x).reshape(b, h * w, features)
            for name, features in (("query", reduced), ("key", reduced), ("value", c))
        )
        gamma = self.param("gamma", nn.initializers.zeros, (), storage_dtype(self.dtype))
        if points is not None:
            self.sow("attention", "rows", attention_rows(query[:, points], key))
        attended = attend(query, key, value, self.block, remat=self.remat != "none")
        return gamma.astype(x.dtype) * attended.reshape(x.shape) + x
