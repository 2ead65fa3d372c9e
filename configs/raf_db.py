"""The paper's IF-GAN on RAF-DB (Table 2): seven classes, the owner's parts, posed averages."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "raf_db"
    config.data.num_classes = 7
    config.data.additional = ("bu3dfe", "ck_plus", "mmi")
    config.data.averages_from = ("bu3dfe", "ck_plus", "mmi")  # "in the three posed datasets"
    return config
