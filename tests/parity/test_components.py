"""Our parts against PyTorch's own, from the same weights, in float64."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from ifgan_jax import losses
from ifgan_jax.models.attention import attend
from ifgan_jax.models.layers import UpConv
from ifgan_jax.optimizers import adam_l2, steps_schedule
from tests.parity.trees import nchw, ours
from tests.tiny import relative_error

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("x64")]
Array = np.ndarray


def images(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def test_up_conv():
    weight = torch.randn(
        4, 6, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    x = images(2, 5, 7, 6)
    large = torch.nn.functional.interpolate(nchw(x), scale_factor=2, mode="nearest")
    expected = torch.nn.functional.conv2d(large, weight, padding=1).numpy().transpose(0, 2, 3, 1)
    module = UpConv(4, jnp.float64, jax.nn.initializers.normal())
    found = module.apply({"params": {"kernel": ours(weight)}}, jnp.asarray(x))
    assert relative_error(found, expected) < 1e-12


def test_attention():
    q, k, v = (images(2, 20, width, seed=width) for width in (4, 5, 16))
    k = k[..., :4]
    expected = torch.softmax(torch.from_numpy(q) @ torch.from_numpy(k).mT, -1) @ torch.from_numpy(v)
    found = attend(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), 2 * 20 * 3)
    assert relative_error(found, expected.numpy()) < 1e-12


LOSSES: dict[str, tuple[Callable, Callable]] = {
    "adversarial, real": (
        lambda x: losses.adversarial(x, real=True),
        lambda x: torch.nn.functional.binary_cross_entropy_with_logits(
            x, torch.ones_like(x), reduction="none"
        ),
    ),
    "adversarial, fake": (
        lambda x: losses.adversarial(x, real=False),
        lambda x: torch.nn.functional.binary_cross_entropy_with_logits(
            x, torch.zeros_like(x), reduction="none"
        ),
    ),
    "softmax": (
        lambda x: losses.softmax_cross_entropy(x, jnp.arange(5) % 3),
        lambda x: torch.nn.functional.cross_entropy(x, torch.arange(5) % 3, reduction="none"),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str):
    ours, theirs = LOSSES[name]
    x = 10 * images(5, 3)
    assert relative_error(ours(jnp.asarray(x)), theirs(torch.from_numpy(x)).numpy()) < 1e-12


def test_adam_and_schedule():
    """torch.optim.Adam(weight_decay) with StepLR, 30 steps over three drops."""
    start = images(7)
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    theirs = torch.optim.Adam([parameter], lr=1e-2, betas=(0.9, 0.99), weight_decay=1e-2)
    drops = torch.optim.lr_scheduler.StepLR(theirs, step_size=10, gamma=0.9)
    schedule = steps_schedule(1e-2, decay=0.9, decay_every_epochs=2, steps_per_epoch=5)
    ours = adam_l2(schedule, beta1=0.9, beta2=0.99, weight_decay=1e-2)
    params = jnp.asarray(start)
    state = ours.init(params)
    for step in range(30):
        gradient = images(7, seed=step)
        parameter.grad = torch.from_numpy(gradient)
        theirs.step()
        drops.step()
        updates, state = ours.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
    # optax gives the step size in float32: seen 3.4e-9
    assert relative_error(params, parameter.detach().numpy()) < 1e-7
