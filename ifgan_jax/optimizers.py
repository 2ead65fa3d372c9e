"""One optax chain per network: Adam as the paper's PyTorch has it (Sec. 4.3)."""

import optax


def steps_schedule(
    learning_rate: float, *, decay: float, decay_every_epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    """1e-4, times 0.9 every 10 epochs, in steps (Sec. 4.3); independent of the run's length."""
    return optax.exponential_decay(
        learning_rate,
        transition_steps=decay_every_epochs * steps_per_epoch,
        decay_rate=decay,
        staircase=True,
    )


def adam_l2(
    learning_rate: optax.Schedule, *, beta1: float, beta2: float, weight_decay: float
) -> optax.GradientTransformation:
    """`torch.optim.Adam(weight_decay=…)`: L2 added to the gradient before the moments, not AdamW.

    All parameters decay, BatchNorm's and γ too, as they do in PyTorch.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(b1=beta1, b2=beta2, eps=1e-8),
        optax.scale_by_learning_rate(learning_rate),
    )
