"""Our step written the usual way, of Flax's and JAX's own operations: what our forms are worth.

The same parameters, and the same numbers but for rounding (tests/benchmarks/test_plain.py).
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from ifgan_jax.arrays import storage_dtype
from ifgan_jax.models import classifier, convolution, discriminator, generator, layers
from scripts.benchmarks import ours
from scripts.benchmarks.timing import Timed


def train_step(config: ConfigDict, augmented: bool) -> Timed:
    """As `ours.train_step`, with whole attention maps."""
    with config.unlocked():
        config.remat = "none"
    with forms():
        return ours.train_step(config, augmented)


@contextlib.contextmanager
def forms() -> Iterator[None]:
    """Networks traced herein are made of plain operations."""
    with contextlib.ExitStack() as stack:

        def put(module: Any, **replaced: Any) -> None:
            for name, form in replaced.items():
                stack.enter_context(mock.patch.object(module, name, form))

        put(layers, convolve=convolution.plain)
        put(generator, BatchNorm=batch_norm, UpConv=UpConv, relu=jax.nn.relu)
        put(generator, max_pool_2x2=lambda x: nn.max_pool(x, (2, 2), (2, 2)))
        put(discriminator, BatchNorm=batch_norm)
        put(classifier, BatchNorm=batch_norm, relu=jax.nn.relu)
        pads = ((1, 1), (1, 1))
        put(classifier, max_pool_3x3_stride_2=lambda x: nn.max_pool(x, (3, 3), (2, 2), pads))
        yield


def batch_norm(
    train: bool, dtype: DTypeLike, scale_init: layers.Initializer, name: str | None = None
) -> nn.BatchNorm:
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=layers.MOMENTUM,
        epsilon=layers.EPSILON,
        dtype=dtype,
        param_dtype=storage_dtype(dtype),
        scale_init=scale_init,
        name=name,
    )


class UpConv(nn.Module):
    """Nearest ×2, then the convolution on the large map."""

    features: int
    dtype: DTypeLike
    kernel_init: layers.Initializer

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w f"]:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, storage_dtype(self.dtype))
        large = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        pads = ((1, 1), (1, 1))
        return convolution.plain(large.astype(self.dtype), kernel.astype(self.dtype), 1, pads)
