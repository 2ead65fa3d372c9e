"""Generator G: a U-Net with three self-attention modules (Fig. 3).

At 224 px, in and out of [-1, 1]:  1 → 32 → 64 → 128 → 256 → 512 → 256 → 128 → 64 → 32 → 1.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from ifgan_jax.arrays import Image
from ifgan_jax.models.attention import SelfAttention
from ifgan_jax.models.layers import (
    GAN_INIT,
    NO_PADDING,
    BatchNorm,
    Conv,
    UpConv,
    gan_scale_init,
    max_pool_2x2,
    relu,
    run_block,
)

ATTENTION_STAGE = 2  # the maps of 1/4 of the input's side: 56×56 at 224 px (Sec. 4.6)


class Stage(nn.Module):
    """`convs` times conv 3×3, BN, ReLU."""

    features: int
    convs: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w f"]:
        convolution = partial(Conv, padding=((1, 1), (1, 1)), dtype=self.dtype, use_bias=False)
        norm = partial(BatchNorm, train, self.dtype, gan_scale_init)
        for _ in range(self.convs):
            x = relu(norm()(convolution(self.features, (3, 3), kernel_init=GAN_INIT)(x)))
        return x


class AttentionUNet(nn.Module):
    """G: a face of any subject → the average face with its expression.

    widths: features of each encoding stage; one 2×2 pooling between neighbours.
    convs_per_stage: convolutions a stage. attention: the three modules of Fig. 3, on or off.
    attention_reduction: C1 / C2 of Fig. 4. attention_block: scores of an image that are held at
    once (memory only). output_noise: standard deviation of the noise of `observed`.
    remat: one of layers.REMAT (memory only).
    """

    widths: tuple[int, ...]
    channels: int
    convs_per_stage: int
    attention: bool
    attention_reduction: int
    attention_block: int
    output_noise: float
    remat: str
    dtype: DTypeLike

    @property
    def stride(self) -> int:
        """The image's side must be divisible by this."""
        return 2 ** (len(self.widths) - 1)

    def check_size(self, height: int, width: int) -> None:
        """ValueError unless faces of this size pass through every stage."""
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"image of {height}×{width} px: a generator of {len(self.widths)} stages needs "
                f"sides divisible by {self.stride}; change data.crop or generator.widths"
            )
        if self.attention and len(self.widths) < ATTENTION_STAGE + 2:
            raise ValueError(
                f"{len(self.widths)} stages: attention sits at the third of at least "
                f"{ATTENTION_STAGE + 2}; add to generator.widths or switch generator.attention off"
            )
        if self.attention and self.widths[ATTENTION_STAGE] < self.attention_reduction:
            raise ValueError(
                f"generator.attention_reduction {self.attention_reduction} leaves no channel of "
                f"the {self.widths[ATTENTION_STAGE]} of the third of generator.widths"
            )

    @nn.compact
    def __call__(
        self, source: Image, *, train: bool, points: Int[Array, " q"] | None = None
    ) -> Image:
        """The generated face. `points`: see SelfAttention; flat positions at 1/4 scale."""

        def attend(name: str, stage: int, x: Float[Array, "b h w f"]) -> Float[Array, "b h w f"]:
            if not self.attention or stage != ATTENTION_STAGE:
                return x
            reduction, block = self.attention_reduction, self.attention_block
            return SelfAttention(reduction, block, self.remat, self.dtype, name=name)(x, points)

        self.check_size(*source.shape[1:3])
        norm = partial(BatchNorm, train, self.dtype, gan_scale_init)
        last = len(self.widths) - 1
        skips = []
        x = source.astype(self.dtype)
        for stage, width in enumerate(self.widths):
            encode = Stage(width, self.convs_per_stage, self.dtype, name=f"encoder_{stage}")
            x = run_block(encode, x, train=train, remat=self.remat)
            if stage < last:
                skips.append(attend("skip_attention", stage, x))
                x = max_pool_2x2(attend("encoder_attention", stage, x))
        for stage in reversed(range(last)):
            width = self.widths[stage]
            x = UpConv(width, self.dtype, GAN_INIT, name=f"up_{stage}")(x)
            x = relu(norm(name=f"up_norm_{stage}")(x))
            x = jnp.concatenate([skips[stage], x], axis=-1)
            decode = Stage(width, self.convs_per_stage, self.dtype, name=f"decoder_{stage}")
            x = run_block(decode, x, train=train, remat=self.remat)
            x = attend("decoder_attention", stage, x)
        output = Conv(self.channels, (1, 1), NO_PADDING, self.dtype, GAN_INIT, name="output")
        return jnp.tanh(output(x).astype(source.dtype))

    def observed(self, source: Image, face: Image) -> Image:
        """A face, generated or average, as D, E and whoever uses it see it: with `output_noise`.

        What G leaves of a person is fainter than this noise. It is drawn from a key that the
        source's pixels give by their sum: alike in any batch, and with no key to keep.
        Not clipped to [-1, 1] here, so that gradients reach the face unchanged.
        """
        if not self.output_noise:
            return face

        def draw(image: Float[Array, "h w c"]) -> Float[Array, "h w k"]:
            bits = jax.lax.bitcast_convert_type(image.astype(jnp.float32), jnp.uint32)
            key = jax.random.fold_in(jax.random.key(0), bits.sum(dtype=jnp.uint32))
            return jax.random.normal(key, (*image.shape[:2], self.channels), face.dtype)

        return face + self.output_noise * jax.vmap(draw)(source)
