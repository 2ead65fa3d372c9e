"""The paper's IF-GAN on MMI (Table 1)."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "mmi"
    config.data.additional = ("bu3dfe", "ck_plus", "raf_db")
    return config
