"""A small ResNet that learns to tell people and expressions apart: a probe of images.

What it learned is a representation like any other, to be measured by `probe` on other people.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Shaped

from ifgan_jax.arrays import Image, Labels, Params
from ifgan_jax.models.classifier import RESNETS

DEPTH, WIDTH = 18, 8  # 64 features
EPOCHS, BATCH = 20, 64
LEARNING_RATE = 1e-3  # Adam's, falling to 0 by a cosine


def learned_features(
    images: Float32[np.ndarray, "n h w c"],
    subjects: Shaped[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    others: Float32[np.ndarray, "m h w c"],
    *,
    seed: int,
) -> Float32[np.ndarray, "m d"]:
    """Features of `others`, by a network that learned subject and label of `images`.

    images, others: in [-1, 1]; flipped from left to right half of the time while it learns.
    """
    people, person = np.unique(subjects, return_inverse=True)
    expressions, expression = np.unique(labels, return_inverse=True)
    network = RESNETS[DEPTH](
        width=WIDTH,
        num_classes=len(people) + len(expressions),
        inputs="source",
        remat="none",
        dtype=jnp.float32,
    )
    batch = min(BATCH, len(images))
    steps = len(images) // batch * EPOCHS
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))
    learn = jax.jit(partial(_learn, network, optimizer, len(people)), donate_argnums=(0, 1))
    variables = jax.jit(partial(network.init, train=False))(jax.random.key(seed), images[:1])
    opt_state = optimizer.init(variables["params"])
    rng = np.random.default_rng(seed)
    targets = [x.astype(np.int32) for x in (person, expression)]
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))
        for start in range(0, len(images) - batch + 1, batch):
            rows = order[start : start + batch]
            faces = images[rows]
            mirrored = rng.random(batch) < 0.5
            faces[mirrored] = faces[mirrored, :, ::-1]
            variables, opt_state = learn(variables, opt_state, faces, *(x[rows] for x in targets))

    @jax.jit
    def features(faces: Image) -> Float[Array, "b d"]:
        output: Any = network.apply(variables, faces, train=False)
        return output[1]

    filled = np.concatenate([others, others[:1].repeat(-len(others) % BATCH, 0)])
    found = [np.asarray(features(part)) for part in filled.reshape(-1, BATCH, *others.shape[1:])]
    return np.concatenate(found)[: len(others)]


def _learn(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    num_people: int,
    variables: Params,
    opt_state: optax.OptState,
    faces: Image,
    subject: Labels,
    label: Labels,
) -> tuple[Params, optax.OptState]:
    """One step of Adam on the sum of both cross entropies."""

    def loss(params: Params) -> tuple[Float[Array, ""], Params]:
        held = {"params": params, "batch_stats": variables["batch_stats"]}
        (logits, _), new = network.apply(held, faces, train=True, mutable=["batch_stats"])
        entropy = optax.softmax_cross_entropy_with_integer_labels
        of_people = entropy(logits[:, :num_people], subject)
        return (of_people + entropy(logits[:, num_people:], label)).mean(), new["batch_stats"]

    gradient, batch_stats = jax.grad(loss, has_aux=True)(variables["params"])
    updates, opt_state = optimizer.update(gradient, opt_state)
    params = optax.apply_updates(variables["params"], updates)
    return {"params": params, "batch_stats": batch_stats}, opt_state
