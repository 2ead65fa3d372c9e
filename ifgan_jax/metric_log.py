"""What each step logs, to metrics.jsonl and to TensorBoard's files beside it."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ifgan_jax.workdir import read_metrics, told, write_text


class MetricLog:
    """metrics.jsonl and TensorBoard; opened at `step`, it forgets what was logged after it.

    A resumed run thus logs every step once, in order, whenever the one before was cut off. Both
    files are written here and now: a writer with a thread of its own waits for ever once its disk
    is full. Raises OSError naming the file and the remedy when a row cannot be written.

    TensorBoard reads the files of a run by name, so that each start's has a number: by the time
    alone, a clock that was set back would put the rows of a resumed run before those it replaces,
    or in their very file.
    """

    def __init__(self, workdir: Path, step: int) -> None:
        from ifgan_jax.data.host_tensorflow import tf  # takes seconds: not before anything is read

        self._tf, self._path = tf, workdir / "metrics.jsonl"
        rows = [row for row in read_metrics(workdir) if row["step"] <= step]
        with self._told():
            write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
            self._file = self._path.open("a")
            board = workdir / "tensorboard"
            board.mkdir(exist_ok=True)
            name = f"events{len(list(board.iterdir())):04d}.out.tfevents.{step}"
            self._board = tf.io.TFRecordWriter(str(board / name))
            self._show(step=0, file_version="brain.Event:2")
            # TensorBoard drops what it has from here on
            session = tf.compat.v1.SessionLog
            self._show(step=step + 1, session_log=session(status=session.START))

    def write(self, row: dict[str, int | float]) -> None:
        """Append one step's row; it holds `step`, `epoch` and named terms."""
        summary = self._tf.compat.v1.Summary
        terms = [summary.Value(tag=k, simple_value=v) for k, v in row.items() if "/" in k]
        with self._told():
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            self._show(step=int(row["step"]), summary=summary(value=terms))

    def _show(self, **content: Any) -> None:
        event = self._tf.compat.v1.Event(wall_time=time.time(), **content)
        self._board.write(event.SerializeToString())

    def sync(self) -> None:
        """Return when every row is on disk: before a checkpoint that follows them."""
        with self._told():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._board.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        with told(f"{self._path} or tensorboard beside it"):
            try:
                yield
            except self._tf.errors.OpError as error:  # TensorFlow's file errors are no OSErrors
                raise OSError(error.message) from error

    def close(self) -> None:
        """Close both files; what a full disk refused has been told by `write` or `sync`."""
        for file in (self._file, self._board):
            with contextlib.suppress(OSError, self._tf.errors.OpError):
                file.close()


class SilentLog(MetricLog):
    """The log of every process but the first: it keeps nothing."""

    def __init__(self) -> None:
        pass

    def write(self, row: dict[str, int | float]) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass
