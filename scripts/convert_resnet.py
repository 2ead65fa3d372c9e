"""Turn ImageNet weights of torchvision or timm into what `classifier.pretrained` reads.

    python scripts/convert_resnet.py --weights=resnet101-cd907fc2.pth \
        --output=weights/resnet101_imagenet

Needs the extra `convert`. `--weights` is a file you have fetched: torchvision's .pth, or a
.safetensors with torchvision's or timm's names. One folder serves the pair, the generated and the
source face, gray or RGB: the first convolution is fitted when a run starts. The 1,000-class head is
left out.
"""

import hashlib
import re
from pathlib import Path

import jax.numpy as jnp
from absl import flags

from ifgan_jax.checkpoint import save_tree
from ifgan_jax.models import pretrained
from ifgan_jax.models.classifier import RESNETS
from scripts import command_line
from scripts.read_weights import read_weights

WEIGHTS = flags.DEFINE_string("weights", None, "File of weights: .pth or .safetensors.")
OUTPUT = flags.DEFINE_string("output", None, "Folder to write; must not exist.")
DEPTH = flags.DEFINE_enum("depth", "101", [str(depth) for depth in RESNETS], "Which ResNet it is.")


def convert_file(weights: Path, output: Path, depth: int) -> str:
    """Write `output` from the file `weights`; its SHA-256. See `pretrained.convert` for errors."""
    if output.exists():
        raise FileExistsError(f"--output: {output} exists; remove it or choose another folder")
    with weights.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    named = re.search(r"-([0-9a-f]{8})\.pth$", weights.name)
    if named and not digest.startswith(named[1]):
        raise ValueError(
            f"{weights}: SHA-256 {digest} does not begin with {named[1]}, as torchvision's file of "
            "this name does; fetch it again"
        )
    arrays = read_weights(weights)
    num_classes = len(arrays["fc.bias"]) if "fc.bias" in arrays else 1000
    resnet = RESNETS[depth](
        width=64,
        num_classes=num_classes,
        inputs="source",
        remat="none",
        dtype=jnp.dtype("float32"),
    )
    try:
        variables = pretrained.convert(arrays, resnet, channels=3)
    except ValueError as error:
        raise ValueError(f"{weights} as ResNet-{depth}: {error}") from error
    variables["params"].pop("head")
    save_tree(output, pretrained.fold_normalisation(variables))
    return digest


def main() -> None:
    weights, output = Path(WEIGHTS.value), Path(OUTPUT.value)
    digest = convert_file(weights, output, int(DEPTH.value))
    print(f"{weights}: SHA-256 {digest}\n{output}: --config.classifier.pretrained={output}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["weights", "output"])
    command_line.run(main)
