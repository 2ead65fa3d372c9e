"""A run's folder: ownership, metrics that survive being cut off."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from configs import default
from ifgan_jax.data.host_tensorflow import tf
from ifgan_jax.metric_log import MetricLog
from ifgan_jax.workdir import (
    check_workdir,
    claim,
    commit,
    lock,
    read_config,
    read_metrics,
    versions,
    write_json,
)


def test_claim_writes_the_config_and_its_history(tmp_path: Path):
    config = default.get_config()
    for epochs in (100, 120):
        config.epochs = epochs
        check_workdir(tmp_path / "run", config)
        claim(tmp_path / "run", config)
    assert read_config(tmp_path / "run").loss.l1_weight == 20.0
    history = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epochs"] for line in history] == [100, 120]
    config.data.data_dir = "elsewhere"  # changes no number
    check_workdir(tmp_path / "run", config)


def test_checking_leaves_nothing_behind(tmp_path: Path):
    check_workdir(tmp_path / "run", default.get_config())
    assert not list((tmp_path / "run").iterdir())


def test_check_names_the_keys_that_differ(tmp_path: Path):
    config = default.get_config()
    claim(tmp_path, config)
    config.loss.l1_weight = 10.0
    config.epochs = 50
    with pytest.raises(ValueError, match="another config") as error:
        check_workdir(tmp_path, config)
    assert "loss.l1_weight: 20.0 there, 10.0 now" in str(error.value)
    assert "epochs: 100 there, fewer now (50)" in str(error.value)


def test_check_says_why_it_cannot_write(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/run cannot be written .*: choose another folder"):
        check_workdir(tmp_path / "file" / "run", default.get_config())


def test_a_path_that_is_no_text(tmp_path: Path):
    """Orbax and Matplotlib take none, and say other things of it."""
    workdir = tmp_path / os.fsdecode(b"r\xff")
    with pytest.raises(ValueError, match="the path is not UTF-8: rename the folder"):
        check_workdir(workdir, default.get_config())
    assert not workdir.exists()
    with pytest.raises(ValueError, match="the path is not UTF-8"):
        read_config(workdir)


def test_no_run(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is no run's folder"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{ half a")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        read_config(tmp_path)


def row(step: int) -> dict[str, int | float]:
    return {"step": step, "epoch": 0, "train/l1": step / 7}


def test_metrics_after_the_checkpoint_are_forgotten(tmp_path: Path):
    log = MetricLog(tmp_path, 0)
    for step in (1, 2, 3, 4):
        log.write(row(step))
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "tra')  # cut off
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2, 3, 4]
    log = MetricLog(tmp_path, 2)
    log.write(row(3))
    log.sync()
    log.close()
    assert read_metrics(tmp_path) == [row(1), row(2), row(3)]
    assert board(tmp_path) == [(1, 1 / 7), (2, 2 / 7), (3, 3 / 7)]


def board(workdir: Path) -> list[tuple[int, float]]:
    """What TensorBoard would draw of train/l1: later files replace what they forget."""
    values: dict[int, float] = {}
    for path in sorted((workdir / "tensorboard").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            if event.HasField("session_log"):
                values = {step: value for step, value in values.items() if step < event.step}
            for value in event.summary.value:
                assert value.tag == "train/l1"
                values[event.step] = value.simple_value
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in sorted(values.items())]


def test_a_clock_that_goes_back_loses_nothing_on_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nor one that stands still: each start has a file of its own, after those before it."""
    for step, now in enumerate((2e9, 1e9, 1e9)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        log = MetricLog(tmp_path, step)
        log.write(row(step + 1))
        log.write(row(step + 2))
        log.close()
    assert board(tmp_path) == [(step, step / 7) for step in (1, 2, 3, 4)]


def test_a_damaged_row_is_named_and_nothing_is_dropped(tmp_path: Path):
    rows = b"".join(json.dumps(row(step)).encode() + b"\n" for step in (1, 2, 3))
    damaged = rows.replace(b'{"step": 2', b'{"st\xffp": 2')
    (tmp_path / "metrics.jsonl").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 2 is damaged"):
        MetricLog(tmp_path, 3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == damaged


def test_a_full_disk_under_the_metrics_is_told(tmp_path: Path):
    log = MetricLog(tmp_path, 0)
    log._file = Path("/dev/full").open("w")  # noqa: SIM115  (the log closes it)
    with pytest.raises(OSError, match=r"metrics\.jsonl .*could not be written.*same command"):
        log.write(row(1))
    log.close()  # raises nothing more


def test_a_full_disk_under_tensorboard_is_told(tmp_path: Path):
    log = MetricLog(tmp_path, 0)
    log._board = tf.io.TFRecordWriter("/dev/full")
    log.write(row(1))
    with pytest.raises(OSError, match=r"tensorboard beside it could not be .*No space left"):
        log.sync()
    log.close()


def test_a_start_on_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: Path("/dev/full").write_text("a"))
    with pytest.raises(OSError, match=r"metrics\.jsonl .*could not be written.*same command"):
        MetricLog(tmp_path, 0)


def test_one_process_at_a_time(tmp_path: Path):
    message = "in use by another process"
    with lock(tmp_path), pytest.raises(OSError, match=message), lock(tmp_path):
        pass
    with lock(tmp_path):  # by a file: of a folder's lock a network disk tells no other host
        assert [path.is_file() for path in tmp_path.iterdir()] == [True]
    assert not list(tmp_path.iterdir())


def test_a_lock_whose_file_its_holder_has_just_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = fcntl.flock

    def late(file: int, operation: int) -> None:
        real(file, operation)
        monkeypatch.setattr("fcntl.flock", real)
        (tmp_path / ".lock").unlink()

    monkeypatch.setattr("fcntl.flock", late)
    message = "in use by another process"
    with lock(tmp_path), pytest.raises(BlockingIOError, match=message), lock(tmp_path):
        pass


def test_what_is_no_lock_of_another_is_not_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A process that cannot be started, within; a file system without locks, before."""
    with pytest.raises(BlockingIOError, match=r"^Resource"), lock(tmp_path):
        raise BlockingIOError("Resource temporarily unavailable")
    monkeypatch.setattr("fcntl.flock", lambda *_: os.open(tmp_path / "absent", os.O_RDONLY))
    message = f"{tmp_path} cannot be locked .* another file system"
    with pytest.raises(OSError, match=message), lock(tmp_path):
        pass


def test_a_lock_is_not_made_through_a_link(tmp_path: Path):
    """Of a run's folder that somebody gave away."""
    (folder := tmp_path / "given").mkdir()
    (folder / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"given cannot be written \(.*\.lock"), lock(folder):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_a_history_that_is_no_text_stays(tmp_path: Path):
    (tmp_path / "history.jsonl").write_bytes(b"\xff\n")
    claim(tmp_path, default.get_config())
    before, started = (tmp_path / "history.jsonl").read_bytes().splitlines()
    assert (before, json.loads(started)["epochs"]) == (b"\xff", default.get_config().epochs)


def test_without_git(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert commit() == "unknown"


def test_json_is_replaced_whole(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": 1})
    write_json(tmp_path / "a.json", {"b": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nothing_is_written_through_a_link(tmp_path: Path):
    """A run's folder that somebody gave away may hold what a write is to go through."""
    (tmp_path / "mine").write_text("mine")
    for name in ("a.json", "a.json.partial"):
        (tmp_path / name).symlink_to("mine")
    write_json(tmp_path / "a.json", {"b": 1})
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "a.json").read_text() == '{\n "b": 1\n}\n'
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "mine"}


def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl is no file"):
        read_metrics(tmp_path)
    (tmp_path / "config.json").touch()
    os.truncate(tmp_path / "config.json", 2**40)
    with pytest.raises(OSError, match=r"config\.json has more than \d+ bytes"):
        read_config(tmp_path)


def test_versions_name_device_and_libraries():
    found = versions()
    assert found["device"].startswith("8 × ")
    assert {"jax", "flax", "optax", "orbax-checkpoint", "numpy", "commit", "python"} <= found.keys()
