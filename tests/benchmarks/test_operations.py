"""The convolutions of a step, counted by hand."""

from collections import Counter

import jax
import jax.numpy as jnp

from ifgan_jax import build
from ifgan_jax.arrays import Batch
from scripts.benchmarks import costs, operations, ours
from tests import tiny_config

UNCHECKED = True  # as its users run it


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


def test_the_products_of_a_step():
    """The numbers of uses are by hand; without attention they make up the step but for 2 %.

    (E's last layer, the augmentation, and the zeros that a fast form multiplies.)
    """
    config = tiny_config.get_config()
    config.devices, config.generator.attention = 1, False
    config.data.image_size, config.data.crop = 72, 64
    compiled = ours.compiled_steps(config)
    faces, targets = ours.random_faces(config, 64), ours.random_targets(config)
    state = build.abstract_state(compiled, config)
    traced = compiled.train_step.trace(state, Batch(*faces), targets, jax.random.key(0))
    step = costs.count_jaxpr(traced.jaxpr).product_flops
    convolutions = sum(uses * of.flops for of, uses in operations.of_step(config).items())
    assert 0.98 * step < convolutions < step
