"""PyTorch's arrays as ours: layouts, trees of the twin's modules, and BatchNorm's two variances."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import flax
import jax.numpy as jnp
import numpy as np
import torch

from ifgan_jax.models.classifier import ResNet
from ifgan_jax.models.pretrained import our_layout, torchvision_names

Tree = dict[str, Any]


def nchw(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(np.asarray(x).transpose(0, 3, 1, 2)))


def ours(tensor: torch.Tensor) -> np.ndarray:
    return our_layout(tensor.detach().numpy().copy())


LEAVES = {"running_mean": ("batch_stats", "mean"), "running_var": ("batch_stats", "var")}


def path_of(name: str, tensor: torch.Tensor) -> tuple[str, ...]:
    """A G's or D's array, whose modules carry our names."""
    *modules, leaf = name.split(".")
    kernel = "kernel" if tensor.ndim == 4 else "scale"
    collection, ours = LEAVES.get(leaf, ("params", {"weight": kernel}.get(leaf, leaf)))
    return (collection, *modules, ours)


def tree(arrays: Mapping[str, torch.Tensor], classifier: ResNet | None = None) -> Tree:
    """{"params", "batch_stats"} of a state dict, or {"params"} of gradients by name.

    `classifier`: whose names to use for E; G and D need none.
    """
    counted = {k: v for k, v in arrays.items() if not k.endswith("num_batches_tracked")}
    names = torchvision_names(classifier) if classifier is not None else {}
    paths = {name: names[name] if names else path_of(name, x) for name, x in counted.items()}
    flat = {paths[name]: jnp.asarray(ours(x)) for name, x in counted.items()}
    return flax.traverse_util.unflatten_dict(flat)


def norms(module: torch.nn.Module) -> dict[str, torch.nn.BatchNorm2d]:
    return {k: m for k, m in module.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}


def randomize(module: torch.nn.Module, seed: int) -> None:
    """Nothing at 0 or 1 where a slip would not show: statistics, scales, biases and γ."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for norm in norms(module).values():
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 2.0)
        for name, parameter in module.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.5)
            elif parameter.ndim == 1:
                centre = 0.0 if name.endswith("bias") else 1.0
                parameter.normal_(centre, 0.1)


@contextmanager
def biased_variances(*modules: torch.nn.Module) -> Iterator[None]:
    """Afterwards running variances are what Flax would keep, layer by layer.

    PyTorch adds a tenth of a batch's variance times n/(n-1), Flax a tenth of the variance itself; n
    is the number of positions that a channel is averaged over.
    """

    def count(norm: torch.nn.BatchNorm2d, inputs: tuple[torch.Tensor], output: Any) -> None:
        if norm.training:
            passes[norm] += 1
            positions[norm] = inputs[0].numel() // inputs[0].shape[1]

    layers = [norm for module in modules for norm in norms(module).values()]
    passes, positions = dict.fromkeys(layers, 0), dict.fromkeys(layers, 2)
    before = {norm: norm.running_var.clone() for norm in layers}
    handles = [norm.register_forward_hook(count) for norm in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for norm, n in positions.items():
        kept = 0.9 ** passes[norm] * before[norm]
        norm.running_var.copy_(kept + (norm.running_var - kept) * (n - 1) / n)
