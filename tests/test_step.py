"""The train step: precision, devices, statistics, centres; the baseline's; the one at test time."""

import dataclasses
import functools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax import island, losses, sharding
from ifgan_jax.arrays import Batch, to_model_range
from ifgan_jax.augment import Augmentation, centre_crop
from ifgan_jax.objective import Objective
from ifgan_jax.state import GanState, Networks, Player
from ifgan_jax.step import baseline_step, classify, eval_step, gan_gradients, train_step
from tests import tiny
from tests.tiny import SIZE, faces

PLAYERS = ("generator", "discriminator", "classifier")
OPTIMIZERS = tiny.optimizers()
STILL = dataclasses.replace(tiny.AUGMENTATION, max_rotation=0.0, flip_probability=0.0)


# Relative differences of one step on 8 devices and on 1: five times the largest seen, or more.
METRICS_FLOAT32 = 5e-6
GENERATOR_NORM_FLOAT32 = 2e-3  # seen on jax 0.9.0
GRADIENTS_FLOAT32 = 7e-6


@functools.cache
def compiled(
    nets: Networks, objective: Objective, augmentation: Augmentation, devices: int, step: Callable
) -> Callable:
    """The jitted step over a mesh, compiled once for all tests of this file.

    A state that is not placed on the mesh would be another type of argument, and compiled for anew.
    """
    mesh = sharding.make_mesh(jax.devices()[:devices])
    everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
    jitted = jax.jit(
        partial(
            step,
            networks=nets,
            optimizers=OPTIMIZERS,
            objective=objective,
            augmentation=augmentation,
        ),
        in_shardings=(everywhere, split, everywhere, everywhere),
        out_shardings=everywhere,
    )
    return lambda state, *inputs: jitted(jax.device_put(state, everywhere), *inputs)


def run(
    nets: Networks,
    objective: Objective,
    steps: int,
    *,
    devices: int = 1,
    augmentation: Augmentation = tiny.AUGMENTATION,
) -> tuple[GanState, list[dict[str, float]]]:
    """The state after `steps` steps from the tiny one, and the metrics of each."""
    function = compiled(nets, objective, augmentation, devices, train_step)
    state, logged = tiny.state(nets), []
    targets = tiny.targets(nets.classifier.head_dtype)
    for number in range(steps):
        batch = jax.tree.map(np.asarray, tiny.batch(8, seed=number))
        state, metrics = function(state, batch, targets, jax.random.key(5))
        assert {value.dtype for value in metrics.values()} == {nets.classifier.head_dtype}
        logged.append(tiny.floats(metrics))
    return jax.tree.map(np.asarray, state), logged


def test_eight_devices_equal_one_in_float64(x64):
    nets = tiny.networks(jnp.float64)
    one, one_metrics = run(nets, tiny.objective(), 3, augmentation=tiny.UNROTATED)
    eight, eight_metrics = run(nets, tiny.objective(), 3, devices=8, augmentation=tiny.UNROTATED)
    for ours, theirs in zip(eight_metrics, one_metrics, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-10)
    tiny.assert_trees_close(eight, one, 1e-10)  # parameters, moments, statistics, centres


def test_eight_devices_equal_one_in_float32():
    """Metrics of one step, and every gradient."""
    nets = tiny.networks()
    _, (one,) = run(nets, tiny.objective(), 1)
    _, (eight,) = run(nets, tiny.objective(), 1, devices=8)
    norms = [metrics.pop("generator/gradient") for metrics in (one, eight)]
    assert norms[0] == pytest.approx(norms[1], rel=GENERATOR_NORM_FLOAT32)
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
        players.append({name: getattr(gradients, name) for name in PLAYERS})
    for name in PLAYERS:
        one, eight = (tiny.flattened(side[name]) for side in players)
        assert tiny.relative_error(eight, one) < GRADIENTS_FLOAT32, name


def test_the_target_is_not_augmented_and_the_source_is():
    """L1 of a generator that is held at 0 sees the fixed crop; two steps see other sources."""
    nets = tiny.networks()
    state, targets, batch = tiny.state(nets), tiny.targets(), tiny.batch(SIZE)
    step = compiled(nets, tiny.objective(), tiny.AUGMENTATION, 1, train_step)
    _, at_0 = step(state, batch, targets, jax.random.key(0))
    _, again = step(state, batch, targets, jax.random.key(0))
    _, at_1 = step(state.replace(step=state.step + 1), batch, targets, jax.random.key(0))
    assert tiny.floats(at_0) == tiny.floats(again)  # same seed, same step, same numbers
    assert float(at_0["generator/l1"]) != float(at_1["generator/l1"])
    # targets equal to what a zero-output G is compared with: mean |target|
    zero_output = state.replace(generator=zeroed_output(state.generator))
    _, metrics = step(zero_output, batch, targets, jax.random.key(0))
    expected = 20 * np.abs(np.asarray(targets)[np.asarray(batch.label)]).mean()
    assert float(metrics["generator/l1"]) == pytest.approx(expected, rel=1e-5)


def zeroed_output(player: Player) -> Player:
    params = {**player.params, "output": jax.tree.map(jnp.zeros_like, player.params["output"])}
    return player.replace(params=params)


def test_bfloat16_keeps_float32_where_it_matters():
    nets = tiny.networks(jnp.bfloat16)
    state, (metrics, _) = run(nets, tiny.objective(), 2)
    for name, leaf in tiny.leaves(state):
        if leaf.dtype != np.int32:
            assert leaf.dtype == np.float32, name
    assert all(np.isfinite(value) for value in metrics.values())
    _, (exact,) = run(tiny.networks(), tiny.objective(), 1)
    assert metrics["generator/l1"] == pytest.approx(exact["generator/l1"], rel=0.05)


def test_statistics_move_for_every_player():
    state, _ = run(tiny.networks(), tiny.objective(), 1)
    before = jax.tree.map(np.asarray, tiny.state(tiny.networks()))
    assert int(state.step) == 1
    for name in PLAYERS:
        sides = (getattr(side, name).batch_stats for side in (before, state))
        for (path, x), (_, y) in zip(*map(tiny.leaves, sides), strict=True):
            assert not np.array_equal(x, y), (name, path)


def test_logged_terms_have_their_gradients_beside_them():
    _, (metrics,) = run(tiny.networks(), tiny.objective(), 1)
    for term in ("classifier/softmax_real", "classifier/softmax_fake", "classifier/island"):
        assert {term, f"{term}_gradient"} <= metrics.keys()
    assert {
        f"generator/gamma_{p}_attention" for p in ("encoder", "skip", "decoder")
    } <= metrics.keys()
    assert {f"centres/norm_{k}" for k in range(tiny.CLASSES)} <= metrics.keys()
    pairs = island.pair_term(tiny.state(tiny.networks()).centres).sum()
    assert metrics["centres/pair_term"] == pytest.approx(0.03 * float(pairs), rel=1e-5)


def test_baseline_is_softmax_and_island_on_the_source(x64):
    """One float64 step: the gradient of the plain objective through Adam, and the delta rule."""
    nets = tiny.networks(jnp.float64, inputs="source")
    nets = nets._replace(generator=None, discriminator=None)
    state, batch, objective = tiny.state(nets), tiny.batch(SIZE), tiny.objective()
    batch = Batch(batch.image[:, 2:-2, 2:-2], batch.label)  # the crop is the whole image
    step = compiled(nets, objective, STILL, 1, baseline_step)
    new, metrics = step(state, batch, tiny.targets(np.float64), jax.random.key(0))
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
    """An image's prediction is the same alone, in a batch, and among others; so is its noise."""
    nets = tiny.networks()
    nets = nets._replace(generator=nets.generator.clone(output_noise=0.8))
    state, images = tiny.state(nets), tiny.batch(6).image
    evaluate = jax.jit(partial(eval_step, networks=nets, crop=tiny.CROP))
    together = evaluate(state, images)
    alone = [evaluate(state, images[i : i + 1]) for i in range(6)]
    for i, single in enumerate(alone):
        for a, b in zip(single, together, strict=True):
            np.testing.assert_allclose(a[0], b[i], rtol=1e-5, atol=1e-5)
    assert jnp.abs(together.generated).max() == 1  # clipped: an image
    np.testing.assert_allclose(together.probabilities.sum(-1), np.ones(6), rtol=1e-5)
    np.testing.assert_allclose(
        together.source, centre_crop(to_model_range(images), tiny.CROP), rtol=0, atol=2e-7
    )
    np.testing.assert_allclose(
        together.probabilities,
        classify(state, together.source, together.generated, networks=nets),
        rtol=1e-5,
    )


def test_players_and_centres_are_updated_by_their_own_rules(x64):
    """Each player by its gradient and its own optimizer; centres by both pairs' features."""
    nets = tiny.networks(jnp.float64)
    state, batch, targets = tiny.state(nets), tiny.batch(SIZE), tiny.targets(np.float64)
    batch = Batch(batch.image[:, 2:-2, 2:-2], batch.label)  # the crop is the whole image
    step = compiled(nets, tiny.objective(), STILL, 1, train_step)
    new, metrics = step(state, batch, targets, jax.random.key(0))
    source = to_model_range(batch.image).astype(jnp.float64)
    gradients = jax.jit(partial(gan_gradients, networks=nets, objective=tiny.objective()))
    grads = gradients(state, source, targets[batch.label], batch.label)
    assert grads.features.shape == (2 * SIZE, nets.classifier.num_features)
    twice = jnp.repeat(batch.label, 2)
    for name in PLAYERS:
        norm = np.linalg.norm(tiny.flattened(getattr(grads, name)))
        assert float(metrics[f"{name}/gradient"]) == pytest.approx(norm, rel=1e-5)
        before, after = getattr(state, name), getattr(new, name)
        update = jax.jit(getattr(OPTIMIZERS, name).update)
        updates, opt_state = update(getattr(grads, name), before.opt_state, before.params)
        # float32 image arithmetic feeds both sides, and Adam's first step is g / |g|
        tiny.assert_trees_close(after.opt_state[1].mu, opt_state[1].mu, 1e-5)
        moved = jax.tree.map(jnp.subtract, after.params, before.params)
        ratio = tiny.flattened(moved) / tiny.flattened(updates)
        assert np.median(np.abs(ratio - 1)) < 1e-3, name
    expected = island.update_centres(state.centres, grads.features, twice, step=0.5, alpha=0.03)
    assert tiny.relative_error(new.centres, expected) < 1e-6


def test_alpha_moves_the_centres_only():
    """The pair term has no gradient: two values of α differ in the centres alone."""
    nets = tiny.networks()
    states = [run(nets, tiny.objective(**alpha), 1)[0] for alpha in ({}, {"island_alpha": 5.0})]
    assert np.abs(states[0].centres - states[1].centres).max() > 1e-4
    for name in PLAYERS:
        a, b = (getattr(s, name).params for s in states)
        for (path, x), (_, y) in zip(tiny.leaves(a), tiny.leaves(b), strict=True):
            assert np.array_equal(x, y), path
