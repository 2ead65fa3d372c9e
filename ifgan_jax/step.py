"""The train step of IF-GAN (Sec. 3), the baseline's, and the step used at test time.

Pure functions of arrays: no config, mesh, file or TensorFlow. Under `jit` over a mesh the batch is
the global one, so means, BatchNorm statistics and centres need no collective here.

Who learns from what (Fig. 2; G, D and E are updated together, from one forward pass):

    term                               G      D      E      centres
    adversarial, D's part (eq. 2)      -      yes    -      -
    adversarial, G's part (eq. 2)      yes    -      -      -
    L1 (eq. 3)                         yes    -      -      -
    softmax, real pair (eq. 4)         -      -      yes    -
    softmax, fake pair (eq. 4)         yes    -      yes    -
    island, both pairs (eq. 5)         fake   -      yes    delta rule
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, UInt8

from ifgan_jax.arrays import (
    Batch,
    Features,
    Image,
    Labels,
    Logits,
    Metrics,
    Params,
    PRNGKey,
    Targets,
)
from ifgan_jax.augment import Augmentation, augment, prepare
from ifgan_jax.objective import Objective
from ifgan_jax.state import GanState, Networks, Optimizers, Player

AUGMENT = 0  # use of a step's key
NOTHING: Mapping = MappingProxyType({})


class Gradients(NamedTuple):
    """One gradient per player, from one forward pass, and what that pass left behind."""

    generator: Params
    discriminator: Params
    classifier: Params
    generator_stats: Params
    discriminator_stats: Params
    classifier_stats: Params
    generated: Image  # G's face of each image, without noise
    features: Features  # of the real and the fake pair of each image, neighbours
    metrics: Metrics


def train_step(
    state: GanState,
    batch: Batch,
    targets: Targets,
    key: PRNGKey,
    *,
    networks: Networks,
    optimizers: Optimizers,
    objective: Objective,
    augmentation: Augmentation,
) -> tuple[GanState, Metrics]:
    """Augment, G once, D on each pair, E on both pairs, three updates, the centres."""
    source = augmented(key, state, batch, augmentation)
    grads = gan_gradients(state, source, targets[batch.label], batch.label, networks, objective)
    return apply_gradients(state, grads, batch.label, optimizers, objective)


def apply_gradients(
    state: GanState, grads: Gradients, label: Labels, optimizers: Optimizers, objective: Objective
) -> tuple[GanState, Metrics]:
    """The second half of `train_step`: three updates, the centres, and the norms beside the terms.

    What else the state carries (docs/extending.md) stays as it is.
    """
    players = {
        name: update(
            getattr(state, name),
            getattr(grads, name),
            getattr(grads, f"{name}_stats"),
            getattr(optimizers, name),
        )
        for name in Optimizers._fields
    }
    centres = objective.update_centres(state.centres, grads.features, jnp.repeat(label, 2))
    new_state = dataclasses.replace(state, step=state.step + 1, centres=centres, **players)
    norms = {
        f"{name}/gradient": optax.tree.norm(getattr(grads, name)) for name in Optimizers._fields
    }
    return new_state, grads.metrics | norms | _watch(state, objective)


def baseline_step(
    state: GanState,
    batch: Batch,
    targets: Targets,
    key: PRNGKey,
    *,
    networks: Networks,
    optimizers: Optimizers,
    objective: Objective,
    augmentation: Augmentation,
) -> tuple[GanState, Metrics]:
    """The paper's baseline: E alone on the source face, softmax and island loss (Sec. 4.3)."""
    source = augmented(key, state, batch, augmentation)
    player = state.classifier
    forward = _forward(networks.classifier, player.batch_stats)
    (logits, features), pull, stats = jax.vjp(forward, player.params, source, has_aux=True)

    terms = partial(objective.baseline_terms, label=batch.label, centres=state.centres)
    cotangents, metrics = _classifier_cotangents(terms, logits, features, player.params)
    gradient, _ = pull(cotangents)
    new_state = dataclasses.replace(
        state,
        step=state.step + 1,
        classifier=update(player, gradient, stats, optimizers.classifier),
        centres=objective.update_centres(state.centres, features, batch.label),
    )
    metrics["classifier/accuracy"] = _accuracy(logits, batch.label)
    metrics["classifier/gradient"] = optax.tree.norm(gradient)
    return new_state, metrics | _watch(state, objective)


def gan_gradients(
    state: GanState,
    source: Image,
    target: Image,
    label: Labels,
    networks: Networks,
    objective: Objective,
    further: Mapping[str, Callable[[Image], Float[Array, ""]]] = NOTHING,
) -> Gradients:
    """Gradients of eq. 1 for each player, the others held, from one forward pass.

    further: by name, losses of the generated face that G descends beside eq. 1.

    D's pass over the fake pair is pulled back twice: for D's part of eq. 2 into D's parameters, for
    G's part into the face. So is E's: for all of its loss into its parameters, for its loss on the
    fake pair into the face. (One pull-back for both would carry the real pair's terms to G, through
    the batch statistics that the two pairs share.)
    """
    generator, discriminator, classifier = state.generator, state.discriminator, state.classifier
    assert generator is not None
    assert discriminator is not None
    assert networks.generator is not None
    assert networks.discriminator is not None

    # G(I_SE), then D on the real pair and on the fake pair, each with its own batch statistics.
    generate = _forward(networks.generator, generator.batch_stats)
    fake, pull_generator, generator_stats = jax.vjp(
        lambda params: generate(params, source), generator.params, has_aux=True
    )
    observed = partial(networks.generator.observed, source)
    seen, seen_target = observed(fake), observed(target)  # by D and E; eq. 3 compares without noise
    judge_real = _forward(networks.discriminator, discriminator.batch_stats)
    real_logits, pull_real, real_stats = jax.vjp(
        lambda params: judge_real(params, source, seen_target), discriminator.params, has_aux=True
    )
    judge_fake = _forward(networks.discriminator, real_stats)
    fake_logits, pull_fake, discriminator_stats = jax.vjp(
        lambda params, face: judge_fake(params, source, face),
        discriminator.params,
        seen,
        has_aux=True,
    )

    # E on both pairs in one batch, neighbours so that a sharded batch stays where it is.
    def on_both_pairs(
        params: Params, face: Image
    ) -> tuple[tuple[Float[Array, "2*b n"], Float[Array, "2*b d"]], Params]:
        select = networks.classifier.select
        pairs = jnp.stack([select(source, seen_target), select(source, face)], axis=1)
        forward = _forward(networks.classifier, classifier.batch_stats)
        return forward(params, pairs.reshape(-1, *pairs.shape[2:]))

    (logits, features), pull_classifier, classifier_stats = jax.vjp(
        on_both_pairs, classifier.params, seen, has_aux=True
    )

    # D descends its part of eq. 2.
    (d_real, d_fake), d_metrics = jax.grad(_total(objective.discriminator_terms), (0, 1), True)(
        real_logits, fake_logits
    )
    discriminator_gradient = jax.tree.map(jnp.add, pull_real(d_real)[0], pull_fake(d_fake)[0])

    # E descends eq. 4 and 5.
    terms = partial(objective.classifier_terms, label=jnp.repeat(label, 2), centres=state.centres)
    cotangents, metrics = _classifier_cotangents(terms, logits, features, classifier.params)
    classifier_gradient, _ = pull_classifier(cotangents)

    # G descends its part of eq. 2, eq. 3, and what E's loss says of the face.
    adversarial, to_logits = jax.value_and_grad(objective.adversarial)(fake_logits)
    l1, from_l1 = jax.value_and_grad(objective.l1)(fake, target)
    to_face = {"adversarial": pull_fake(to_logits)[1], "l1": from_l1}
    if objective.classifier_to_generator:
        of_fake_pairs = jax.tree.map(lambda x: x.at[0::2].set(0), cotangents)
        to_face["classifier"] = pull_classifier(of_fake_pairs)[1]
    for name, loss in further.items():
        metrics[f"generator/{name}"], to_face[name] = jax.value_and_grad(loss)(fake)
    (generator_gradient,) = pull_generator(sum(to_face.values()))

    metrics |= d_metrics | {"generator/adversarial": adversarial, "generator/l1": l1}
    metrics |= {f"generator/{k}_gradient": jnp.linalg.norm(v) for k, v in to_face.items()}
    metrics["classifier/accuracy"] = _accuracy(logits[1::2], label)  # on the fake pair
    return Gradients(
        generator_gradient,
        discriminator_gradient,
        classifier_gradient,
        generator_stats,
        discriminator_stats,
        classifier_stats,
        fake,
        features,
        metrics,
    )


class Prediction(NamedTuple):
    """What G and E say of faces: images in model range, probabilities, E's pooled features."""

    source: Image
    generated: Image
    probabilities: Float[Array, "b n"]
    features: Features


def eval_step(
    state: GanState, images: UInt8[Array, "b h w c"], *, networks: Networks, crop: int
) -> Prediction:
    """Centre crop → G → E on {I_SE, G(I_SE)}, running statistics: no image sees its batch.

    The baseline, which has no G, "generates" the source face itself.
    """
    source = prepare(images, crop).astype(networks.classifier.head_dtype)
    if networks.generator is None or state.generator is None:
        generated = source
    else:
        face: Any = networks.generator.apply(variables(state.generator), source, train=False)
        generated = jnp.clip(networks.generator.observed(source, face), -1, 1)  # an image again
    return Prediction(source, generated, *_recognize(state, source, generated, networks))


def classify(
    state: GanState, source: Image, face: Image, *, networks: Networks
) -> Float[Array, "b n"]:
    """E's probabilities for pairs given by hand, running statistics."""
    return _recognize(state, source, face, networks)[0]


def _recognize(
    state: GanState, source: Image, face: Image, networks: Networks
) -> tuple[Float[Array, "b n"], Features]:
    """E's probabilities, and the pooled features that they come of."""
    pairs = networks.classifier.select(source, face)
    output: Any = networks.classifier.apply(variables(state.classifier), pairs, train=False)
    logits, features = output
    return jax.nn.softmax(logits), features


def _forward(network: nn.Module, batch_stats: Params) -> Callable:
    """params, inputs → output, new running statistics: the network in training mode."""

    def forward(params: Params, *inputs: jax.Array) -> tuple:
        held = {"params": params, "batch_stats": batch_stats}
        output, new = network.apply(held, *inputs, train=True, mutable=["batch_stats"])
        return output, new.get("batch_stats", {})  # a network of one's own may have none

    return forward


def variables(player: Player) -> Params:
    """What `apply` takes."""
    return {"params": player.params, "batch_stats": player.batch_stats}


def _total(terms: Callable[..., Metrics]) -> Callable:
    """Sum of the named terms, with the terms beside it."""

    def total(*outputs: jax.Array) -> tuple[jax.Array, Metrics]:
        named = terms(*outputs)
        return sum(named.values(), start=jnp.zeros(())), named

    return total


def _classifier_cotangents(
    terms: Callable[[Logits, Features], Metrics], logits: Logits, features: Features, params: Params
) -> tuple[tuple[Logits, Features], Metrics]:
    """Cotangents of E's summed terms, with each term's size and gradient norm at E's features.

    The features are where the terms meet: what lies below them sees their sum alone, and norms of
    its parts would cost a backward pass for each.
    """
    metrics = terms(logits, features)
    cotangents = jax.jacrev(terms, (0, 1))(logits, features)  # by name: (to logits, to features)
    for name, (to_logits, to_features) in cotangents.items():
        at_features = to_features + to_logits @ params["head"]["kernel"].T
        metrics[f"{name}_gradient"] = jnp.linalg.norm(at_features)
    return jax.tree.map(lambda *parts: sum(parts), *cotangents.values()), metrics


def update(
    player: Player, gradient: Params, batch_stats: Params, optimizer: optax.GradientTransformation
) -> Player:
    """One step of a player along its gradient, and the running statistics that its pass left."""
    updates, opt_state = optimizer.update(gradient, player.opt_state, player.params)
    return Player(optax.apply_updates(player.params, updates), batch_stats, opt_state)


def augmented(key: PRNGKey, state: GanState, batch: Batch, augmentation: Augmentation) -> Image:
    """The source faces of this step, in [-1, 1], by a key of `key`, the step and the use."""
    step_key = jax.random.fold_in(jax.random.fold_in(key, state.step), AUGMENT)
    dtype = state.centres.dtype
    return augment(step_key, batch.image, augmentation).astype(dtype)


def _accuracy(logits: Logits, label: Labels) -> Float[Array, ""]:
    return (logits.argmax(-1) == label).mean(dtype=logits.dtype)


def _watch(state: GanState, objective: Objective) -> Metrics:
    """The centres' norms and part of eq. 5, and γ of each attention module, before the update."""
    norms = jnp.linalg.norm(state.centres, axis=-1)
    watched = {f"centres/norm_{i}": norm for i, norm in enumerate(norms)}
    params = state.generator.params if state.generator is not None else {}
    gammas = {f"generator/gamma_{k}": v["gamma"] for k, v in params.items() if "attention" in k}
    return watched | gammas | {"centres/pair_term": objective.pair_term(state.centres)}
