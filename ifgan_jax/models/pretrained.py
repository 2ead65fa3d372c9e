"""ImageNet weights: a ResNet of torchvision or timm under our names, its stem made to fit faces.

Arrays in, arrays out; scripts/convert_resnet.py reads and writes the files.
"""

from collections.abc import Mapping

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ifgan_jax.arrays import Params
from ifgan_jax.models.classifier import BottleneckBlock, ResNet

# What torchvision's and timm's weights expect of RGB in [0, 1]: less the mean, over the deviation.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225])

Paths = dict[str, tuple[str, ...]]


def torchvision_names(classifier: ResNet) -> Paths:
    """torchvision's name, which is timm's too, of each array → its path in our variables."""
    paths: Paths = {}

    def convolution(theirs: str, *ours: str) -> None:
        paths[f"{theirs}.weight"] = ("params", *ours, "kernel")

    def norm(theirs: str, *ours: str) -> None:
        paths[f"{theirs}.weight"] = ("params", *ours, "scale")
        paths[f"{theirs}.bias"] = ("params", *ours, "bias")
        paths[f"{theirs}.running_mean"] = ("batch_stats", *ours, "mean")
        paths[f"{theirs}.running_var"] = ("batch_stats", *ours, "var")

    convolution("conv1", "stem")
    norm("bn1", "stem_norm")
    bottleneck = classifier.block is BottleneckBlock
    for stage, size in enumerate(classifier.stage_sizes):
        for index in range(size):
            theirs, ours = f"layer{stage + 1}.{index}", f"stage_{stage}_block_{index}"
            for i in range(3 if bottleneck else 2):
                convolution(f"{theirs}.conv{i + 1}", ours, f"Conv_{i}")
                norm(f"{theirs}.bn{i + 1}", ours, f"BatchNorm_{i}")
            if index == 0 and (stage > 0 or bottleneck):
                convolution(f"{theirs}.downsample.0", ours, "shortcut")
                norm(f"{theirs}.downsample.1", ours, "shortcut_norm")
    paths["fc.weight"] = ("params", "head", "kernel")
    paths["fc.bias"] = ("params", "head", "bias")
    return paths


def our_layout(array: np.ndarray) -> np.ndarray:
    """PyTorch's (out, in, h, w) → (h, w, in, out), (out, in) → (in, out); vectors stay."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def convert(weights: Mapping[str, np.ndarray], classifier: ResNet, channels: int) -> Params:
    """{"params", "batch_stats"} of `classifier` on `channels` channels, from a PyTorch state dict.

    Raises ValueError naming the first array that is missing, unknown, of another shape or not
    finite. `num_batches_tracked` is no weight and may be there or not.
    """
    image = jnp.zeros((1, 32, 32, channels), classifier.head_dtype)
    shapes = flax.traverse_util.flatten_dict(
        jax.eval_shape(lambda: classifier.init(jax.random.key(0), image, train=False))
    )
    paths = torchvision_names(classifier)
    for name in (*paths, *weights):
        if name not in weights:
            raise ValueError(f"{name!r} is missing: these are not the weights of such a ResNet")
        if name not in paths and not name.endswith(".num_batches_tracked"):
            raise ValueError(f"{name!r} has no place in such a ResNet")
    converted = {}
    for name, path in paths.items():
        array, expected = our_layout(weights[name]), shapes[path]
        if array.shape != expected.shape:
            raise ValueError(
                f"{name!r} has shape {weights[name].shape}, in our layout {array.shape}, "
                f"instead of {expected.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name!r} holds numbers that are not finite")
        converted[path] = array.astype(expected.dtype)
    return flax.traverse_util.unflatten_dict(converted)


def fold_normalisation(variables: Params) -> Params:
    """The same RGB ResNet for images in [-1, 1] instead of ImageNet's normalised ones.

    (u - mean) / deviation of u = (x + 1) / 2 is x / (2 deviation) plus a constant. The factor goes
    into the stem's kernel, what the kernel makes of the constant into its BatchNorm's running mean
    (the stem has no bias). Equal activations, but where the kernel sees the border: padding is
    ImageNet's mean colour there and mid-gray here.
    """
    params, stats = variables["params"], variables["batch_stats"]
    kernel = params["stem"]["kernel"].astype(np.float64)  # (7, 7, 3, f)
    constant = (0.5 - IMAGENET_MEAN) / IMAGENET_DEVIATION
    mean = stats["stem_norm"]["mean"] - np.einsum("hwcf,c->f", kernel, constant)
    kernel /= 2 * IMAGENET_DEVIATION[:, None]
    dtype = params["stem"]["kernel"].dtype
    return {
        "params": params | {"stem": {"kernel": kernel.astype(dtype)}},
        "batch_stats": stats | {"stem_norm": stats["stem_norm"] | {"mean": mean.astype(dtype)}},
    }


def fit_stem(
    kernel: Float[Array, "h w 3 f"], faces: int, channels: int
) -> Float[Array, "h w {faces*channels} f"]:
    """An RGB stem for `faces` faces side by side, gray (1 channel) or RGB (3).

    Gray: the three colours' kernels summed. A pair: copied and halved, so that a face and itself
    give what the face gave alone.
    """
    if channels == 1:
        kernel = kernel.sum(axis=2, keepdims=True)
    return jnp.tile(kernel, (1, 1, faces, 1)) / faces
