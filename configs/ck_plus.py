"""The paper's IF-GAN on CK+ (Table 1)."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "ck_plus"
    config.data.additional = ("bu3dfe", "mmi", "raf_db")
    return config
