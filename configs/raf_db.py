"""The paper's IF-GAN on RAF-DB (Table 2): seven classes, the owner's parts, posed averages."""

from ml_collections import ConfigDict

from configs import default, overlays


def get_config() -> ConfigDict:
    return overlays.with_data(default.get_config(), "raf_db")
