"""The real architecture at the smallest sizes, shared by the tests."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from ifgan_jax.arrays import Batch
from ifgan_jax.augment import Augmentation
from ifgan_jax.models.classifier import BasicBlock, ResNet
from ifgan_jax.models.discriminator import PatchGAN
from ifgan_jax.models.generator import AttentionUNet
from ifgan_jax.objective import Objective
from ifgan_jax.optimizers import adam_l2
from ifgan_jax.state import GanState, Networks, Optimizers, Player, create_state

CLASSES = 6
CROP = 32
SIZE = 4  # images of `faces`


def networks(
    dtype: Any = jnp.float32, remat: str = "attention", convs_per_stage: int = 1, **changes: Any
) -> Networks:
    """All stages and attentions; an 8-position attention block makes several groups.

    convs_per_stage: two are shipped, one compiles sooner. changes: of E.
    """
    generator = {
        "widths": (8, 8, 8, 8),
        "channels": 1,
        "convs_per_stage": convs_per_stage,
        "attention": True,
        "attention_reduction": 8,
        "attention_block": 64 * 16,
        "output_noise": 0.0,
        "remat": remat,
        "dtype": dtype,
    }
    classifier = {
        "stage_sizes": (1, 1),
        "block": BasicBlock,
        "width": 4,
        "num_classes": CLASSES,
        "inputs": "pair",
        "remat": remat,
        "dtype": dtype,
    }
    return Networks(
        AttentionUNet(**generator), PatchGAN(4, dtype), ResNet(**{**classifier, **changes})
    )


def objective(**changes: Any) -> Objective:
    """The paper's weights."""
    return Objective(
        **{
            "adversarial_weight": 1.0,
            "l1_weight": 20.0,
            "softmax_weight": 10.0,
            "island_weight": 1.0,
            "island_alpha": 0.03,
            "island_reduction": "mean_images_and_features",
            "centre_step": 0.5,
            "classifier_to_generator": True,
            **changes,
        }
    )


def optimizers() -> Optimizers:
    """Rates of their own, so that no player can take another's without a test seeing it."""
    return Optimizers(
        *(
            adam_l2(lambda count, rate=rate: rate, beta1=0.9, beta2=0.99, weight_decay=1e-4)
            for rate in (1e-3, 2e-3, 3e-3)
        )
    )


AUGMENTATION = Augmentation(crop=CROP, max_rotation=5.0, flip_probability=0.5)
# For comparisons in float64: rotation is float32, whose rounding depends on a device's batch.
UNROTATED = dataclasses.replace(AUGMENTATION, max_rotation=0.0)


@functools.cache
def state(nets: Networks) -> GanState:
    create = partial(
        create_state,
        networks=nets,
        optimizers=optimizers(),
        crop=CROP,
        channels=1,
        centre_deviation=1.0,
    )
    fresh = jax.jit(create)(jax.random.key(0))
    # γ starts at 0, where attention changes nothing: move it, so that tests see the modules.
    return jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.5 if "gamma" in jax.tree_util.keystr(path[-1:]) else x, fresh
    )


def batch(size: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (size, CROP + 4, CROP + 4, 1), np.uint8)
    return Batch(jnp.asarray(image), jnp.asarray(np.arange(size) % CLASSES, dtype=jnp.int32))


def targets(dtype: Any = np.float32) -> jax.Array:
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.uniform(-1, 1, (CLASSES, CROP, CROP, 1)).astype(dtype))


def faces(dtype: Any = np.float64) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Source, target and label of a batch that is already augmented."""
    rng = np.random.default_rng(3)
    label = np.array([0, 1, 1, 5], np.int32)
    source = rng.uniform(-1, 1, (SIZE, CROP, CROP, 1)).astype(dtype)
    return jnp.asarray(source), targets(dtype)[label], jnp.asarray(label)


def leaves(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a tree with its path."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path), np.asarray(leaf)


def flattened(tree: Any) -> np.ndarray:
    """Every number of a tree."""
    return np.concatenate([leaf.ravel() for _, leaf in leaves(tree)])


def first_moments(player: Player) -> np.ndarray:
    """Adam's: after one step a tenth of the player's gradient, L2 included."""
    return flattened(player.opt_state[1].mu)


def relative_error(ours: Any, theirs: Any) -> float:
    """Largest difference over the largest entry."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-300))


def assert_trees_close(ours: Any, theirs: Any, tolerance: float) -> None:
    """Every array within `tolerance` of the other's largest entry.

    Arrays that are zero but for rounding (gradients of the attention keys' biases, which softmax
    cancels) are so on both sides: below 1e-12 of the tree's largest entry.
    """
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    zero = 1e-12 * max(np.abs(b).max() for _, b in leaves(theirs) if b.size)
    for (name, a), (_, b) in zip(leaves(ours), leaves(theirs), strict=True):
        assert a.shape == b.shape
        if b.size and np.abs(b).max() > zero:
            assert relative_error(a, b) <= tolerance, name
        else:
            assert not a.size or np.abs(a).max() <= zero, name


def floats(mapping: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in mapping.items()}


def programs_in(equation: JaxprEqn) -> list[Jaxpr]:
    """Of loops, branches and calls; of branches by platform that for any."""
    inner = list(equation.params.values())
    if platforms := equation.params.get("branches_platforms"):
        inner = [equation.params["branches"][platforms.index(None)]]
    values = jax.tree.leaves(inner, is_leaf=lambda x: isinstance(x, (Jaxpr, ClosedJaxpr)))
    return [getattr(x, "jaxpr", x) for x in values if isinstance(x, (Jaxpr, ClosedJaxpr))]
