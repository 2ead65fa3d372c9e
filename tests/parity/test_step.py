"""Our train steps against the PyTorch twin: terms, gradients, and the state they leave behind."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torchvision.models import resnet

from ifgan_jax.arrays import Batch, Metrics
from ifgan_jax.models.classifier import BasicBlock, BottleneckBlock, ResNet
from ifgan_jax.models.discriminator import PatchGAN
from ifgan_jax.models.generator import AttentionUNet
from ifgan_jax.state import GanState, Networks, Optimizers, Player
from ifgan_jax.step import Gradients, gan_gradients, train_step
from tests import tiny
from tests.parity import twin
from tests.parity.trees import biased_variances, nchw, randomize, tree

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("x64")]

WIDTHS = (4, 6, 16, 10, 12)
STAGES = (2, 1, 1, 1)
RATES = (1e-3, 2e-3, 3e-3)
BLOCKS = {
    "basic": (BasicBlock, resnet.BasicBlock),
    "bottleneck": (BottleneckBlock, resnet.Bottleneck),
}


def make_networks(block: str, dtype: Any) -> Networks:
    """The real architecture: five stages, three attentions, four stages of residual blocks."""
    return Networks(
        AttentionUNet(
            widths=WIDTHS,
            channels=1,
            convs_per_stage=2,
            attention=True,
            attention_reduction=8,
            attention_block=64 * 16,  # several groups of rows
            output_noise=0.0,
            remat="attention",
            dtype=dtype,
        ),
        PatchGAN(4, dtype),
        ResNet(STAGES, BLOCKS[block][0], 4, tiny.CLASSES, "pair", "attention", dtype),
    )


def make_twin(block: str, dtype: torch.dtype) -> twin.Twin:
    torch.manual_seed(0)
    networks = {
        "generator": twin.UNet(WIDTHS, convs=2, reduction=8),
        "discriminator": twin.PatchGAN(4),
        "classifier": twin.ResNet(BLOCKS[block][1], STAGES, 4, tiny.CLASSES, channels=2),
    }
    for seed, network in enumerate(networks.values()):
        randomize(network.to(dtype), seed)
    features = networks["classifier"].fc.in_features
    centres = torch.randn(tiny.CLASSES, features, dtype=dtype)
    return twin.Twin(networks, centres, tiny.objective(), RATES)


def trees(theirs: twin.Twin, nets: Networks) -> dict[str, Any]:
    """The twin's parameters, statistics and centres, as ours."""
    players = {
        name: tree(network.state_dict(), nets.classifier if name == "classifier" else None)
        for name, network in theirs.networks.items()
    }
    return {**players, "centres": jnp.asarray(theirs.centres.numpy().copy())}


def our_state(theirs: twin.Twin, nets: Networks) -> GanState:
    state = trees(theirs, nets)
    players = {
        name: Player(
            state[name]["params"], state[name]["batch_stats"], optimizer.init(state[name]["params"])
        )
        for name, optimizer in tiny.optimizers()._asdict().items()
    }
    return GanState(step=jnp.zeros((), jnp.int32), centres=state["centres"], **players)


def our_trees(state: GanState) -> dict[str, Any]:
    players = {
        name: {"params": player.params, "batch_stats": player.batch_stats}
        for name in Optimizers._fields
        if (player := getattr(state, name))
    }
    return {**players, "centres": state.centres}


def batches(number: int, dtype: Any) -> list[Batch]:
    """Already augmented: faces in [-1, 1]. One class is there twice, three are not."""
    shape, label = (4, tiny.CROP, tiny.CROP, 1), jnp.array([0, 1, 1, 5], jnp.int32)
    generators = map(np.random.default_rng, range(number))
    return [Batch(jnp.asarray(rng.uniform(-1, 1, shape), dtype), label) for rng in generators]


def torch_faces(batch: Batch, targets: jax.Array) -> tuple[torch.Tensor, ...]:
    label = torch.from_numpy(np.array(batch.label)).long()
    return nchw(batch.image), nchw(targets)[label], label


@pytest.mark.parametrize("block", BLOCKS)
def test_five_steps(block: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ifgan_jax.step.augment", lambda key, images, options: images)
    nets = make_networks(block, jnp.float64)
    theirs, targets = make_twin(block, torch.float64), tiny.targets(np.float64)
    state = our_state(theirs, nets)
    options = {"networks": nets, "objective": tiny.objective()}

    @jax.jit
    def step(state: GanState, batch: Batch) -> tuple[Gradients, GanState, Metrics]:
        gradients = gan_gradients(state, batch.image, targets[batch.label], batch.label, **options)
        rest = {"optimizers": tiny.optimizers(), "augmentation": tiny.AUGMENTATION}
        key = jax.random.key(0)
        return gradients, *train_step(state, batch, targets, key, **options, **rest)

    for number, batch in enumerate(batches(5, jnp.float64), start=1):
        with biased_variances(*theirs.networks.values()):
            terms, expected = theirs.step(*torch_faces(batch, targets))
        found, state, metrics = step(state, batch)
        if number not in (1, 5):
            continue
        for name, term in terms.items():
            assert tiny.relative_error(metrics[name], term) < 1e-9, f"step {number}, {name}"
        for name in Optimizers._fields:
            named_by = nets.classifier if name == "classifier" else None
            wanted = tree(expected[name], named_by)["params"]
            tiny.assert_trees_close(getattr(found, name), wanted, 1e-9)
        tiny.assert_trees_close(our_trees(state), trees(theirs, nets), 1e-9)


def test_first_terms_in_float32():
    """Only the terms: PyTorch's own float32 gradients differ from its float64 ones by percents."""
    nets = make_networks("bottleneck", jnp.float32)
    theirs, targets = make_twin("bottleneck", torch.float32), tiny.targets()
    batch, state = batches(1, jnp.float32)[0], our_state(theirs, nets)
    gradients = jax.jit(partial(gan_gradients, networks=nets, objective=tiny.objective()))
    found = gradients(state, batch.image, targets[batch.label], batch.label)
    terms, _ = theirs.step(*torch_faces(batch, targets))
    for name, term in terms.items():
        assert tiny.relative_error(found.metrics[name], term) < 1e-5, name


def test_the_sequential_loop_moves_d_and_e_as_the_step_does():
    """It differs in G alone, which sees D and E after their updates."""
    batch, targets = batches(1, jnp.float64)[0], tiny.targets(np.float64)
    both = make_twin("basic", torch.float64), make_twin("basic", torch.float64)
    both[0].step(*torch_faces(batch, targets))
    both[1].sequential_step(*torch_faces(batch, targets))
    together, in_turn = (
        {name: dict(network.named_parameters()) for name, network in one.networks.items()}
        for one in both
    )
    for name in ("discriminator", "classifier"):
        tiny.assert_trees_close(tree(in_turn[name]), tree(together[name]), 1e-12)
    assert tiny.relative_error(both[1].centres, both[0].centres) < 1e-12
    moved = tree(in_turn["generator"])["params"]["output"]["kernel"]
    assert (
        tiny.relative_error(moved, tree(together["generator"])["params"]["output"]["kernel"]) > 1e-6
    )
