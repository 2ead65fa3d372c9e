"""Which numbers a config may hold: every one has its limits here, and none is NaN or infinite."""

import math
from typing import Any

from ml_collections import ConfigDict

from ifgan_jax.workdir import flatten

Limits = tuple[type[int] | type[float], int | float, int | float]  # type, least and most
ANY = 10**38  # about what a float32 holds: no limit but for nonsense
BELOW_1 = math.nextafter(1, 0)
ADAM: dict[str, Limits] = {
    "learning_rate": (float, 0, ANY),
    "decay": (float, 0, ANY),
    "decay_every_epochs": (int, 1, ANY),
    "beta1": (float, 0, BELOW_1),  # at 1 the mean would never move
    "beta2": (float, 0, BELOW_1),
    "weight_decay": (float, 0, ANY),
}
LISTS = ("generator.widths",)  # their limits hold for each number
LIMITS: dict[str, Limits] = {
    "seed": (int, 0, 2**32 - 1),  # what a key of JAX holds
    "epochs": (int, 1, ANY),
    "batch_size": (int, 1, ANY),
    "checkpoint_every_epochs": (int, 1, ANY),
    "devices": (int, 0, ANY),
    "data.num_classes": (int, 1, ANY),
    "data.image_size": (int, 1, ANY),
    "data.crop": (int, 1, ANY),
    "data.channels": (int, 1, ANY),
    "data.num_folds": (int, 1, ANY),
    "data.fold": (int, 0, ANY),
    "data.validation_fraction": (float, 0, BELOW_1),
    "augmentation.max_rotation": (float, 0, 180),
    "augmentation.flip_probability": (float, 0, 1),
    "generator.widths": (int, 1, ANY),
    "generator.convs_per_stage": (int, 1, ANY),
    "generator.attention_reduction": (int, 1, ANY),
    "generator.attention_block": (int, 1, ANY),
    "generator.output_noise": (float, 0, ANY),
    "discriminator.width": (int, 1, ANY),
    "classifier.depth": (int, 1, ANY),
    "classifier.width": (int, 1, ANY),
    "loss.adversarial_weight": (float, 0, ANY),
    "loss.l1_weight": (float, 0, ANY),
    "loss.softmax_weight": (float, 0, ANY),
    "loss.island_weight": (float, 0, ANY),
    "loss.island_alpha": (float, 0, ANY),
    "loss.centre_step": (float, 0, ANY),
    "centre_deviation": (float, 1e-3, ANY),  # from 0 an absent class is flung to infinity
    "evaluation.batch_size": (int, 1, 2**16),  # each batch is filled up to it
    **{
        f"optimizers.{player}.{key}": limits
        for player in ("generator", "discriminator", "classifier")
        for key, limits in ADAM.items()
    },
}


def check_numbers(config: ConfigDict) -> None:
    """ValueError naming the key of a number that is of another type or outside its limits."""
    flat = flatten(config)
    for key, (kind, least, most) in LIMITS.items():
        values = flat[key] if key in LISTS else [flat[key]]
        if not isinstance(values, list):
            raise ValueError(f"{key} {values!r}: must be several numbers, such as (8, 16)")
        for value in values:
            _check(key, value, kind, least, most)


def _check(
    key: str, value: Any, kind: type[int] | type[float], least: int | float, most: int | float
) -> None:
    if not isinstance(value, (int, kind)) or isinstance(value, bool):
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"{key} {value!r}: must be {wanted}")
    if not least <= value <= most:  # NaN is not, either
        bound = f"at least {least}" if most == ANY and value < least else f"from {least} to {most}"
        raise ValueError(f"{key} {value}: must be {bound}")
