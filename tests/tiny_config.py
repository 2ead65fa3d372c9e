"""The demo's method on patterns in place of faces: a run of seconds, for the tests."""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    config = demo.get_config()
    config.epochs = 3
    config.batch_size = 16
    config.data.name = "fake_faces/36_20"
    config.data.image_size = 36
    config.data.crop = 32
    config.generator.widths = (8, 8, 8, 8)
    config.generator.convs_per_stage = 1
    config.discriminator.width = 4
    config.classifier.depth, config.classifier.width = 10, 4
    config.evaluation.batch_size = 8
    return config
