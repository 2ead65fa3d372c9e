"""One compilation each of train_step and eval_step, whatever a run goes through."""

from pathlib import Path
from typing import Any

import pytest

from ifgan_jax import build
from ifgan_jax.train import train
from tests import tiny_config


def test_over_epochs_validation_tail_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Three epochs, a validation with a tail each, the test part, then a resume in the process."""
    seen: list[build.Compiled] = []
    compile_steps = build.compile_steps

    def noted(*arguments: Any) -> build.Compiled:
        seen.append(compile_steps(*arguments))
        return seen[-1]

    monkeypatch.setattr(build, "compile_steps", noted)
    monkeypatch.setattr("ifgan_jax.evaluate._draw", lambda *arguments: None)
    config = tiny_config.get_config()
    config.devices = 1  # compiles in half the time of eight
    assert 12 % config.evaluation.batch_size  # the parts of 12 images do end in a tail
    assert train(config, tmp_path) is not None
    config.epochs = 5
    assert train(config, tmp_path) is not None
    for compiled in seen:
        assert compiled.train_step._cache_size() == 1
        assert compiled.eval_step._cache_size() == 1
        assert compiled.classify._cache_size() == 1
    assert len(seen) == 2  # one for each start of the program
