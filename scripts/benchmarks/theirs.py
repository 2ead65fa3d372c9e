"""PyTorch's side of the comparisons: the twin of tests/parity, written as a user would run it.

PyTorch is imported within the functions: it never meets TensorFlow in one process.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ifgan_jax.data.processes import usable_cores
from ifgan_jax.models.classifier import RESNETS, BasicBlock
from ifgan_jax.objective import Objective
from scripts.benchmarks import device, ours, system
from scripts.benchmarks.timing import Timed


class Variant(NamedTuple):
    """compiled: by torch.compile. sequential: pix2pix's loop, D, then E, then G against both."""

    compiled: bool
    sequential: bool


VARIANTS = {
    "PyTorch eager": Variant(compiled=False, sequential=False),
    "PyTorch eager, sequential": Variant(compiled=False, sequential=True),
    "torch.compile": Variant(compiled=True, sequential=False),
    "torch.compile, sequential": Variant(compiled=True, sequential=True),
}
# What the twin has no other form of.
FIXED = {
    "method": "ifgan",
    "data.channels": 1,
    "generator.attention": True,
    "classifier.inputs": "pair",
    "loss.island_reduction": "mean_images_and_features",
    "loss.classifier_to_generator": True,
}


def check(config: ConfigDict) -> None:
    """ImportError without PyTorch, ValueError naming the key for what the twin does not do."""
    import importlib.util

    if not all(importlib.util.find_spec(name) for name in ("torch", "torchvision")):
        raise ImportError("--against=torch needs PyTorch: make install EXTRAS=parity")
    for key, value in FIXED.items():
        given = functools.reduce(lambda node, part: node[part], key.split("."), config)
        if given != value:
            raise ValueError(f"--against=torch: {key} {given!r}, but PyTorch's twin has {value!r}")


def train_step(config: ConfigDict, variant: Variant) -> Timed:
    """The twin's step on the same random faces, channels_last, with the fused Adam."""
    import torch

    where = prepare(torch)
    twin = _twin(config, torch, where)
    if variant.compiled:
        if not variant.sequential:  # its graph is pulled back more than once
            import torch._functorch.config as functorch

            functorch.donated_buffer = False
        for network in twin.networks.values():
            network.compile()
    faces = ours.random_faces(config, config.data.crop)
    label = torch.from_numpy(faces.label).long().to(where)
    source = nchw(faces.image / 127.5 - 1, torch, where)
    target = nchw(ours.random_targets(config)[faces.label], torch, where)
    step = twin.sequential_step if variant.sequential else twin.step

    def run() -> None:
        with _arithmetic(config, torch, where):
            step(source, target, label)

    return _timed(run, config, torch, where)


def inference(config: ConfigDict, batch_size: int, variant: Variant) -> Timed:
    """G and E of the twin in evaluation mode: a face → the generated one and probabilities."""
    import torch

    where = prepare(torch)
    with config.unlocked():
        config.batch_size = batch_size
    generate, _, classify = _twin(config, torch, where).networks.values()

    def predict(source: Any) -> Any:
        fake = generate(source)
        return fake, torch.softmax(classify(torch.cat([source, fake], 1))[0], -1)

    generate.eval()
    classify.eval()
    function: Callable = torch.compile(predict) if variant.compiled else predict
    source = nchw(ours.random_faces(config, config.data.crop).image / 127.5 - 1, torch, where)

    def run() -> None:
        with torch.inference_mode(), _arithmetic(config, torch, where):
            function(source)

    return _timed(run, config, torch, where)


def prepare(torch: Any) -> str:
    """The device, with as many threads as JAX has, and TensorFloat-32 where JAX uses it."""
    torch.manual_seed(0)
    torch.set_num_threads(usable_cores())
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return "cuda" if torch.cuda.is_available() else "cpu"


def _twin(config: ConfigDict, torch: Any, where: str) -> Any:
    from torchvision.models import resnet

    from tests.parity import twin

    if config.generator.output_noise:
        raise ValueError("the PyTorch twin has no noise: set generator.output_noise to 0")
    shape = RESNETS[config.classifier.depth].keywords
    basic = shape["block"] is BasicBlock
    generator, classifier = config.generator, config.classifier
    networks = {
        "generator": twin.UNet(
            generator.widths, generator.convs_per_stage, generator.attention_reduction
        ),
        "discriminator": twin.PatchGAN(config.discriminator.width),
        "classifier": twin.ResNet(
            resnet.BasicBlock if basic else resnet.Bottleneck,
            shape["stage_sizes"],
            classifier.width,
            config.data.num_classes,
            channels=2,
        ),
    }
    for network in networks.values():
        network.to(where, memory_format=torch.channels_last)
    features = networks["classifier"].fc.in_features
    centres = torch.randn(config.data.num_classes, features, device=where)
    rates = [config.optimizers[name].learning_rate for name in networks]
    return twin.Twin(networks, centres, Objective(**config.loss), rates, fused=True)


def nchw(images: Any, torch: Any, where: str) -> Any:
    """PyTorch's axes over the same memory, which is what it calls channels_last."""
    tensor = torch.from_numpy(images.astype("float32")).permute(0, 3, 1, 2)
    return tensor.to(where).contiguous(memory_format=torch.channels_last)


def _arithmetic(config: ConfigDict, torch: Any, where: str) -> Any:
    if config.dtype == "bfloat16":
        return torch.autocast(where, torch.bfloat16)
    return contextlib.nullcontext()


def _timed(run: Callable[[], None], config: ConfigDict, torch: Any, where: str) -> Timed:
    def limits(seconds: float) -> dict[str, Any]:
        peak = torch.cuda.max_memory_allocated() if where == "cuda" else system.peak_memory()
        return {
            "peak_memory_bytes": peak,
            "ceilings": ceilings(config.dtype, torch, where, seconds),
        }

    facts = {
        "versions": {"torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "images": config.batch_size,
    }
    return Timed(blocked(run, torch, where), facts, limits)


def blocked(run: Callable[[], object], torch: Any, where: str) -> Callable[[], object]:
    """`run`, over when the device is done."""

    def until_done() -> object:
        result = run()
        if where == "cuda":
            torch.cuda.synchronize()
        return result

    return until_done


def ceilings(dtype: str, torch: Any, where: str, seconds: float) -> dict[str, float]:
    """PyTorch's own large product and copy on the device, as `device.ceilings`."""
    side, length = device.ceiling_sizes(where)
    matrix = torch.randn(side, side, device=where).to(getattr(torch, dtype))
    vector, copy = torch.ones(length, device=where), torch.empty(length, device=where)
    product = device.best(blocked(lambda: matrix @ matrix, torch, where), seconds)
    add = device.best(blocked(lambda: torch.add(vector, 1, out=copy), torch, where), seconds)
    return device.rates(where, product, add)
