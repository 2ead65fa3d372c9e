"""The gradients of the three players: who learns from what, against plain objectives."""

import functools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ifgan_jax import losses
from ifgan_jax.objective import Objective
from ifgan_jax.state import GanState, Networks
from ifgan_jax.step import gan_gradients
from tests import tiny
from tests.tiny import SIZE, faces


@functools.cache
def compiled_gradients(nets: Networks, objective: Objective):
    return jax.jit(partial(gan_gradients, networks=nets, objective=objective))


def forward(nets, state: GanState, params: dict, source, target, label) -> dict[str, jax.Array]:
    """Every term of eq. 1 by name and player, written plainly from Sec. 3, without weights.

    D and E see faces with noise, eq. 3 without.

    Whoever is held is held by the caller: differentiate for one player's parameters at a time.
    """

    def apply(name: str, stats, *inputs):
        variables = {"params": params[name], "batch_stats": stats}
        out, new = getattr(nets, name).apply(
            variables, *inputs, train=True, mutable=["batch_stats"]
        )
        return out, new["batch_stats"]

    fake, _ = apply("generator", state.generator.batch_stats, source)
    seen, seen_target = (nets.generator.observed(source, face) for face in (fake, target))
    real_logits, stats = apply(
        "discriminator", state.discriminator.batch_stats, source, seen_target
    )
    fake_logits, _ = apply("discriminator", stats, source, seen)
    select = nets.classifier.select
    pairs = jnp.stack([select(source, seen_target), select(source, seen)], 1)
    pairs = pairs.reshape(2 * SIZE, *pairs.shape[2:])
    (logits, features), _ = apply("classifier", state.classifier.batch_stats, pairs)
    twice = jnp.repeat(label, 2)
    entropy = losses.softmax_cross_entropy(logits, twice)
    return {
        "d_part": jnp.mean(-jax.nn.log_sigmoid(real_logits))
        + jnp.mean(-jax.nn.log_sigmoid(-fake_logits)),
        "g_part": jnp.mean(-jax.nn.log_sigmoid(fake_logits)),
        "l1": jnp.abs(fake - target).mean(),
        "softmax_real": entropy[0::2].mean(),
        "softmax_fake": entropy[1::2].mean(),
        "island": jnp.square(features - state.centres[twice]).mean(),
        "island_fake": jnp.square(features - state.centres[twice])[1::2].sum() / features.size,
    }


# Sec. 3 and the table in step.py: the terms that each player descends, by weight.
LEARNS = {
    "generator": ("g_part", "l1", "softmax_fake", "island_fake"),
    "discriminator": ("d_part",),
    "classifier": ("softmax_real", "softmax_fake", "island"),
}
WEIGHT_OF = {
    "d_part": "adversarial_weight",
    "g_part": "adversarial_weight",
    "l1": "l1_weight",
    "softmax_real": "softmax_weight",
    "softmax_fake": "softmax_weight",
    "island": "island_weight",
    "island_fake": "island_weight",
}


def player_objective(nets, state, objective, name: str, params, source, target, label):
    """What player `name` descends, as a function of its own parameters, the others held."""
    everyone = {p: getattr(state, p).params for p in LEARNS} | {name: params}
    terms = forward(nets, state, everyone, source, target, label)
    return sum(getattr(objective, WEIGHT_OF[t]) * terms[t] for t in LEARNS[name])


@pytest.fixture(scope="module")
def float64_example():
    with jax.enable_x64(True):
        nets = tiny.networks(jnp.float64, convs_per_stage=2)
        nets = nets._replace(generator=nets.generator.clone(output_noise=0.1))
        yield nets, tiny.state(nets), faces()


def test_gradients_are_those_of_the_plain_objectives(float64_example, x64):
    """One forward and four pull-backs give what differentiating each objective alone gives."""
    nets, state, example = float64_example
    objective = tiny.objective()
    grads = compiled_gradients(nets, objective)(state, *example)
    for name in LEARNS:
        plain = jax.jit(
            jax.grad(
                lambda p, name=name: player_objective(nets, state, objective, name, p, *example)
            )
        )(getattr(state, name).params)
        tiny.assert_trees_close(getattr(grads, name), plain, 1e-9)


@pytest.mark.parametrize("name", LEARNS)
def test_finite_differences(name: str, float64_example, x64):
    """The directional derivative of each player's own objective, to 1e-6."""
    nets, state, example = float64_example
    objective = tiny.objective()
    params = getattr(state, name).params
    gradient = getattr(compiled_gradients(nets, objective)(state, *example), name)
    value = jax.jit(partial(player_objective, nets, state, objective, name))
    rng = np.random.default_rng(7)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)
    expected = sum(
        float(jnp.vdot(g, d))
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )

    def at(t: float) -> float:
        return float(value(jax.tree.map(lambda p, d: p + t * d, params, direction), *example))

    # A random step of this size crosses no kink of ReLU or max. Five points each; over some sizes
    # the network's rounding, of several units in the last place, averages out.
    sizes = 1e-9 * np.array([1, 1.3, 1.6, 2, 2.5])
    slopes = [(8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h) for h in sizes]
    rounded = np.finfo(np.float64).eps * abs(at(0)) / sizes[0]  # what one such unit makes
    assert np.mean(slopes) == pytest.approx(expected, rel=1e-6, abs=rounded)


TABLE = {  # weight left on → (G, D, E) learn
    "adversarial_weight": (True, True, False),
    "l1_weight": (True, False, False),
    "softmax_weight": (True, False, True),
    "island_weight": (True, False, True),
}


PARTS = {  # a half of a term that shares its weight with the other half → (G, D, E) learn
    "D's part": (False, True, False),
    "G's part": (True, False, False),
    "softmax, real pair": (False, False, True),
    "softmax, fake pair": (True, False, True),
}


@functools.cache
def learners(reaches_generator: bool) -> Callable[[dict[str, float]], tuple[bool, ...]]:
    """Whether G, D and E have a gradient, by the four weights and, in the losses, the four halves.

    Compiled once: the weights and what silences a half are arguments of the program.
    """
    nets = tiny.networks()
    real_adversarial, real_entropy = losses.adversarial, losses.softmax_cross_entropy

    def norms(by: dict[str, jax.Array], state: GanState, *example: jax.Array) -> list[jax.Array]:
        calls: list[bool] = []

        def adversarial(logits: jax.Array, *, real: bool) -> jax.Array:
            calls.append(real)
            of_generator = len(calls) == 3  # D's two losses are taken first, then G's
            half = by["G's part" if of_generator else "D's part"]
            return half * real_adversarial(logits, real=real)

        def entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
            halves = jnp.array([by["softmax, real pair"], by["softmax, fake pair"]])
            return real_entropy(logits, labels) * jnp.tile(halves, len(labels) // 2)

        objective = tiny.objective(classifier_to_generator=reaches_generator)
        for weight in TABLE:  # as arguments of one program; the class itself takes numbers alone
            object.__setattr__(objective, weight, by[weight])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(losses, "adversarial", adversarial)
            patch.setattr(losses, "softmax_cross_entropy", entropy)
            grads = gan_gradients(state, *example, nets, objective)
        assert calls == [True, False, True]  # D(real), D(fake), then G's
        return [optax.tree.norm(getattr(grads, name)) for name in LEARNS]

    compiled = jax.jit(norms)

    def learn(by: dict[str, float]) -> tuple[bool, ...]:
        found = compiled(by, tiny.state(nets), *faces(np.float32))
        return tuple(bool(norm > 0) for norm in found)

    return learn


@pytest.mark.parametrize("weight", TABLE)
@pytest.mark.parametrize("reaches_generator", [True, False])
def test_who_learns_from_what(weight: str, reaches_generator: bool):
    """All weights but one at 0: exactly the players of the table have a gradient."""
    expected = list(TABLE[weight])
    if weight in ("softmax_weight", "island_weight") and not reaches_generator:
        expected[0] = False
    one = dict.fromkeys(TABLE, 0.0) | dict.fromkeys(PARTS, 1.0) | {weight: 1.0}
    assert learners(reaches_generator)(one) == tuple(expected)


@pytest.mark.parametrize("part", PARTS)
def test_the_halves_that_share_a_weight(part: str):
    """The other half is silenced in the losses themselves: exactly the table's players learn."""
    weight = "softmax_weight" if "softmax" in part else "adversarial_weight"
    one = dict.fromkeys(TABLE, 0.0) | dict.fromkeys(PARTS, 0.0) | {weight: 1.0, part: 1.0}
    assert learners(True)(one) == PARTS[part]


def test_discriminator_statistics_see_real_then_fake(float64_example, x64):
    """Two passes of momentum 0.9, the real pair's first (pix2pix's order of batches)."""
    nets, state, (source, target, label) = float64_example
    grads = compiled_gradients(nets, tiny.objective())(state, source, target, label)

    @jax.jit
    def plain():
        held = {"params": state.generator.params, "batch_stats": state.generator.batch_stats}
        fake, _ = nets.generator.apply(held, source, train=True, mutable=["batch_stats"])
        stats = state.discriminator.batch_stats
        for face in (target, fake):
            held = {"params": state.discriminator.params, "batch_stats": stats}
            seen = nets.generator.observed(source, face)
            _, new = nets.discriminator.apply(
                held, source, seen, train=True, mutable=["batch_stats"]
            )
            stats = new["batch_stats"]
        return stats

    tiny.assert_trees_close(grads.discriminator_stats, plain(), 1e-9)


def test_gradient_norm_at_the_features(float64_example, x64):
    """The logged norm is that of the term's gradient by the pooled features, head included."""
    nets, state, (source, target, label) = float64_example
    grads = compiled_gradients(nets, tiny.objective())(state, source, target, label)
    head = state.classifier.params["head"]

    def term(features: jax.Array) -> jax.Array:
        entropy = losses.softmax_cross_entropy(
            features @ head["kernel"] + head["bias"], jnp.repeat(label, 2)
        )
        return 10.0 * entropy[1::2].mean()

    expected = jnp.linalg.norm(jax.grad(term)(grads.features))
    assert float(grads.metrics["classifier/softmax_fake_gradient"]) == pytest.approx(
        float(expected), rel=1e-9
    )
    apart = grads.features - state.centres[jnp.repeat(label, 2)]  # the mean of their squares
    assert float(grads.metrics["classifier/island_gradient"]) == pytest.approx(
        float(2 * jnp.linalg.norm(apart) / apart.size), rel=1e-9
    )
