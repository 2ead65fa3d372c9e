"""IF-GAN on the faces that the package renders, small enough for two CPU cores.

    make demo        (or: python scripts/train.py --config=configs/demo.py --workdir=runs/demo)

Every part is there: three pooling stages as 64 px allow, three attention modules, the PatchGAN,
residual blocks (2, 2, 2, 2); only the widths are smaller than the paper's.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.epochs = 24
    config.batch_size = 32
    config.data.name = "synthetic_faces/72_200"
    config.data.image_size = 72
    config.data.crop = 64
    config.generator.widths = (8, 16, 32, 64)
    config.discriminator.width = 16
    config.classifier.depth = 18
    config.classifier.width = 16
    config.classifier.pretrained = ""
    for player in config.optimizers.values():
        player.learning_rate = 1e-3
    config.evaluation.batch_size = 48
    return config


def get_baseline_config() -> ConfigDict:
    """E alone on the source face, with the same budget of images."""
    config = get_config()
    config.method = "baseline"
    config.classifier.inputs = "source"
    return config
