"""Checkpoints: what is kept, verified, and survives a failure (whole runs: test_resume)."""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from ifgan_jax.checkpoint import (
    METADATA,
    Checkpoints,
    DamagedCheckpointError,
    check_metadata,
    restore_tree,
    save_tree,
    verify,
    write_manifest,
)
from scripts.campaigns.process import ROOT

STATE = {"weights": jnp.arange(6.0).reshape(2, 3), "count": jnp.int32(3), "none": None}


def saved(directory: Path, *steps: int, best: int) -> Checkpoints:
    checkpoints = Checkpoints(directory)
    for step in steps:
        state = {**STATE, "count": jnp.int32(step)}
        checkpoints.save(state, {"step": step, "classes": ["a"]}, step=step, best_step=best)
    checkpoints.wait()
    return checkpoints


def test_round_trip(tmp_path: Path):
    checkpoints = saved(tmp_path, 7, best=7)
    state, metadata = checkpoints.restore(STATE, step=7)
    np.testing.assert_array_equal(state["weights"], STATE["weights"])
    assert int(state["count"]) == 7
    assert state["none"] is None
    assert metadata == {"step": 7, "classes": ["a"]}


def save_without_room(disk: Path) -> None:
    """A run's checkpoint and a tree, where there is room for 0 to 5 further names."""
    saved(disk / "run", 1, best=1).close()
    there = os.statvfs(disk)
    for room in range(6):
        names = there.f_files - there.f_ffree + room
        subprocess.run(["mount", "-o", f"remount,nr_inodes={names}", str(disk)], check=True)
        with pytest.raises(OSError, match=r"00000002 could not be written .*space left on device"):
            saved(disk / "run", 2, best=1)
        assert Checkpoints(disk / "run").steps() == [1]
        with pytest.raises(OSError, match="space left on device"):
            save_tree(disk / "tree", STATE)
        for left in disk.glob("tree*"):
            shutil.rmtree(left)


def test_where_no_folder_can_be_made_the_process_ends(small_disk: Path):
    """At once, not when threads of orbax that wait for the folder give up, after five minutes."""
    program = "import pathlib, sys\nfrom tests import test_checkpoint\n"
    program += "test_checkpoint.save_without_room(pathlib.Path(sys.argv[1]))\nprint('all refused')"
    done = subprocess.run(
        [sys.executable, "-c", program, str(small_disk)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, "all refused\n")


def test_keeps_the_best_and_the_last_two(tmp_path: Path):
    assert saved(tmp_path, 1, 2, 3, 4, 5, best=2).steps() == [2, 4, 5]


def test_after_a_fallback_the_new_checkpoint_is_kept(tmp_path: Path):
    """Damaged checkpoints that lie ahead do not count as the last two."""
    checkpoints = saved(tmp_path, 6, 12, 18, best=6)
    checkpoints.save(STATE, {"step": 8}, step=8, best_step=6)
    checkpoints.wait()
    assert checkpoints.steps() == [6, 8]


def test_other_files_are_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "keep_best").mkdir()
    (tmp_path / "00000009.bak").mkdir()
    (tmp_path / "00000009.bak" / "manifest.json").write_text("{}")
    assert saved(tmp_path, 1, 2, 3, best=3).steps() == [2, 3]
    assert {"notes.txt", "keep_best", "00000009.bak"} <= {p.name for p in tmp_path.iterdir()}


def test_nothing_whole_is_an_error(tmp_path: Path):
    checkpoints = saved(tmp_path, 1, best=1)
    flip(tmp_path / "00000001" / "manifest.json")
    with pytest.raises(DamagedCheckpointError, match="no whole checkpoint"):
        checkpoints.restore_latest(STATE)


def test_metadata_is_that_of_the_moment(tmp_path: Path):
    """A caller may go on changing its dictionary while the save is under way."""
    checkpoints = Checkpoints(tmp_path)
    metadata = {"step": 1}
    checkpoints.save(STATE, metadata, step=1, best_step=1)
    metadata["step"] = 2
    checkpoints.wait()
    assert checkpoints.restore(STATE, step=1)[1] == {"step": 1}


def test_placement_is_the_templates(tmp_path: Path):
    """A state saved from one device comes back on eight."""
    checkpoints = saved(tmp_path, 1, best=1)
    mesh = jax.make_mesh((8,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    template = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), STATE
    )
    state, _ = checkpoints.restore(template, step=1)
    assert len(state["weights"].sharding.device_set) == 8


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_any_damage_is_found_and_passed_over(tmp_path: Path, caplog):
    checkpoints = saved(tmp_path, 1, 2, best=1)
    newest = tmp_path / "00000002"
    files = [path for path in newest.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert len(files) > 3
    for path in files:
        intact = path.read_bytes()
        if intact:
            flip(path)
            with pytest.raises(DamagedCheckpointError, match="is damaged"):
                verify(newest)
        path.unlink()
        with pytest.raises(DamagedCheckpointError, match="missing or extra file"):
            verify(newest)
        path.write_bytes(intact)
    verify(newest)
    flip(max(files, key=lambda path: path.stat().st_size))
    _, metadata = checkpoints.restore_latest(STATE)
    assert metadata["step"] == 1
    assert "trying the one before" in caplog.text


@pytest.mark.parametrize("name", ["manifest.json", "state/_METADATA"])
def test_a_disk_that_cannot_be_read_is_no_damage(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    """Whole checkpoints are neither passed over, nor called damaged, for the disk's error."""
    checkpoints = saved(tmp_path, 1, 2, best=1)
    opened = io.open

    def failing(file: Any, *arguments: Any, **named: Any) -> Any:
        if str(file).endswith(f"00000002/{name}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return opened(file, *arguments, **named)

    monkeypatch.setattr(io, "open", failing)
    with pytest.raises(OSError, match=f"00000002/{name} cannot be read .* See to the disk"):
        checkpoints.restore_latest(STATE)


def test_a_folder_that_cannot_be_listed_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoints = saved(tmp_path, 1, 2, best=1)
    listed = os.scandir

    def failing(path: Any) -> Any:
        if str(path).endswith("00000002/state"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(OSError, match=r"00000002/state.*may be whole"):
        checkpoints.restore_latest(STATE)


def test_a_grown_file_is_not_read(tmp_path: Path):
    saved(tmp_path, 1, best=1)
    os.truncate(tmp_path / "00000001" / "state" / "_METADATA", 2**40)
    with pytest.raises(DamagedCheckpointError, match="_METADATA is damaged"):
        verify(tmp_path / "00000001")


@pytest.mark.timeout(60)
def test_nobody_waits_for_a_pipe_among_the_files(tmp_path: Path):
    saved(tmp_path, 1, best=1)
    checkpoint = tmp_path / "00000001"
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    os.mkfifo(checkpoint / "state" / "pipe")
    manifest["state/pipe"] = [0, hashlib.sha256(b"").hexdigest()]
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedCheckpointError, match="state/pipe is no file"):
        verify(checkpoint)


def test_an_old_checkpoint_that_is_a_link_goes_and_where_it_leads_stays(tmp_path: Path):
    checkpoints = saved(tmp_path / "run", 1, 2, best=2)
    elsewhere = (tmp_path / "run" / "00000001").rename(tmp_path / "elsewhere")
    (tmp_path / "run" / "00000001").symlink_to(elsewhere)
    checkpoints.save(STATE, {"step": 3}, step=3, best_step=2)
    checkpoints.wait()
    assert checkpoints.steps() == [2, 3]
    assert not (tmp_path / "run" / "00000001").is_symlink()
    verify(elsewhere)


def test_an_old_checkpoint_that_cannot_be_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoints = saved(tmp_path, 1, 2, best=2)
    refuse = mock.Mock(side_effect=PermissionError("not yours"))
    monkeypatch.setattr(shutil, "rmtree", refuse)
    checkpoints.save(STATE, {"step": 3}, step=3, best_step=2)
    with pytest.raises(OSError, match=r"00000001 is needed no more .*not yours.* it goes on from"):
        checkpoints.wait()
    assert checkpoints.steps() == [1, 2, 3]


def test_metadata_that_no_run_wrote_are_told(tmp_path: Path):
    whole = {name: kind() for name, kind in METADATA.items()} | {"versions": {"commit": "a"}}
    check_metadata(tmp_path, whole)
    lacking = {name: value for name, value in whole.items() if name != "best_step"}
    for wrong in (lacking, whole | {"step": "7"}, whole | {"versions": {}}, [], None):
        with pytest.raises(ValueError, match=f"{tmp_path} is damaged .* bring back a copy"):
            check_metadata(tmp_path, wrong)


def test_a_save_without_its_manifest_does_not_exist(tmp_path: Path):
    checkpoints = saved(tmp_path, 1, 2, best=1)
    (tmp_path / "00000002" / "manifest.json").unlink()
    assert checkpoints.steps() == [1]
    checkpoints.save(STATE, {"step": 2}, step=2, best_step=1)  # the same step again
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2]


def test_a_save_without_its_manifest_is_told(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.unfinished() == []
    (tmp_path / "00000003").mkdir()
    assert checkpoints.unfinished() == [tmp_path / "00000003"]
    checkpoints.close()


def test_the_manifest_lists_every_file(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"abc")
    write_manifest(tmp_path)
    sha256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest == {"deep/file": [3, sha256_of_abc]}


def test_failed_write_is_raised_and_leaves_the_rest(tmp_path: Path, monkeypatch):
    checkpoints = saved(tmp_path, 1, best=1)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ifgan_jax.checkpoint.write_manifest", full)
    checkpoints.save(STATE, {"step": 2}, step=2, best_step=1)
    with pytest.raises(OSError, match=r"00000002 could not be written.*No space left.*Make room"):
        checkpoints.wait()
    assert checkpoints.steps() == [1]


def test_a_write_that_fails_at_once_is_told_the_same_way_and_closing_hides_it_not(
    tmp_path: Path, monkeypatch
):
    def full(self: ocp.AsyncCheckpointer, *args: object, **kwargs: object) -> None:
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(ocp.AsyncCheckpointer, "save", full)
    monkeypatch.setattr(ocp.AsyncCheckpointer, "close", full)
    with (
        pytest.raises(OSError, match=r"00000001 could not be written.*No space left.*Make room"),
        contextlib.closing(Checkpoints(tmp_path)) as checkpoints,
    ):
        checkpoints.save(STATE, {"step": 1}, step=1, best_step=1)


def test_trees_of_weights(tmp_path: Path):
    save_tree(tmp_path / "weights", {"kernel": jnp.ones((2, 2))})
    loaded = restore_tree(tmp_path / "weights", {"kernel": jnp.zeros((2, 2))})
    np.testing.assert_array_equal(loaded["kernel"], np.ones((2, 2)))
    with pytest.raises(ValueError, match="are not this network's"):
        restore_tree(tmp_path / "weights", {"other": jnp.zeros((2, 2))})
    with pytest.raises(ValueError, match="are not this network's"):
        restore_tree(tmp_path / "weights", {"kernel": jnp.zeros((3, 2))})
    with pytest.raises(FileNotFoundError, match="no weights at"):
        restore_tree(tmp_path / "absent", {"kernel": jnp.zeros((2, 2))})
