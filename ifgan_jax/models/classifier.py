"""Classifier E: torchvision's ResNet (v1.5, exact padding), on a pair of faces (eq. 4)."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ifgan_jax.arrays import Features, Image, Logits, storage_dtype
from ifgan_jax.models.layers import (
    NO_PADDING,
    BatchNorm,
    Conv,
    max_pool_3x3_stride_2,
    relu,
    run_block,
)

INPUTS = ("pair", "generated", "source")

# He et al. 2016, as torchvision: Gaussian by fan-out.
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
ONE = nn.initializers.ones


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut (ResNet-10, 18 and 34)."""

    width: int
    stride: int
    dtype: DTypeLike
    expansion = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b oh ow f"]:
        convolution = partial(Conv, dtype=self.dtype, kernel_init=KERNEL_INIT, use_bias=False)
        conv3x3 = partial(convolution, kernel_size=(3, 3), padding=((1, 1), (1, 1)))
        norm = partial(BatchNorm, train, self.dtype, ONE)
        y = relu(norm()(conv3x3(self.width, strides=self.stride)(x)))
        y = norm()(conv3x3(self.width)(y))
        return relu(y + _shortcut(x, y, self.stride, self.dtype, train))


class BottleneckBlock(nn.Module):
    """1×1, 3×3 with the stride (v1.5), 1×1 to four times the width (ResNet-50 and deeper)."""

    width: int
    stride: int
    dtype: DTypeLike
    expansion = 4

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b oh ow f"]:
        convolution = partial(Conv, dtype=self.dtype, kernel_init=KERNEL_INIT, use_bias=False)
        conv1x1 = partial(convolution, kernel_size=(1, 1), padding=NO_PADDING)
        conv3x3 = partial(convolution, kernel_size=(3, 3), padding=((1, 1), (1, 1)))
        norm = partial(BatchNorm, train, self.dtype, ONE)
        y = relu(norm()(conv1x1(self.width)(x)))
        y = relu(norm()(conv3x3(self.width, strides=self.stride)(y)))
        y = norm()(conv1x1(self.width * self.expansion)(y))
        return relu(y + _shortcut(x, y, self.stride, self.dtype, train))


def _shortcut(
    x: Float[Array, "b h w c"],
    y: Float[Array, "b oh ow f"],
    stride: int,
    dtype: DTypeLike,
    train: bool,
) -> Float[Array, "b oh ow f"]:
    """x, or its strided 1×1 projection with BatchNorm where the shape changes."""
    if x.shape == y.shape:
        return x
    projection = partial(Conv, strides=stride, use_bias=False, name="shortcut")
    x = projection(y.shape[-1], (1, 1), NO_PADDING, dtype, KERNEL_INIT)(x)
    return BatchNorm(train, dtype, ONE, name="shortcut_norm")(x)


class ResNet(nn.Module):
    """E: logits over the expressions and the pooled features that the island loss sees.

    inputs: which faces it reads, one of INPUTS: the "pair" by eq. 4 (channels concatenated), the
    "generated" one alone, or the "source" alone, which is the paper's baseline.
    remat: one of layers.REMAT (memory only).
    """

    stage_sizes: tuple[int, ...]
    block: type[nn.Module]
    width: int
    num_classes: int
    inputs: str
    remat: str
    dtype: DTypeLike

    @property
    def head_dtype(self) -> jnp.dtype:
        """Type of logits and features, whatever the type of the convolutions."""
        return storage_dtype(self.dtype)

    @property
    def num_features(self) -> int:
        """Length of the pooled features: 512 for ResNet-18, 2048 for ResNet-101."""
        expansion = self.block.expansion  # type: ignore[attr-defined]
        return self.width * 2 ** (len(self.stage_sizes) - 1) * expansion

    def select(self, source: Image, face: Image) -> Float[Array, "b h w k"]:
        """The classifier's input from I_SE and I_AE or its generated twin."""
        if self.inputs == "pair":
            return jnp.concatenate([source, face], axis=-1)
        return face if self.inputs == "generated" else source

    @nn.compact
    def __call__(self, images: Image, *, train: bool) -> tuple[Logits, Features]:
        stem = partial(Conv, strides=2, use_bias=False, name="stem")
        x = stem(self.width, (7, 7), ((3, 3), (3, 3)), self.dtype, KERNEL_INIT)(images)
        x = relu(BatchNorm(train, self.dtype, ONE, name="stem_norm")(x))
        x = max_pool_3x3_stride_2(x)
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"stage_{stage}_block_{index}"
                block = self.block(self.width * 2**stage, stride, self.dtype, name=name)
                x = run_block(block, x, train=train, remat=self.remat)
        features = x.astype(self.head_dtype).mean((1, 2))
        head = nn.Dense(
            self.num_classes, dtype=self.head_dtype, param_dtype=self.head_dtype, name="head"
        )
        return head(features), features


ResNet10 = partial(ResNet, stage_sizes=(1, 1, 1, 1), block=BasicBlock)  # not torchvision's: small
ResNet18 = partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock)
ResNet34 = partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock)
ResNet50 = partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BottleneckBlock)
ResNet101 = partial(ResNet, stage_sizes=(3, 4, 23, 3), block=BottleneckBlock)
ResNet152 = partial(ResNet, stage_sizes=(3, 8, 36, 3), block=BottleneckBlock)
RESNETS = {
    10: ResNet10,
    18: ResNet18,
    34: ResNet34,
    50: ResNet50,
    101: ResNet101,
    152: ResNet152,
}
