"""The parts of a step, counted by hand."""

import time
from collections import Counter

import jax
import jax.numpy as jnp

from ifgan_jax import build
from ifgan_jax.arrays import Batch
from scripts.benchmarks import costs, operations, ours, parts
from scripts.benchmarks.timing import WARM_UP
from tests import tiny_config

UNCHECKED = True  # as its users run it


def is_convolution(part: parts.Part, network: str | None = None) -> bool:
    return part.layer == parts.CONVOLUTION and network in (None, part.network)


def test_the_discriminators():
    """Two passes, three pull-backs of which one goes on to the face (step.gan_gradients)."""
    config = tiny_config.get_config()
    config.data.image_size, config.data.crop = 72, 64  # at 32 px the last layer is a matrix product
    found = operations.of_step(config)
    ours = {of: n for of, n in found.items() if is_convolution(of, "discriminator")}
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
    forward = sum(of.product_flops for of in ours if of.kind == "forward")
    assert forward == costs.count_jaxpr(traced).product_flops


def test_the_first_layers_of_the_others():
    """Nobody asks for the gradient of G's input; E's, for the face, is asked for once of twice."""
    found = operations.of_step(tiny_config.get_config())
    convolutions = {of: n for of, n in found.items() if is_convolution(of)}
    uses = {(of.network, of.kind): n for of, n in convolutions.items() if of.kernel[2] < 3}
    kinds = (parts.FORWARD, parts.KERNEL, parts.INPUT)
    assert [uses.get(("generator", kind)) for kind in kinds] == [1, 1, None]
    assert [uses.get(("classifier", kind)) for kind in kinds] == [1, 1, 1]
    of_classifier = {of.input[0] for of in convolutions if of.network == "classifier"}
    assert of_classifier == {32}  # both pairs


def test_what_is_no_convolution():
    """Layers times passes, by hand: ResNet-10 has four blocks, three with a projection."""
    config = tiny_config.get_config()
    found = operations.of_step(config)
    uses = Counter()
    for of, n in found.items():
        if not is_convolution(of):
            uses[of.network, of.layer, getattr(of, "kind", "")] += n
    stages = len(config.generator.widths)
    norms = (2 * stages - 1) * config.generator.convs_per_stage + stages - 1
    networks = ("generator", "discriminator", "classifier")
    assert uses == {(network, parts.ADAM, ""): 1 for network in networks} | {
        ("generator", parts.NORM, parts.FORWARD): norms,
        ("generator", parts.NORM, parts.GRADIENT): norms,
        ("generator", parts.ATTENTION, parts.FORWARD): 3,
        ("generator", parts.ATTENTION, parts.GRADIENT): 3,
        ("generator", parts.POOL, parts.FORWARD): stages - 1,
        ("generator", parts.POOL, parts.GRADIENT): stages - 1,
        ("discriminator", parts.NORM, parts.FORWARD): 3 * 2,
        ("discriminator", parts.NORM, parts.GRADIENT): 3 * 3,
        ("classifier", parts.NORM, parts.FORWARD): 1 + 4 * 2 + 3,
        ("classifier", parts.NORM, parts.GRADIENT): 2 * (1 + 4 * 2 + 3),
        ("classifier", parts.STEM_POOL, parts.FORWARD): 1,
        ("classifier", parts.STEM_POOL, parts.GRADIENT): 2,
    }


def test_costs_by_closed_forms():
    c, n = 4, 2 * 6 * 6 * 4
    shapes = ((2, 6, 6, c), (c,), (c,))
    assert parts.Layer("", parts.NORM, parts.FORWARD, shapes).bytes == 4 * (2 * n + 2 * c)
    # x, the ReLU's output, dy, dx; scale, mean, 1/σ, and the two gradients
    assert parts.Layer("", parts.NORM, parts.GRADIENT, shapes).bytes == 4 * (4 * n + 5 * c)
    b, positions, e, c = 2, 36, 3, 8
    shapes = ((b, positions, e), (b, positions, e), (b, positions, c))
    pairs = b * positions**2
    attend = parts.Layer("", parts.ATTENTION, parts.FORWARD, shapes, positions**2)
    assert attend.product_flops == 2 * pairs * (e + c)
    back = attend._replace(kind=parts.GRADIENT)  # the scores once more
    assert back.product_flops == 2 * pairs * (3 * e + 2 * c)
    assert parts.Adam("", ((2, 3), (5,))).bytes == 7 * 4 * 11


def test_the_products_of_a_step():
    """The numbers of uses are by hand; they make up the step but for 2 %.

    (E's last layer, the augmentation, and the zeros that a fast form multiplies.)
    """
    config = tiny_config.get_config()
    config.devices = 1
    config.data.image_size, config.data.crop = 72, 64
    compiled = ours.compiled_steps(config)
    faces, targets = ours.random_faces(config, 64), ours.random_targets(config)
    state = build.abstract_state(compiled, config)
    traced = compiled.train_step.trace(state, Batch(*faces), targets, jax.random.key(0))
    step = costs.count_jaxpr(traced.jaxpr).product_flops
    counted = sum(uses * of.product_flops for of, uses in operations.of_step(config).items())
    assert 0.98 * step < counted < step


def test_of_a_turn_what_is_not_counted_is_forgotten():
    """A part that is slow in the warm-up and where a turn begins: the median is of the others."""
    pauses = iter([0.05, 0.05, 0.05, 0.0, 0.05, 0.0])  # warm-up, two turns of two
    timed = operations._all_in_turn([lambda: time.sleep(next(pauses))], {}, lambda seconds: {})
    for _ in range(WARM_UP):
        timed.run()
    for _ in range(2):
        timed.run()
        timed.begin()
        timed.run()
    (seconds,) = timed.finish(0.0)["seconds"]
    assert seconds < 0.02
