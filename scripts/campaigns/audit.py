"""What reading a file never does: write elsewhere, start a program, unpickle, connect.

Seen by Python's audit events, before they happen. Other code raises none: what TensorFlow,
TensorStore or FFmpeg do by themselves shows only in the folders that `tries` looks at.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WRITTEN = {  # event → which of its arguments is the path
    "os.mkdir": 0, "os.truncate": 0, "shutil.rmtree": 0, "os.rename": 1, "os.link": 1,
    "os.symlink": 1,
}  # fmt: skip
NEVER = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "socket.connect",
)  # fmt: skip
UNPACKERS = ("unrar", "unar", "7z", "7zz", "bsdtar")  # rarfile asks them for packed members
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_folder: Path | None = None  # where the try that is being made may write
_seen: list[str] = []


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Within: a list of what is done that never should be.

    folder: the real path, without links, of where files may be written.
    """
    global _folder
    _add_hook()
    _seen.clear()
    bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # of modules that a library imports when first asked
    _folder = folder
    try:
        yield _seen
    finally:
        _folder = None
        sys.dont_write_bytecode = bytecode


@functools.cache
def _add_hook() -> None:
    """Once in a process: hooks cannot be taken away."""
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if _folder is None:
        return
    if event in NEVER:
        _seen.append(f"{event} {arguments!r}")
    elif event == "subprocess.Popen" and os.path.basename(arguments[0]) not in UNPACKERS:
        _seen.append(f"{event} {arguments[:2]!r}")
    elif event == "open" and arguments[2] & WRITING:
        _look_at_path(event, arguments[0])
    elif event in WRITTEN:
        _look_at_path(event, arguments[WRITTEN[event]])


def _look_at_path(event: str, path: Any) -> None:
    if isinstance(path, int) or path == os.devnull:  # an int: of an open file
        return
    name = os.fsdecode(path)
    if "\0" not in name and not Path(os.path.realpath(name)).is_relative_to(_folder or ""):
        _seen.append(f"{event} {name}")
