"""The convolutions of a step, counted by hand."""

from collections import Counter

import jax
import jax.numpy as jnp

from ifgan_jax import build
from scripts.benchmarks import costs, operations
from tests import tiny_config


def test_the_discriminators():
    """Two passes, three pull-backs of which one goes on to the face (step.gan_gradients)."""
    config = tiny_config.get_config()
    config.data.image_size, config.data.crop = 72, 64  # at 32 px the last layer is a matrix product
    found = operations.of_step(config)
    ours = {of: n for of, n in found.items() if of.network == "discriminator"}
    layers = len({(of.input, of.kernel) for of in ours})
    by_kind = Counter()
    for of, uses in ours.items():
        by_kind[of.kind] += uses
    assert layers == 5
    assert list(by_kind.values()) == [2 * layers, 2 * layers, 3 * (layers - 1) + 1]
    first = {of.kind: uses for of, uses in ours.items() if of.kernel[2] == 2}
    assert list(first.values()) == [2, 2, 1]

    face = jnp.zeros((config.batch_size, 64, 64, 1))
    network = build.build(config, 1).networks.discriminator
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), face, face, train=True))
    traced = jax.make_jaxpr(lambda v: network.apply(v, face, face, train=False))(variables)
    forward = sum(of.flops for of in ours if of.kind == "forward")
    assert forward == costs.count_jaxpr(traced).product_flops


def test_the_first_layers_of_the_others():
    """Nobody asks for the gradient of G's input; E's, for the face, is asked for once of twice."""
    found = operations.of_step(tiny_config.get_config())
    uses = {(of.network, of.kind): n for of, n in found.items() if of.kernel[2] < 3}
    kinds = operations.KINDS
    assert [uses.get(("generator", kind)) for kind in kinds] == [1, 1, None]
    assert [uses.get(("classifier", kind)) for kind in kinds] == [1, 1, 1]
    assert {of.input[0] for of in found if of.network == "classifier"} == {32}  # both pairs
