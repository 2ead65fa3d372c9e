"""The train step: who learns from what, exact gradients, precision, devices, one compilation."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ifgan_jax import island, losses, sharding
from ifgan_jax.arrays import Batch, to_model_range
from ifgan_jax.augment import centre_crop
from ifgan_jax.state import GanState, Player
from ifgan_jax.step import (
    Objective,
    baseline_step,
    classify,
    eval_step,
    gan_gradients,
    train_step,
)
from tests import tiny

SIZE = 4


def faces(dtype=np.float64) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Source, target and label of a batch that is already augmented."""
    rng = np.random.default_rng(3)
    label = np.array([0, 1, 1, 5], np.int32)
    source = rng.uniform(-1, 1, (SIZE, tiny.CROP, tiny.CROP, 1)).astype(dtype)
    return jnp.asarray(source), tiny.targets(dtype)[label], jnp.asarray(label)


def forward(nets, state: GanState, params: dict, source, target, label) -> dict[str, jax.Array]:
    """Every term of eq. 1 by name and player, written plainly from Sec. 3, without weights.

    Whoever is held is held by the caller: differentiate for one player's parameters at a time.
    """

    def apply(name: str, stats, *inputs):
        variables = {"params": params[name], "batch_stats": stats}
        out, new = getattr(nets, name).apply(
            variables, *inputs, train=True, mutable=["batch_stats"]
        )
        return out, new["batch_stats"]

    fake, _ = apply("generator", state.generator.batch_stats, source)
    real_logits, stats = apply("discriminator", state.discriminator.batch_stats, source, target)
    fake_logits, _ = apply("discriminator", stats, source, fake)
    select = nets.classifier.select
    pairs = jnp.stack([select(source, target), select(source, fake)], 1)
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
        nets = tiny.networks(jnp.float64)
        yield nets, tiny.state(nets), faces()


def test_gradients_are_those_of_the_plain_objectives(float64_example, x64):
    """One forward and four pull-backs give what differentiating each objective alone gives."""
    nets, state, example = float64_example
    objective = tiny.objective()
    grads = jax.jit(partial(gan_gradients, networks=nets, objective=objective))(state, *example)
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
    gradient = getattr(
        jax.jit(partial(gan_gradients, networks=nets, objective=objective))(state, *example), name
    )
    value = jax.jit(partial(player_objective, nets, state, objective, name))
    rng = np.random.default_rng(7)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), params)
    expected = sum(
        float(jnp.vdot(g, d))
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )

    def at(t: float) -> float:
        return float(value(jax.tree.map(lambda p, d: p + t * d, params, direction), *example))

    h = 1e-9  # a random step of this size crosses no kink of ReLU or max; five points
    slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert slope == pytest.approx(expected, rel=1e-6)


TABLE = {  # weight left on → (G, D, E) learn
    "adversarial_weight": (True, True, False),
    "l1_weight": (True, False, False),
    "softmax_weight": (True, False, True),
    "island_weight": (True, False, True),
}


@pytest.mark.parametrize("weight", TABLE)
@pytest.mark.parametrize("reaches_generator", [True, False])
def test_who_learns_from_what(weight: str, reaches_generator: bool):
    """All weights but one at 0: exactly the players of the table have a gradient."""
    nets = tiny.networks()
    off = dict.fromkeys(TABLE, 0.0)
    objective = tiny.objective(**{**off, weight: 1.0}, classifier_to_generator=reaches_generator)
    grads = jax.jit(partial(gan_gradients, networks=nets, objective=objective))(
        tiny.state(nets), *faces(np.float32)
    )
    expected = list(TABLE[weight])
    if weight in ("softmax_weight", "island_weight") and not reaches_generator:
        expected[0] = False
    learns = [bool(optax.global_norm(getattr(grads, name)) > 0) for name in LEARNS]
    assert learns == expected


PARTS = {  # a half of a term that shares its weight with the other half → (G, D, E) learn
    "D's part": (False, True, False),
    "G's part": (True, False, False),
    "softmax, real pair": (False, False, True),
    "softmax, fake pair": (True, False, True),
}


@pytest.mark.parametrize("part", PARTS)
def test_the_halves_that_share_a_weight(part: str, monkeypatch: pytest.MonkeyPatch):
    """The other half is silenced in the losses themselves: exactly the table's players learn."""
    adversarial, entropy = losses.adversarial, losses.softmax_cross_entropy
    calls: list[bool] = []

    def one_adversarial(logits: jax.Array, *, real: bool) -> jax.Array:
        # D's two losses are taken first, then G's
        calls.append(real)
        of_generator = len(calls) == 3
        wanted = of_generator == (part == "G's part")
        return adversarial(logits, real=real) * wanted

    def one_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
        wanted = jnp.arange(len(labels)) % 2 == (part == "softmax, fake pair")
        return entropy(logits, labels) * wanted

    weight = "softmax_weight" if "softmax" in part else "adversarial_weight"
    if weight == "adversarial_weight":
        monkeypatch.setattr(losses, "adversarial", one_adversarial)
    else:
        monkeypatch.setattr(losses, "softmax_cross_entropy", one_entropy)
    objective = tiny.objective(**{**dict.fromkeys(TABLE, 0.0), weight: 1.0})
    nets = tiny.networks()
    grads = jax.jit(partial(gan_gradients, networks=nets, objective=objective))(
        tiny.state(nets), *faces(np.float32)
    )
    learns = tuple(bool(optax.global_norm(getattr(grads, name)) > 0) for name in LEARNS)
    assert learns == PARTS[part]
    if weight == "adversarial_weight":
        assert calls == [True, False, True]  # D(real), D(fake), then G's


def test_alpha_moves_the_centres_only():
    """The pair term has no gradient: two values of α differ in the centres alone."""
    nets = tiny.networks()
    states = [run(nets, tiny.objective(island_alpha=alpha), steps=1)[0] for alpha in (0.0, 5.0)]
    assert np.abs(states[0].centres - states[1].centres).max() > 1e-4
    for name in LEARNS:
        a, b = (getattr(s, name).params for s in states)
        for (path, x), (_, y) in zip(tiny.leaves(a), tiny.leaves(b), strict=True):
            assert np.array_equal(x, y), path


METRICS_FLOAT32 = 2e-4
GRADIENTS_FLOAT32 = 2e-4


def run(nets, objective: Objective, steps: int, mesh=None, size: int = 8, step=train_step):
    """`steps` jitted steps from the tiny state; metrics of the first; compilations."""
    mesh = mesh or sharding.make_mesh(jax.devices()[:1])
    everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
    function = jax.jit(
        partial(
            step,
            networks=nets,
            optimizers=tiny.optimizers(),
            objective=objective,
            augmentation=tiny.AUGMENTATION,
        ),
        in_shardings=(everywhere, split, everywhere, everywhere),
        out_shardings=everywhere,
    )
    state, first = tiny.state(nets), None
    targets = tiny.targets(nets.classifier.head_dtype)
    for number in range(steps):
        batch = jax.tree.map(np.asarray, tiny.batch(size, seed=number))
        state, metrics = function(state, batch, targets, jax.random.key(5))
        first = first or tiny.flat(metrics)
    return jax.tree.map(np.asarray, state), first, function._cache_size()


def test_eight_devices_equal_one_in_float64(x64):
    nets = tiny.networks(jnp.float64)
    one, one_metrics, _ = run(nets, tiny.objective(), 3)
    eight, eight_metrics, compilations = run(
        nets, tiny.objective(), 3, sharding.make_mesh(jax.devices())
    )
    assert compilations == 1
    assert one_metrics == pytest.approx(eight_metrics, rel=1e-10)
    tiny.assert_trees_close(eight, one, 1e-10)  # parameters, moments, statistics, centres


def test_eight_devices_equal_one_in_float32():
    """Metrics of one step, and every gradient: the tolerances are five times what was seen."""
    nets = tiny.networks()
    _, one, _ = run(nets, tiny.objective(), 1)
    _, eight, _ = run(nets, tiny.objective(), 1, sharding.make_mesh(jax.devices()))
    assert one == pytest.approx(eight, rel=METRICS_FLOAT32, abs=1e-6)
    example = [jnp.concatenate([part, part]) for part in faces(np.float32)]
    players = []
    for devices in (jax.devices()[:1], jax.devices()):
        mesh = sharding.make_mesh(devices)
        everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
        gradients = jax.jit(
            partial(gan_gradients, networks=nets, objective=tiny.objective()),
            in_shardings=(everywhere, split, split, split),
            out_shardings=everywhere,
        )(tiny.state(nets), *map(np.asarray, example))
        players.append({name: getattr(gradients, name) for name in LEARNS})
    for name in LEARNS:
        flat = [
            np.concatenate([leaf.ravel() for _, leaf in tiny.leaves(side[name])])
            for side in players
        ]
        assert tiny.relative_error(flat[1], flat[0]) < GRADIENTS_FLOAT32, name


def test_the_target_is_not_augmented_and_the_source_is():
    """L1 of a generator that is held at 0 sees the fixed crop; two steps see other sources."""
    nets = tiny.networks()
    _, first, _ = run(nets, tiny.objective(), 1)
    _, repeated, _ = run(nets, tiny.objective(), 1)
    assert first == repeated  # same seed, same step, same numbers
    state, targets = tiny.state(nets), tiny.targets()
    batch = tiny.batch(SIZE)
    step = jax.jit(
        partial(
            train_step,
            networks=nets,
            optimizers=tiny.optimizers(),
            objective=tiny.objective(),
            augmentation=tiny.AUGMENTATION,
        )
    )
    _, at_0 = step(state, batch, targets, jax.random.key(0))
    _, at_1 = step(state.replace(step=state.step + 1), batch, targets, jax.random.key(0))
    assert float(at_0["generator/l1"]) != float(at_1["generator/l1"])
    still = dataclasses.replace(tiny.AUGMENTATION, max_rotation=0.0, flip_probability=0.0)
    # targets equal to what a zero-output G is compared with: mean |target|
    zero_output = state.replace(generator=zeroed_output(state.generator))
    _, metrics = jax.jit(
        partial(
            train_step,
            networks=nets,
            optimizers=tiny.optimizers(),
            objective=tiny.objective(),
            augmentation=still,
        )
    )(zero_output, batch, targets, jax.random.key(0))
    expected = 20 * np.abs(np.asarray(targets)[np.asarray(batch.label)]).mean()
    assert float(metrics["generator/l1"]) == pytest.approx(expected, rel=1e-5)


def zeroed_output(player: Player) -> Player:
    params = {**player.params, "output": jax.tree.map(jnp.zeros_like, player.params["output"])}
    return player.replace(params=params)


def test_bfloat16_keeps_float32_where_it_matters():
    nets = tiny.networks(jnp.bfloat16)
    state, metrics, _ = run(nets, tiny.objective(), 2)
    for name, leaf in tiny.leaves(state):
        if leaf.dtype != np.int32:
            assert leaf.dtype == np.float32, name
    assert all(np.isfinite(value) for value in metrics.values())
    _, exact, _ = run(tiny.networks(), tiny.objective(), 1)
    assert metrics["generator/l1"] == pytest.approx(exact["generator/l1"], rel=0.05)


def test_optimizer_steps_and_statistics_move_for_every_player():
    state, _, _ = run(tiny.networks(), tiny.objective(), 2)
    before = jax.tree.map(np.asarray, tiny.state(tiny.networks()))
    assert int(state.step) == 2
    for name in LEARNS:
        for part in ("params", "batch_stats", "opt_state"):
            a, b = getattr(getattr(before, name), part), getattr(getattr(state, name), part)
            assert any(
                not np.array_equal(x, y)
                for (_, x), (_, y) in zip(tiny.leaves(a), tiny.leaves(b), strict=True)
            ), (name, part)


def test_discriminator_statistics_see_real_then_fake():
    """Two passes of momentum 0.9, the real pair's first (pix2pix's order of batches)."""
    nets, (source, target, label) = tiny.networks(), faces(np.float32)
    state = tiny.state(nets)
    grads = gan_gradients(state, source, target, label, nets, tiny.objective())
    fake, _ = nets.generator.apply(
        {"params": state.generator.params, "batch_stats": state.generator.batch_stats},
        source,
        train=True,
        mutable=["batch_stats"],
    )
    stats = state.discriminator.batch_stats
    for face in (target, fake):
        _, new = nets.discriminator.apply(
            {"params": state.discriminator.params, "batch_stats": stats},
            source,
            face,
            train=True,
            mutable=["batch_stats"],
        )
        stats = new["batch_stats"]
    tiny.assert_trees_close(grads.discriminator_stats, stats, 1e-5)


def test_logged_terms_have_their_gradients_beside_them():
    _, metrics, _ = run(tiny.networks(), tiny.objective(), 1)
    for term in ("classifier/softmax_real", "classifier/softmax_fake", "classifier/island"):
        assert {term, f"{term}_gradient"} <= metrics.keys()
    assert {
        f"generator/gamma_{p}_attention" for p in ("encoder", "skip", "decoder")
    } <= metrics.keys()
    assert {f"centres/norm_{k}" for k in range(tiny.CLASSES)} <= metrics.keys()


def test_gradient_norm_at_the_features(float64_example, x64):
    """The logged norm is that of the term's gradient by the pooled features, head included."""
    nets, state, (source, target, label) = float64_example
    grads = gan_gradients(state, source, target, label, nets, tiny.objective())
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


def test_baseline_is_softmax_and_island_on_the_source(x64):
    """One float64 step: the gradient of the plain objective through Adam, and the delta rule."""
    nets = tiny.networks(jnp.float64, inputs="source")
    nets = nets._replace(generator=None, discriminator=None)
    still = dataclasses.replace(tiny.AUGMENTATION, max_rotation=0.0, flip_probability=0.0)
    state, batch, objective = tiny.state(nets), tiny.batch(SIZE), tiny.objective()
    batch = Batch(batch.image[:, 2:-2, 2:-2], batch.label)  # the crop is the whole image
    step = partial(
        baseline_step,
        networks=nets,
        optimizers=tiny.optimizers(),
        objective=objective,
        augmentation=still,
    )
    new, metrics = jax.jit(step)(state, batch, tiny.targets(np.float64), jax.random.key(0))
    source = to_model_range(batch.image).astype(jnp.float64)

    def plain(params):
        (logits, features), _ = nets.classifier.apply(
            {"params": params, "batch_stats": state.classifier.batch_stats},
            source,
            train=True,
            mutable=["batch_stats"],
        )
        entropy = losses.softmax_cross_entropy(logits, batch.label).mean()
        squares = jnp.square(features - state.centres[batch.label]).mean()
        return 10.0 * entropy + squares, features

    gradient, features = jax.jit(jax.grad(plain, has_aux=True))(state.classifier.params)
    # float32 image arithmetic feeds both sides; Adam's first step is g / |g|, so compare moments
    tiny.assert_trees_close(
        new.classifier.opt_state[1].mu,
        jax.tree.map(lambda g, p: 0.1 * (g + 1e-4 * p), gradient, state.classifier.params),
        1e-5,
    )
    expected = island.update_centres(state.centres, features, batch.label, step=0.5, alpha=0.03)
    assert tiny.relative_error(new.centres, expected) < 1e-6
    assert new.generator is None
    assert not [name for name in metrics if name.startswith(("generator", "discriminator"))]


def test_eval_step_uses_running_statistics_and_no_neighbour():
    """An image's prediction is the same alone, in a batch, and among others."""
    nets = tiny.networks()
    state, images = tiny.state(nets), tiny.batch(6).image
    evaluate = jax.jit(partial(eval_step, networks=nets, crop=tiny.CROP))
    together = evaluate(state, images)
    alone = [evaluate(state, images[i : i + 1]) for i in range(6)]
    for i, single in enumerate(alone):
        for a, b in zip(single, together, strict=True):
            np.testing.assert_allclose(a[0], b[i], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(together.probabilities.sum(-1), np.ones(6), rtol=1e-5)
    np.testing.assert_array_equal(together.source, centre_crop(to_model_range(images), tiny.CROP))
    np.testing.assert_allclose(
        together.probabilities,
        classify(state, together.source, together.generated, networks=nets),
        rtol=1e-5,
    )


def test_centres_follow_the_delta_rule_of_both_pairs(float64_example, x64):
    """The step's centres are the delta rule's from the features of both pairs of the same batch."""
    nets, state, _ = float64_example
    still = dataclasses.replace(tiny.AUGMENTATION, max_rotation=0.0, flip_probability=0.0)
    batch = tiny.batch(SIZE)
    batch = Batch(batch.image[:, 2:-2, 2:-2], batch.label)
    targets = tiny.targets(np.float64)
    step = partial(
        train_step,
        networks=nets,
        optimizers=tiny.optimizers(),
        objective=tiny.objective(),
        augmentation=still,
    )
    new, _ = jax.jit(step)(state, batch, targets, jax.random.key(0))
    source = to_model_range(batch.image).astype(jnp.float64)
    grads = gan_gradients(state, source, targets[batch.label], batch.label, nets, tiny.objective())
    assert grads.features.shape == (2 * SIZE, nets.classifier.num_features)
    twice = jnp.repeat(batch.label, 2)
    expected = island.update_centres(state.centres, grads.features, twice, step=0.5, alpha=0.03)
    assert tiny.relative_error(new.centres, expected) < 1e-6
