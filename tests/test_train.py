"""Parts of the loop that whole runs do not show: pretrained weights, SIGTERM, the demo."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest

from configs import default
from ifgan_jax import build, sharding
from ifgan_jax.arrays import Metrics
from ifgan_jax.checkpoint import Checkpoints, save_tree
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.loop import Interruption, Run
from ifgan_jax.state import GanState
from ifgan_jax.train import train
from scripts.demo import ROWS, run_demo
from tests import tiny, tiny_config

UNCHECKED = True  # as its users run it


def test_interruption_sees_sigterm_and_gives_the_handler_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_epoch_that_validates_best_is_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of equals the later one; the steps themselves do nothing here."""
    config = tiny_config.get_config()
    config.epochs = 4
    compiled = mock.Mock(spec=build.Compiled, mesh=sharding.make_mesh(jax.devices()[:1]))
    compiled.train_step = lambda state, *inputs: (state, {})
    compiled.finite = lambda state: np.array([True])
    reached = iter((0.2, 0.6, 0.6, 0.4))
    monkeypatch.setattr(Run, "_validate", lambda run, state: next(reached))
    checkpoints, parts = mock.Mock(spec=Checkpoints), load_run_parts(config)
    progress = {"step": 0, "best_step": 0, "best_accuracy": -1.0}
    with Interruption() as interruption:
        given = (config, compiled, checkpoints, parts, 6, progress, tmp_path, interruption)
        Run(*given).epochs(mock.Mock(spec=GanState))
    saved = [call.kwargs for call in checkpoints.save.call_args_list]
    assert saved == [
        {"step": step, "best_step": best} for step, best in ((6, 6), (12, 12), (18, 18), (24, 18))
    ]
    assert (progress["best_step"], progress["best_accuracy"]) == (18, 0.6)


def test_pretrained_weights_come_in_all_but_the_head(tmp_path: Path):
    """A run whose steps learn nothing keeps them: its first checkpoint is compared."""

    def still(*given: Any) -> build.Experiment:
        def step(state: GanState, *inputs: Any, **options: Any) -> tuple[GanState, Metrics]:
            return state.replace(step=state.step + 1), {}

        return dataclasses.replace(build.build(*given), step=step)

    config = tiny_config.get_config()
    config.devices = 1  # compiles in half the time of eight
    compiled = build.compile_steps(
        config, build.build(config, 1), sharding.make_mesh(jax.devices()[:1])
    )
    donor = compiled.create_state(jax.random.key(99)).classifier
    statistics = jax.tree.map(lambda x: x + 0.25, donor.batch_stats)  # none that a run begins with
    params = {name: value for name, value in donor.params.items() if name != "head"}
    rgb = jax.random.normal(jax.random.key(7), (7, 7, 3, config.classifier.width))
    params["stem"] = {"kernel": rgb}
    save_tree(tmp_path / "weights", {"params": params, "batch_stats": statistics})
    config.classifier.pretrained = str(tmp_path / "weights")
    config.epochs = 1
    assert train(config, tmp_path / "run", make=still) is not None
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    state, _ = checkpoints.restore_latest(build.abstract_state(compiled, config))
    ours = {name: value for name, value in state.classifier.params.items() if name != "head"}
    one = (rgb[:, :, 0] + rgb[:, :, 1] + rgb[:, :, 2]) / 2  # of a gray pair: summed and halved
    params["stem"] = {"kernel": np.stack([one, one], axis=2)}
    tiny.assert_trees_close(ours, params, 1e-6)
    tiny.assert_trees_close(state.classifier.batch_stats, statistics, 0.0)
    assert np.any(state.classifier.params["head"]["kernel"] != donor.params["head"]["kernel"])


def test_the_papers_run_names_what_is_missing(tmp_path: Path):
    config = default.get_config()
    config.batch_size = config.evaluation.batch_size = 48  # for the eight devices of the tests
    with pytest.raises(FileNotFoundError, match=r"resnet101_imagenet.*bu3dfe must lie in data"):
        train(config, tmp_path / "run")
    config.classifier.pretrained = ""
    with pytest.raises(FileNotFoundError, match=r"'bu3dfe' is not prepared in data.*owners"):
        train(config, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_demo_prints_its_table_and_keeps_the_numbers(tmp_path: Path):
    config, baseline = tiny_config.get_config(), tiny_config.get_config()
    baseline.method, baseline.classifier.inputs = "baseline", "source"
    config.epochs = baseline.epochs = 1
    config.devices = baseline.devices = 1  # compiles in half the time of eight
    table = run_demo(config, baseline, tmp_path)
    assert table is not None
    results = json.loads((tmp_path / "metrics.json").read_text())
    demanded = {"test_accuracy", "transfer_accuracy", "identity_variance", "baseline_test_accuracy"}
    assert demanded | {"commit", "config_hash", "data_hash", "fold", "seed", "versions"} <= set(
        results
    )
    for name in demanded:
        line = next(line for line in table.splitlines() if line.strip().startswith(ROWS[name]))
        assert line.endswith(f" {results[name]:.3f}")
    assert table.count("γ of the") == 3
    assert str(tmp_path / "report.html") in table
    beside = json.loads((tmp_path / "baseline" / "metrics.json").read_text())
    assert results["baseline_test_accuracy"] == beside["test_accuracy"]
    assert (tmp_path / "report.html").exists()
