"""The paper's IF-GAN on CK+ (Table 1)."""

from ml_collections import ConfigDict

from configs import default, overlays


def get_config() -> ConfigDict:
    return overlays.with_data(default.get_config(), "ck_plus")
