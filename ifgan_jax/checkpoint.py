"""Checkpoints of a run: orbax, written in the background, verified by a manifest when read.

    checkpoints/00000120/state/…        the GanState, as orbax writes arrays
    checkpoints/00000120/metadata/…     JSON: step, validation, classes, data hash, versions
    checkpoints/00000120/manifest.json  size and SHA-256 of every file, written last

A folder without a manifest is a save that was cut short; one whose files differ from theirs is
damaged (orbax alone restores a flipped byte without a word). Neither is ever restored.

Of several processes each writes and reads its part of the arrays, on a disk that all share; the
first one writes the manifest and drops old checkpoints.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import orbax.checkpoint as ocp

from ifgan_jax import hosts
from ifgan_jax.files import MALFORMED, of_file, open_file, read_file

LOGGER = logging.getLogger(__name__)

MANIFEST = "manifest.json"
# What a run's checkpoints tell of it beside the state.
METADATA = {
    "step": int,
    "best_step": int,  # 0 before the first validation
    "best_accuracy": float,
    "class_names": list,
    "config_hash": str,
    "data_hash": str,
    "folds_hash": str,
    "versions": dict,
}
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
STEP = re.compile(r"\d{8,}")  # names of whole checkpoints; other files are left alone
# Orbax would make folders in the background, too; where it cannot (a disk that is full or was made
# read-only), what waits for them keeps the process from its end for five minutes.
FOLDERS_FIRST = ocp.options.AsyncOptions(create_directories_asynchronously=False)
Tree = TypeVar("Tree")


class DamagedCheckpointError(ValueError):
    """A checkpoint whose files are not those that were saved."""


def whole_steps(directory: Path) -> list[int]:
    """Steps of the completely written checkpoints of a run, oldest first; names alone are read."""
    folders = (path.parent.name for path in directory.glob(f"*/{MANIFEST}"))
    return sorted(int(name) for name in folders if STEP.fullmatch(name))


def folder_of(directory: Path, step: int) -> Path:
    """Where the checkpoint of a step lies, or would."""
    return directory / f"{step:08d}"


class Checkpoints:
    """The checkpoints of one run; keeps the best and the last two.

    `save` returns as soon as folders are made and the arrays copied off the device; a failed write
    (a full disk, say) is raised by it, or the next `save` or `wait`, and leaves the earlier
    checkpoints as they were.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: concurrent.futures.Future | None = None
        items = ocp.CompositeOptions(async_options=FOLDERS_FIRST)
        handler = ocp.CompositeCheckpointHandler(composite_options=items)
        self._orbax = ocp.AsyncCheckpointer(handler, async_options=FOLDERS_FIRST)

    def save(self, state: Any, metadata: dict[str, Any], *, step: int, best_step: int) -> None:
        """Start writing checkpoint `step`; then drop all but `best_step` and the last two."""
        self.wait()
        path = self._path(step)
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state), metadata=ocp.args.JsonSave(dict(metadata))
        )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._orbax.save(path, args=arguments, force=True)
        except Exception as error:  # orbax wraps a full disk in errors of its own
            raise OSError(_advice(path, error)) from error
        self._pending = self._writer.submit(self._finish, step, best_step)

    def wait(self) -> None:
        """Return when the save under way is on disk, its manifest included."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Finish the save under way and stop the writer."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()
            with contextlib.suppress(Exception):  # of a save whose failure `save` or `wait` raised
                self._orbax.close()

    def steps(self) -> list[int]:
        """Steps of the completely written checkpoints, oldest first."""
        return whole_steps(self.directory)

    def unfinished(self) -> list[Path]:
        """Folders without a manifest: saves that were cut short, or copies that lack it."""
        found = self.directory.iterdir() if self.directory.exists() else iter(())
        kept = (path for path in found if STEP.fullmatch(path.name))
        return sorted(path for path in kept if not (path / MANIFEST).exists())

    def restore(self, template: Tree, *, step: int) -> tuple[Tree, dict[str, Any]]:
        """State and metadata of checkpoint `step` of the first process, placed like `template`.

        template: a state, or `jax.ShapeDtypeStruct`s with shardings. Raises
        DamagedCheckpointError, in all processes, when a file is missing or differs from the
        manifest, ValueError when what was saved is no such state, and OSError naming the file when
        the disk cannot be read, which is no damage: what lies there may be whole.
        """
        path = self._path(hosts.of_first(step))  # others may read an old list from a network disk
        damage = None
        try:
            verify(path)
        except DamagedCheckpointError as error:
            damage = error
        if bool(hosts.any_process(damage is not None)):
            raise damage or DamagedCheckpointError(
                f"checkpoint {path}: another process found it so"
            )
        arguments = ocp.args.Composite(
            state=ocp.args.StandardRestore(template), metadata=ocp.args.JsonRestore()
        )
        try:
            restored = self._orbax.restore(path, args=arguments)
        except Exception as error:  # orbax and its readers raise whatever they meet
            raise ValueError(
                f"checkpoint {path} is whole, but cannot be read as this config's state ({error}): "
                "was it saved by another config, or by other versions (versions.json)?"
            ) from error
        return restored["state"], restored["metadata"]

    def restore_latest(self, template: Tree) -> tuple[Tree, dict[str, Any]]:
        """The newest checkpoint that is whole; says what it passed over.

        Raises DamagedCheckpointError when none is, else as `restore` does.
        """
        for step in reversed(self.steps()):
            try:
                return self.restore(template, step=step)
            except DamagedCheckpointError as error:
                LOGGER.warning("%s; trying the one before", error)
        raise DamagedCheckpointError(
            f"{self.directory} has no whole checkpoint: bring back a copy of one, or delete the "
            "folder of the run to start anew"
        )

    def _path(self, step: int) -> Path:
        return folder_of(self.directory, step)

    def _finish(self, step: int, best_step: int) -> None:
        """In the background: wait for orbax, write the manifest, drop old checkpoints."""
        path = self._path(step)
        try:
            self._orbax.wait_until_finished()  # until all processes have written
            if hosts.is_first():
                write_manifest(path)
        except Exception as error:  # as in `save`
            raise OSError(_advice(path, error)) from error
        if hosts.is_first():
            self._drop_all_but({best_step, *[s for s in self.steps() if s <= step][-2:]})
        hosts.barrier(f"checkpoint {path.name}")

    def _drop_all_but(self, kept: set[int]) -> None:
        for folder in self.directory.iterdir():
            unfinished = "orbax-checkpoint-tmp" in folder.name
            if unfinished or (STEP.fullmatch(folder.name) and int(folder.name) not in kept):
                try:
                    folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
                except OSError as error:
                    raise OSError(
                        f"{folder} is needed no more and could not be removed ({error}): see to "
                        "the cause, or remove it, and start the same command again: it goes on "
                        "from the last checkpoint"
                    ) from error


def _advice(path: Path, error: Exception) -> str:
    there = next(parent for parent in path.parents if parent.exists())
    free = shutil.disk_usage(there).free / 2**20
    return (
        f"checkpoint {path} could not be written ({error}); {free:.0f} MiB are free there. Make "
        "room, or see to the cause, and start the same command again: it goes on from the "
        "checkpoint before"
    )


def write_manifest(path: Path) -> None:
    """Write `path`/manifest.json, the last act of a save: atomic, so it survives a kill."""
    files = {}
    for file in _files(path):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        files[file.relative_to(path).as_posix()] = [file.stat().st_size, digest]
    partial = path / (MANIFEST + ".partial")
    with partial.open("w") as stream:
        json.dump(files, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(path / MANIFEST)


def verify(path: Path) -> None:
    """Raise DamagedCheckpointError unless `path` holds exactly what its manifest lists.

    Raises OSError naming the file when the disk cannot be read.
    """
    try:
        with _readable(path / MANIFEST):
            files = {
                name: (int(size), str(digest))
                for name, (size, digest) in json.loads(read_file(path / MANIFEST)).items()
            }
    except (*ABSENT, *MALFORMED) as error:
        raise DamagedCheckpointError(f"checkpoint {path}: no readable {MANIFEST}") from error
    with _readable(path):
        present = {file.relative_to(path).as_posix() for file in _files(path)}
    if odd := present.symmetric_difference([MANIFEST, *files]):
        raise DamagedCheckpointError(f"checkpoint {path}: missing or extra file {min(odd)}")
    for name, (size, digest) in files.items():
        try:
            with _readable(path / name), open_file(path / name) as file:
                whole = (
                    os.fstat(file.fileno()).st_size == size  # first: a grown file is not read
                    and hashlib.file_digest(file, "sha256").hexdigest() == digest
                )
        except ABSENT as error:
            raise DamagedCheckpointError(f"checkpoint {path}: {name}: {error}") from error
        if not whole:
            raise DamagedCheckpointError(f"checkpoint {path}: {name} is damaged")


def _files(path: Path) -> list[Path]:
    """All files below, in order. Raises OSError for a folder that cannot be listed."""

    def refuse(error: OSError) -> None:
        raise error

    found = os.walk(path, onerror=refuse)
    return sorted(Path(folder, name) for folder, _, names in found for name in names)


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """An OSError of the disk, not of what lies there, names the file and the remedy."""
    try:
        yield
    except ABSENT:
        raise
    except OSError as error:
        raise OSError(
            f"{file} cannot be read ({error}); it may be whole. See to the disk, then start the "
            "same command again; without that checkpoint's folder it goes on from the one before"
        ) from error


def check_metadata(folder: Path, metadata: Any) -> None:
    """ValueError naming the folder unless `metadata` is what a run's checkpoints hold."""
    with of_file(folder, "bring back a copy of its checkpoint, or use a new workdir"):
        for name, kind in METADATA.items():
            if not isinstance(metadata[name], kind):
                raise TypeError(f"{name} is {metadata[name]!r}")
        str(metadata["versions"]["commit"])


def save_tree(path: Path, tree: Any) -> None:
    """Write a tree of arrays as one orbax folder with a manifest, such as converted weights."""
    with ocp.StandardCheckpointer(async_options=FOLDERS_FIRST) as checkpointer:
        checkpointer.save(path.absolute(), tree)
    write_manifest(path)


def restore_tree(path: Path, template: Tree) -> Tree:
    """The tree at `path`, with `template`'s structure, shapes and types.

    Raises FileNotFoundError, DamagedCheckpointError when a file is not what `save_tree` wrote,
    OSError naming one that cannot be read, and ValueError when the folder holds another tree.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"no weights at {path}")
    verify(path)
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            return checkpointer.restore(path.absolute(), template)
        except Exception as error:
            raise ValueError(f"the weights at {path} are not this network's: {error}") from error
