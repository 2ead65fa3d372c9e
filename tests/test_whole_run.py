"""A run watched from its start to its resume: each step is compiled once, every key read."""

from typing import Any, NamedTuple

import pytest
from ml_collections import ConfigDict

from ifgan_jax import build
from ifgan_jax.train import train
from ifgan_jax.workdir import flatten
from tests import tiny_config

UNCHECKED = True  # as its users run it


class Recorder(ConfigDict):
    """A config that notes which of its keys are read."""

    def __init__(self, config: ConfigDict, read: set[str], prefix: str = "") -> None:
        for name, value in (("_config", config), ("_read", read), ("_prefix", prefix)):
            object.__setattr__(self, name, value)

    def __getitem__(self, key: str) -> Any:
        value, path = self._config[key], self._prefix + key
        if isinstance(value, ConfigDict):
            return Recorder(value, self._read, path + ".")
        self._read.add(path)
        return value

    __getattr__ = __getitem__

    def keys(self) -> Any:
        return self._config.keys()

    def to_json_best_effort(self) -> str:
        return self._config.to_json_best_effort()  # written down whole: that is no reading


class Watched(NamedTuple):
    """What each start of the program has compiled, and the keys that the first one has read."""

    compiled: list[build.Compiled]
    read: set[str]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Three epochs, a validation with a tail each, the test part, then a resume in the process."""
    found = Watched([], set())
    compile_steps = build.compile_steps

    def noted(*arguments: Any) -> build.Compiled:
        found.compiled.append(compile_steps(*arguments))
        return found.compiled[-1]

    config = tiny_config.get_config()
    config.devices = 1  # compiles in half the time of eight
    assert 12 % config.evaluation.batch_size  # the parts of 12 images do end in a tail
    workdir = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(build, "compile_steps", noted)
        patched.setattr("ifgan_jax.evaluate._draw", lambda *arguments: None)
        assert train(Recorder(config, found.read), workdir) is not None
        config.epochs = 5
        assert train(config, workdir) is not None
    return found


def test_each_step_is_compiled_once(watched: Watched):
    assert len(watched.compiled) == 2  # one for each start of the program
    for compiled in watched.compiled:
        assert compiled.train_step._cache_size() == 1
        assert compiled.eval_step._cache_size() == 1
        assert compiled.classify._cache_size() == 1


def test_every_key_is_read(watched: Watched):
    assert watched.read == flatten(tiny_config.get_config()).keys()
