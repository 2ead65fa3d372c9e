"""Our parts against PyTorch's own, from the same weights, in float64."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torchvision

from ifgan_jax import losses
from ifgan_jax.models.attention import attend
from ifgan_jax.models.classifier import RESNETS
from ifgan_jax.models.discriminator import PatchGAN
from ifgan_jax.models.layers import UpConv
from ifgan_jax.optimizers import adam_l2, steps_schedule
from tests.tiny import relative_error

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("x64")]
Array = np.ndarray


def kernel(weight: torch.Tensor) -> jax.Array:
    """(out, in, h, w) → (h, w, in, out)."""
    return jnp.asarray(weight.detach().numpy().transpose(2, 3, 1, 0))


def vector(weight: torch.Tensor) -> jax.Array:
    return jnp.asarray(weight.detach().numpy())


def images(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def nchw(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def resnet_variables(model: torchvision.models.ResNet, bottleneck: bool) -> dict:
    """A torchvision ResNet's weights under our names."""
    params, stats = {}, {}

    def norm(name: str, module: torch.nn.BatchNorm2d, p: dict, s: dict) -> None:
        p[name] = {"scale": vector(module.weight), "bias": vector(module.bias)}
        s[name] = {"mean": vector(module.running_mean), "var": vector(module.running_var)}

    params["stem"] = {"kernel": kernel(model.conv1.weight)}
    norm("stem_norm", model.bn1, params, stats)
    for stage in range(4):
        for index, block in enumerate(getattr(model, f"layer{stage + 1}")):
            p, s = {}, {}
            for i in range(3 if bottleneck else 2):
                p[f"Conv_{i}"] = {"kernel": kernel(getattr(block, f"conv{i + 1}").weight)}
                norm(f"BatchNorm_{i}", getattr(block, f"bn{i + 1}"), p, s)
            if block.downsample is not None:
                p["shortcut"] = {"kernel": kernel(block.downsample[0].weight)}
                norm("shortcut_norm", block.downsample[1], p, s)
            name = f"stage_{stage}_block_{index}"
            params[name], stats[name] = p, s
    params["head"] = {"kernel": vector(model.fc.weight).T, "bias": vector(model.fc.bias)}
    return {"params": params, "batch_stats": stats}


@pytest.mark.parametrize(("depth", "side"), [(18, 64), (18, 75), (50, 64)])
@pytest.mark.parametrize("train", [False, True])
def test_resnet(depth: int, side: int, train: bool):
    torch.manual_seed(depth)
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=6).double()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.weight, 1.0, 0.1)
    variables = resnet_variables(theirs, bottleneck=depth >= 50)
    ours = RESNETS[depth](width=64, num_classes=6, inputs="source", dtype=jnp.float64)
    x = images(4, side, side, 3)
    with torch.no_grad():
        expected = theirs.train(train)(nchw(x)).numpy()
    (logits, _), _ = ours.apply(variables, jnp.asarray(x), train=train, mutable=["batch_stats"])
    assert relative_error(logits, expected) < 1e-9


def test_patchgan():
    """pix2pix's NLayerDiscriminator(input_nc=2, n_layers=3), layer by layer."""
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for i, (before, after, stride) in enumerate(
        [(2, 8, 2), (8, 16, 2), (16, 32, 2), (32, 64, 1), (64, 1, 1)]
    ):
        layers.append(torch.nn.Conv2d(before, after, 4, stride, 1, bias=i in (0, 4)))
        if 0 < i < 4:
            layers.append(torch.nn.BatchNorm2d(after))
        if i < 4:
            layers.append(torch.nn.LeakyReLU(0.2))
    theirs = torch.nn.Sequential(*layers).double()
    convolutions = [m for m in theirs if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in theirs if isinstance(m, torch.nn.BatchNorm2d)]
    params = {f"Conv_{i}": {"kernel": kernel(m.weight)} for i, m in enumerate(convolutions)}
    for i in (0, 4):
        params[f"Conv_{i}"]["bias"] = vector(convolutions[i].bias)
    stats = {}
    for i, m in enumerate(norms):
        params[f"BatchNorm_{i}"] = {"scale": vector(m.weight), "bias": vector(m.bias)}
        stats[f"BatchNorm_{i}"] = {"mean": vector(m.running_mean), "var": vector(m.running_var)}
    source, face = images(3, 64, 64, 1), images(3, 64, 64, 1, seed=1)
    with torch.no_grad():
        expected = theirs(nchw(np.concatenate([source, face], -1))).numpy().transpose(0, 2, 3, 1)
    logits, new = PatchGAN(8, jnp.float64).apply(
        {"params": params, "batch_stats": stats},
        jnp.asarray(source),
        jnp.asarray(face),
        train=True,
        mutable=["batch_stats"],
    )
    assert logits.shape == expected.shape
    assert relative_error(logits, expected) < 1e-9
    for i, m in enumerate(norms):  # momentum; the variance of torch is unbiased, ours biased
        ours = new["batch_stats"][f"BatchNorm_{i}"]
        assert relative_error(ours["mean"], m.running_mean.numpy()) < 1e-9


def test_up_conv():
    weight = torch.randn(
        4, 6, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    x = images(2, 5, 7, 6)
    large = torch.nn.functional.interpolate(nchw(x), scale_factor=2, mode="nearest")
    expected = torch.nn.functional.conv2d(large, weight, padding=1).numpy().transpose(0, 2, 3, 1)
    module = UpConv(4, jnp.float64, jax.nn.initializers.normal())
    ours = module.apply({"params": {"kernel": kernel(weight)}}, jnp.asarray(x))
    assert relative_error(ours, expected) < 1e-12


def test_attention():
    q, k, v = (images(2, 20, width, seed=width) for width in (4, 5, 16))
    k = k[..., :4]
    expected = torch.softmax(torch.from_numpy(q) @ torch.from_numpy(k).mT, -1) @ torch.from_numpy(v)
    ours = attend(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), 2 * 20 * 3)
    assert relative_error(ours, expected.numpy()) < 1e-12


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
