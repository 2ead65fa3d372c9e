"""Several processes on this machine, talking by gloo: the same numbers, and one end for all."""

import dataclasses
import os
import pickle
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from ifgan_jax import hosts
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.models.classifier import RESNETS
from ifgan_jax.train import _check_processes_agree, train
from ifgan_jax.workdir import read_metrics
from scripts.campaigns.process import Process, rows
from tests import host_process, runs, tiny, tiny_config
from tests.conftest import QUICK_COMPILATION
from tests.forked import Forked

PROCESSES = 2
# Largest relative differences of one float32 step on 2 × 2 devices and on 1, five times what was
# seen on two processors with six keys; the gradients are those in Adam's first moments. G's jump
# where rounding moves one of its pixels across a kink of ReLU or a pool: three keys of six.
METRICS_FLOAT32 = 2e-6
GENERATOR_NORM_FLOAT32 = 1e-3
GRADIENTS_FLOAT32 = {"generator": 1e-2, "discriminator": 1.2e-5, "classifier": 4e-6}
BASELINE = {"method": "baseline", "classifier.inputs": "source"}
SPLIT = BASELINE | {"shard_parameters": True}
UNCHECKED = True  # as its users run it


class Processes(NamedTuple):
    """Two processes of two CPU devices each."""

    each: list[Process]

    @classmethod
    def start(
        cls, task: str, *flags: str, own: Callable[[int], list[str]] | None = None
    ) -> "Processes":
        """host_process.py, with `flags` for all and `own(i)` for the i-th."""
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        devices = f"--xla_force_host_platform_device_count=2 {QUICK_COMPILATION}"
        joined = [f"--coordinator_address=localhost:{port}", f"--num_processes={PROCESSES}"]
        command = ["-m", "tests.host_process", task, *flags, *joined]
        environment = {**runs.environment(), "XLA_FLAGS": devices}
        each = [[f"--process_id={i}", *(own(i) if own else [])] for i in range(PROCESSES)]
        return cls([Forked([*command, *its], environment, runs.LIMIT) for its in each])

    @classmethod
    def train(cls, workdir: Path, epochs: int, changes: dict[str, Any]) -> "Processes":
        changes = changes | {"epochs": epochs}
        flags = [f"--config.{key}={value}" for key, value in changes.items()]
        flags += [f"--workdir={workdir}"]
        return cls.start("train", "--config=tests/tiny_config.py", *flags)

    def finish(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Exit status and output of each."""
        statuses, outputs = zip(*(process.end() for process in self.each), strict=True)
        return statuses, outputs

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """While the first of them goes on, which it does not for long without the other."""
        assert self.each[0].wait_for(condition), "\n".join(self.finish()[1])


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ((None, None, None), {}, None),
        ((None, None, None), {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}, None),
        ((None, None, None), {"SLURM_STEP_NUM_TASKS": "8"}, (None, None, None)),
        ((None, 1, None), {"SLURM_STEP_NUM_TASKS": "8"}, None),
        (("node0:1", 2, 0), {}, ("node0:1", 2, 0)),
    ],
)
def test_who_is_joined(
    flags: tuple, environment: dict, expected: Any, monkeypatch: pytest.MonkeyPatch
):
    """None: JAX's distributed runtime is not started."""
    joined: list[tuple] = []
    monkeypatch.setattr(hosts, "_initialize", lambda *given: joined.append(given))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with hosts.connected(*flags):
        pass
    assert joined == ([] if expected is None else [expected])


def test_a_tpu_is_joined(monkeypatch: pytest.MonkeyPatch):
    for platforms, expected in ((None, False), ("cpu", False), ("tpu,cpu", True)):
        monkeypatch.setattr(jax, "config", SimpleNamespace(jax_platforms=platforms))
        assert hosts._environment_tells() is expected


def test_half_of_the_flags_is_refused():
    for flags in (("node0:1", None, None), (None, 2, 0), ("node0:1", 2, None)):
        with pytest.raises(ValueError, match="belong together"), hosts.connected(*flags):
            pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("epochs 0"), "error: epochs 0\n"),
        (jax.errors.JaxRuntimeError("Connection closed"), f"error: {hosts.LOST} (Connection"),
        (jax.errors.JaxRuntimeError("UNAVAILABLE: Gloo"), f"error: {hosts.LOST} (UNAVAILABLE"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9G"), "error: RESOURCE_EXHAUSTED: 9G\n"),
        (jax.errors.JaxRuntimeError("INVALID_ARGUMENT: x"), "error: INVALID_ARGUMENT: x\n"),
        (KeyError("x"), "Traceback"),
    ],
    ids=["expected", "lost", "unavailable", "memory", "own", "unexpected"],
)
def test_an_error_ends_one_of_several_at_once(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    """Without the good order in which it would wait for the others."""
    monkeypatch.setattr(hosts, "_initialize", lambda *given: None)
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit, match="1"), hosts.connected("node0:1", 2, 0):
        raise error
    assert capsys.readouterr().err.startswith(message)


def test_alone_nothing_is_exchanged(tmp_path: Path):
    assert hosts.is_first()
    assert [bool(hosts.any_process(flag)) for flag in (True, False)] == [True, False]
    assert hosts.of_first(3) == 3
    with hosts.in_turn("files"):
        hosts.check_same("text", "a", "")
        hosts.check_shared(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_processes_have_to_agree_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All that decides a number, and is not written by the first process."""
    config, parts = tiny_config.get_config(), load_run_parts(tiny_config.get_config())
    texts: dict[str, str] = {}
    monkeypatch.setattr(hosts, "check_same", lambda what, text, _: texts.update({what: text}))
    _check_processes_agree(config, parts, tmp_path, None)
    before = dict(texts)
    assert before["weights"] == ""
    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr("ifgan_jax.workdir.commit", lambda: "another")
    config.seed = 1
    other = dataclasses.replace(parts, folds_hash="another")
    _check_processes_agree(config, other, tmp_path, tmp_path)
    assert before.keys() == texts.keys() == {"commit or versions", "config", "weights", "data"}
    assert not [what for what, text in texts.items() if text == before[what]]


@pytest.mark.parametrize(("tasks", "told"), [("1(x4)", True), ("4(x2)", False)])
def test_gpus_that_nobody_uses_are_told(
    tasks: str, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Under SLURM JAX gives each task one."""
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given, **options: None)
    monkeypatch.setattr("faulthandler.disable", lambda: None)
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", tasks)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    with caplog.at_level("INFO", logger="ifgan_jax"):
        hosts._initialize(None, None, None)
    assert ("1 of the 4 GPUs of a node are used" in caplog.text) == told


@pytest.fixture(scope="module")
def start() -> Any:
    """The float32 state that all of the equal runs begin with, γ moved so that attention counts."""
    return jax.tree.map(np.asarray, tiny.state(host_process.networks(np.float32)))


@pytest.fixture(scope="module")
def stepped(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], list]]:
    """What each of two processes got, once they are done; they run beside this one."""
    folder = tmp_path_factory.mktemp("steps")
    (folder / "state").write_bytes(pickle.dumps(start))
    processes = Processes.start(
        "meet", f"--state={folder}/state", own=lambda i: [f"--output={folder}/{i}"]
    )

    def results() -> list:
        statuses, outputs = processes.finish()
        assert statuses == (0,) * PROCESSES, "\n".join(outputs)
        return [pickle.loads((folder / str(i)).read_bytes()) for i in range(PROCESSES)]

    yield results
    for process in processes.each:
        process.send(signal.SIGKILL)


def assert_agreed(first: dict[str, Any], second: dict[str, Any]) -> None:
    """What both processes said of what they have to say alike."""
    assert first.pop("first")
    assert not second.pop("first")
    assert first.pop("found") == []
    assert second.pop("found") == ["turn_0"]
    assert first["any"] == [True, True, False]
    assert first["of first"] == 7
    assert first["differs"] == "text of process 0 and of [1] differ: make it so"
    folders = [side.pop("not shared") for side in (first, second)]
    assert ["own_0 is not one folder" in folders[0], "own_1 is" in folders[1]] == [True, True]
    assert first == second


def assert_equal_in_float64(ours: tuple, theirs: tuple) -> None:
    """Parameters, moments, statistics, centres; the metrics of each step."""
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert a == pytest.approx(b, rel=1e-10)
    tiny.assert_trees_close(ours[0], theirs[0], 1e-10)


def test_processes_devices_and_split_parameters_change_nothing(start: Any, stepped: Callable):
    """G, D and E: 2 processes × 2 devices, 1 × 4, and 8 with split parameters, as on 1 device."""
    with jax.enable_x64(True):
        one, four, eight = (
            host_process.run(start, np.float64, 3, jax.devices()[:devices], split=devices == 8)
            for devices in (1, 4, 8)
        )
    assert_equal_in_float64(four, one)
    assert_equal_in_float64(eight, one)
    assert one[2] == four[2] == 1
    assert eight[2] < 0.2  # of the state; biases and statistics of so small a net weigh much
    in_float32 = host_process.run(start, np.float32, 1, jax.devices()[:1])
    all_said = []
    for said, exact, single in stepped():
        all_said.append(said)
        assert_equal_in_float64(exact, one)
        assert_equal_in_float32(single, in_float32)
    assert_agreed(*all_said)


def assert_equal_in_float32(ours: tuple, theirs: tuple) -> None:
    """Metrics, and gradients player by player."""
    metrics = [dict(side[1][0]) for side in (ours, theirs)]
    norms = [each.pop("generator/gradient") for each in metrics]
    assert norms[0] == pytest.approx(norms[1], rel=GENERATOR_NORM_FLOAT32)
    assert metrics[0] == pytest.approx(metrics[1], rel=METRICS_FLOAT32, abs=1e-6)
    for name, tolerance in GRADIENTS_FLOAT32.items():
        a, b = (tiny.first_moments(getattr(side[0], name)) for side in (ours, theirs))
        assert tiny.relative_error(a, b) < tolerance, name


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of one epoch on 1 device, then one on 8 with split parameters."""
    workdir = tmp_path_factory.mktemp("moved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RESNETS, 10, RESNETS[10])  # gives it back at the end
        host_process.shorten()
        go_on(workdir, devices=1, epochs=1)
        go_on(workdir, devices=8, epochs=2, split=True)
        yield workdir


def config_of(epochs: int) -> Any:
    config = tiny_config.get_config()
    config.update_from_flattened_dict(BASELINE)
    config.epochs = epochs
    return config


def go_on(workdir: Path, *, devices: int, epochs: int, split: bool = False) -> None:
    """Train in this process."""
    config = config_of(epochs)
    config.devices, config.shard_parameters = devices, split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ifgan_jax.evaluate._draw", lambda *arguments: None)
        assert train(config, workdir) is not None


def test_runs_move_and_the_dead_are_noticed(moved: Path, tmp_path: Path):
    """From 1 and 8 devices to 2 × 2, split: as one process goes on, to the bit after SIGKILL."""
    unbroken, killed, alone = (tmp_path / name for name in ("unbroken", "killed", "alone"))
    for workdir in (unbroken, killed, alone):
        shutil.copytree(moved, workdir)
    statuses, outputs = Processes.train(unbroken, epochs=3, changes=SPLIT).finish()
    assert statuses == (0,) * PROCESSES, "\n".join(outputs)
    assert "resuming at step 12" in outputs[0]
    assert "resuming" not in outputs[1]  # one of them talks

    for dead in (1, 0):  # one of them, then the one that the others talk through
        processes = Processes.train(killed, epochs=3, changes=SPLIT)
        processes.wait_for(lambda: rows(killed) == 12)  # resumed: what came later is cut off
        processes.wait_for(lambda: rows(killed) >= 15)
        processes.each[dead].send(signal.SIGKILL)
        died = time.monotonic()
        statuses, outputs = processes.finish()
        assert time.monotonic() - died < 120
        assert statuses[1 - dead] != 0
        assert "another task died" in outputs[1 - dead] or hosts.LOST in outputs[1 - dead]
    statuses, outputs = Processes.train(killed, epochs=3, changes=SPLIT).finish()
    assert statuses == (0,) * PROCESSES, "\n".join(outputs)
    assert_same_run(killed, unbroken)

    go_on(alone, devices=1, epochs=3)
    for ours, theirs in zip(read_metrics(unbroken), read_metrics(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def assert_same_run(workdir: Path, other: Path) -> None:
    """And the same predictions."""
    runs.assert_same_run(workdir, other)
    assert (workdir / "predictions.csv").read_text() == (other / "predictions.csv").read_text()


def test_sigterm_to_one_stops_all_at_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RESNETS, 10, RESNETS[10])  # gives it back at the end
    host_process.shorten()  # as the processes do, of which a state is read here
    workdir = tmp_path / "stopped"
    processes = Processes.train(workdir, epochs=100, changes=BASELINE)
    processes.wait_for(lambda: rows(workdir) >= 8)
    processes.each[1].send(signal.SIGTERM)
    statuses, outputs = processes.finish()
    assert statuses == (0,) * PROCESSES, "\n".join(outputs)
    assert "SIGTERM: saved at step" in outputs[0]
    assert rows(workdir) == runs.last_state(workdir)[1]["step"]
