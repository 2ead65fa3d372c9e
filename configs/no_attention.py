"""IF-GAN without its three self-attention modules (Tables 1 and 2)."""

from ml_collections import ConfigDict

from configs import default, overlays


def get_config() -> ConfigDict:
    return overlays.with_method(default.get_config(), "no_attention")
