"""IF-GAN without its three self-attention modules (Tables 1 and 2)."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.generator.attention = False
    return config
