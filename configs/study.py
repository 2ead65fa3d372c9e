"""The study on rendered faces: what is compared, on whom, and how often.

    python scripts/study.py --config=configs/study.py:final --output=docs/study/final

Everything is tried in `development`, on the people of renderer seeds below 100. `final` is run
once, on people of seeds from 100 on, whom nobody had rendered before.

A run of seed s trains and validates on people of renderer seed `train_people` + s and is tested on
those of `test_people` + s; what it tells of a person is probed on those of `probe_people` + s. All
methods of a setting see equally many images, in equal batches.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs import demo, overlays

# What is run of the demo's config, without its noise; `overlays.METHODS` are rows of the paper's.
METHODS: dict[str, Mapping[str, Any]] = {
    **overlays.METHODS,
    "generated": {"classifier.inputs": "generated"},
    "alone": {"loss.classifier_to_generator": False},
    "island_mean_images": {"loss.island_reduction": "mean_images"},
    "softmax_weight10": {"loss.softmax_weight": 10.0},
    "l1_weight100": {"loss.l1_weight": 100.0},
}
# Grey levels of 255: the standard deviation of the noise on faces.
METHODS |= {
    f"{name}_noise{level}": {**METHODS[name], "generator.output_noise": level / 127.5}
    for name, level in itertools.product(("ifgan", "no_attention"), (2, 4, 8))
}
# Each is tuned alike: E's learning rate of the demo, 1e-3, times these.
METHODS |= {
    f"{name}_rate{rate:g}": {**changes, "optimizers.classifier.learning_rate": 1e-3 * rate}
    for (name, changes), rate in itertools.product(METHODS.items(), (0.3, 3, 5, 10))
}
# Trained and validated on 180 people in mild pose and light, or on 50 in strong ones. `epochs` make
# 960 steps of 32 images in both, and the rates fall as often.
SETTINGS: dict[str, dict[str, Any]] = {
    "easy": {
        "people": "72_200", "tested": "72_200", "probed": "72_300",
        "folds": 10, "epochs": 16, "decay_every": 2,
    },
    "hard": {
        "people": "72_60_hard", "tested": "72_200_hard", "probed": "72_300_hard",
        "folds": 6, "epochs": 64, "decay_every": 8,
    },
}  # fmt: skip
GALLERY = 100  # people of a probe among whom one is looked for
PARTS: dict[str, dict[str, Any]] = {
    "development": {
        "train_people": 0,
        "test_people": 50,
        "probe_people": 60,
        "seeds": (0, 1),
        "settings": ("easy", "hard"),
        "methods": tuple(METHODS),
        "probed": ("ifgan", "ifgan_noise4", "ifgan_noise8"),
        "baseline": "resnet101_rate5",  # whose features are probed beside those methods'
    },
    # Whether IF-GAN helps is judged in `hard`, where identity hurts most: the accuracy of
    # ifgan_noise4 less that of the baseline, each at the best rate of `development`, with the
    # interval of `ifgan_jax.study.difference`; `easy` stands beside it.
    "final": {
        "train_people": 100,
        "test_people": 200,
        "probe_people": 300,
        "seeds": (0, 1, 2, 3, 4),
        "settings": ("hard", "easy"),
        "methods": ("resnet101_rate5", "no_attention_noise4", "ifgan_noise4"),
        "probed": ("ifgan_noise4",),
        "baseline": "resnet101_rate5",
    },
}


def get_config(part: str) -> ConfigDict:
    """Raises ValueError for a part that is not in PARTS."""
    if part not in PARTS:
        raise ValueError(f"part {part!r} is unknown: choose one of {', '.join(PARTS)}")
    return ConfigDict(PARTS[part]).lock()


class Job(NamedTuple):
    """One run, by name."""

    setting: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.setting}-{self.method}-seed{self.seed}"


def jobs(part: ConfigDict) -> list[Job]:
    """All of a part, seed by seed, the baseline first: half a study has whole comparisons."""
    methods = sorted(part.methods, key=lambda method: method != part.baseline)
    return [
        Job(setting, method, seed)
        for seed, setting, method in itertools.product(part.seeds, part.settings, methods)
    ]


def run_config(part: ConfigDict, setting: str, method: str, seed: int) -> ConfigDict:
    """The config of one run."""
    chosen = SETTINGS[setting]
    config = demo.get_config().unlock()
    config.seed = seed
    config.generator.output_noise = 0.0
    config.data.name = rendered(chosen["people"], part.train_people + seed)
    config.data.num_folds = chosen["folds"]
    config.epochs = config.checkpoint_every_epochs = chosen["epochs"]
    for player in config.optimizers.values():
        player.decay_every_epochs = chosen["decay_every"]
    config.update_from_flattened_dict(METHODS[method])
    return config.lock()


def tested_on(part: ConfigDict, setting: str, seed: int) -> str:
    """The data set on which a run is tested."""
    return rendered(SETTINGS[setting]["tested"], part.test_people + seed)


def probed_on(part: ConfigDict, setting: str, seed: int) -> str:
    """The data set of the people whom a run's faces and features are to tell."""
    return rendered(SETTINGS[setting]["probed"], part.probe_people + seed)


def rendered(people: str, seed: int) -> str:
    """The data set of these people; seed 0 goes unnamed."""
    return f"synthetic_faces/{people}" + (f"_seed{seed}" if seed else "")
