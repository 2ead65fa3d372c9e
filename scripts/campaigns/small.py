"""Runs of seconds for the campaigns: G, D and E on patterns, or E alone on rendered faces.

--config=scripts/campaigns/small.py:patterns
"""

from ml_collections import ConfigDict

from configs import demo

NAMES = ("patterns", "rendered")


def get_config(name: str) -> ConfigDict:
    """6 epochs of 3 steps, each epoch with a validation and a checkpoint; `rendered`: 2 epochs.

    Raises ValueError for a name that is not in NAMES.
    """
    if name not in NAMES:
        raise ValueError(f"config {name!r} is unknown: choose from {', '.join(NAMES)}")
    config = demo.get_config().unlock()
    config.epochs = 6
    config.batch_size = 32
    config.data.name = "fake_faces/36_20"
    config.data.image_size = 36
    config.data.crop = 32
    config.generator.widths, config.generator.convs_per_stage = (8, 8, 8, 8), 1
    config.discriminator.width = 4
    config.classifier.depth, config.classifier.width = 10, 4
    config.evaluation.batch_size = 8
    if name == "rendered":
        config.epochs = 2
        config.data.name = "synthetic_faces/72_10"
        config.data.image_size = 72
        config.data.crop = 64
        config.method = "baseline"
        config.classifier.inputs = "source"
    return config.lock()
