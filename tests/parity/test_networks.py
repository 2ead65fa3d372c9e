"""E against torchvision's ResNets, logits, features and statistics."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torchvision

from ifgan_jax.models import pretrained
from ifgan_jax.models.classifier import RESNETS
from tests.parity.trees import biased_variances, nchw, randomize, tree
from tests.tiny import assert_trees_close, relative_error

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("x64")]


def torchvision_resnet(depth: int, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = getattr(torchvision.models, f"resnet{depth}")(num_classes=6).double()
    randomize(model, seed)
    return model


def torchvision_outputs(
    model: torch.nn.Module, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and the pooled features that its `fc` sees."""
    seen = []
    handle = model.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad(), biased_variances(model):
        logits = model(x)
    handle.remove()
    return logits, seen[0]


CASES = [(18, 0, 64), (18, 1, 75), (50, 0, 64), (50, 1, 64), (101, 0, 64), (101, 1, 64)]


@pytest.mark.parametrize(("depth", "seed", "side"), CASES)
def test_resnet(depth: int, seed: int, side: int):
    """Logits, features and statistics in float64 and both modes; evaluation in float32, too."""
    theirs = torchvision_resnet(depth, seed)
    x = np.random.default_rng(seed).normal(size=(4, side, side, 3))

    def compare(dtype: Any, train: bool, tolerance: float) -> None:
        net = RESNETS[depth](width=64, num_classes=6, inputs="source", remat="none", dtype=dtype)
        weights = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
        variables = pretrained.convert(weights, net, channels=3)
        apply = jax.jit(partial(net.apply, train=train, mutable=["batch_stats"]))
        outputs, new = apply(variables, jnp.asarray(x, dtype))
        expected = torchvision_outputs(theirs.train(train), nchw(x).to(theirs.fc.weight.dtype))
        for one, other in zip(outputs, expected, strict=True):
            assert relative_error(one, other) < tolerance
        statistics = tree(theirs.state_dict(), net)["batch_stats"]
        assert_trees_close(new["batch_stats"], statistics, tolerance)

    compare(jnp.float64, False, 1e-9)
    compare(jnp.float64, True, 1e-9)
    theirs.to(torch.float32)
    compare(jnp.float32, False, 1e-5)
