"""What training carries from step to step: arrays only, one shape for every player.

No random key is here: keys are derived from the seed and `step`, so a resumed run draws what the
unbroken one did.
"""

from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ifgan_jax.arrays import Params, PRNGKey
from ifgan_jax.island import init_centres
from ifgan_jax.models.classifier import ResNet
from ifgan_jax.models.discriminator import PatchGAN
from ifgan_jax.models.generator import AttentionUNet


class Networks(NamedTuple):
    """The modules. The ResNet baseline has a classifier only."""

    generator: AttentionUNet | None
    discriminator: PatchGAN | None
    classifier: ResNet


class Optimizers(NamedTuple):
    """A transformation for each network, used or not."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    classifier: optax.GradientTransformation


@flax.struct.dataclass
class Player:
    """One network's parameters, BatchNorm running statistics and optimizer state."""

    params: Params
    batch_stats: Params
    opt_state: optax.OptState


@flax.struct.dataclass
class GanState:
    """The whole run; `generator` and `discriminator` are None for the ResNet baseline."""

    # Any, because a tree's libraries map these to shapes, shardings and save arguments too.
    step: Any  # int32 scalar, steps taken
    generator: Any  # Player or None
    discriminator: Any  # Player or None
    classifier: Any  # Player
    centres: Any  # island.Centres


def create_state(
    key: PRNGKey,
    networks: Networks,
    optimizers: Optimizers,
    *,
    crop: int,
    channels: int,
    centre_deviation: float,
) -> GanState:
    """Fresh players and centres; pure, so `jax.eval_shape` gives its shapes for nothing."""
    face = jnp.zeros((1, crop, crop, channels), networks.classifier.head_dtype)

    def player(
        use: int, network: nn.Module, optimizer: optax.GradientTransformation, *inputs: jax.Array
    ) -> Player:
        variables = network.init(jax.random.fold_in(key, use), *inputs, train=False)
        params = variables["params"]
        return Player(params, variables.get("batch_stats", {}), optimizer.init(params))

    generator = discriminator = None
    if networks.generator is not None and networks.discriminator is not None:
        generator = player(0, networks.generator, optimizers.generator, face)
        discriminator = player(1, networks.discriminator, optimizers.discriminator, face, face)
    classifier = networks.classifier
    return GanState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=discriminator,
        classifier=player(2, classifier, optimizers.classifier, classifier.select(face, face)),
        centres=init_centres(
            jax.random.fold_in(key, 3),
            classifier.num_classes,
            classifier.num_features,
            deviation=centre_deviation,
            dtype=classifier.dtype,
        ),
    )
