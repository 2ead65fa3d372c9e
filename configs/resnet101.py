"""The paper's baseline: ResNet-101 with island loss on the source face (Sec. 4.3)."""

from ml_collections import ConfigDict

from configs import default, overlays


def get_config() -> ConfigDict:
    return overlays.with_method(default.get_config(), "resnet101")
