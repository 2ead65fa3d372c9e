"""The paper's baseline: ResNet-101 with island loss on the source face (Sec. 4.3)."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.method = "baseline"
    config.classifier.inputs = "source"
    return config
