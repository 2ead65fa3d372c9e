"""The sizes that are measured, as configs: faces made up, weights random, all else of the paper.

    --config=scripts/benchmarks/sizes.py:224 --config.dtype=bfloat16

is --size=224 with a change.
"""

from ml_collections import ConfigDict

from configs import default, demo

# input side in pixels: (stored side, batch, depth of the ResNet); widths are the paper's
PAPER_WIDTHS = {"96": (110, 16, 18), "224": (256, 4, 101)}
NAMES = ("demo", *PAPER_WIDTHS, "paper")


def get_config(size: str) -> ConfigDict:
    """Raises ValueError for a name that is not in NAMES."""
    if size not in NAMES:
        raise ValueError(f"size {size!r} is unknown: choose from {', '.join(NAMES)}")
    if size == "demo":
        config = demo.get_config().unlock()
        config.data.name = "fake_faces/72_200"
        config.generator.output_noise = 0.0  # the paper's step, which the twins compute
        return config.lock()
    config = default.get_config().unlock()
    config.classifier.pretrained = ""
    if size == "paper":  # its run on one accelerator: 224 px, batch 50, its data sets
        config.dtype = "bfloat16"
        return config.lock()
    stored, config.batch_size, config.classifier.depth = PAPER_WIDTHS[size]
    config.evaluation.batch_size = config.batch_size
    config.data.name = f"fake_faces/{stored}_200"
    config.data.additional = ()
    config.data.image_size = stored
    config.data.crop = int(size)
    return config.lock()
