"""Files that somebody else may have written or damaged, read with clear errors: JSON, .npz, PNG.

Nothing that a file holds is run (no pickle), and no array takes more memory than its file has.
"""

import contextlib
import io
import json
import math
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# What code meets that takes a file's content to be of the right form: a list in place of a mapping,
# a missing key, a number of 400 digits, 100,000 brackets in one another.
MALFORMED = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
)
LARGEST = 2**30  # bytes of one file: a video of MMI has some 10 MB


@contextlib.contextmanager
def of_file(path: Path, remedy: str) -> Iterator[None]:
    """Within: whatever malformed content raises becomes a ValueError naming the file and remedy."""
    try:
        yield
    except MALFORMED as error:
        raise ValueError(f"{path} is damaged ({error!r}): {remedy}") from error


def open_file(path: Path) -> io.BufferedReader:
    """A file to be read; FileNotFoundError for what is none: a pipe would have one wait."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileNotFoundError(f"{path} is no file")
    return path.open("rb")


def read_file(path: Path) -> bytes:
    """A file's content; OSError when it cannot be read, is none or too large."""
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST:
            raise OSError(f"{path} has more than {LARGEST} bytes")
        return file.read()


def check_writable(folder: Path) -> None:
    """Make `folder` and see that files can be written there; leaves none. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file. Raises OSError, or ValueError naming the file."""
    with of_file(path, remedy):
        content = json.loads(read_file(path))
        if not isinstance(content, dict):
            raise TypeError(f"a {type(content).__name__} in place of an object")
        return content


def read_png(path: Path, remedy: str) -> bytes | None:
    """The bytes of a picture, None where there is none.

    Raises OSError, or ValueError naming what is no PNG, or a link.
    """
    check_no_link(path)
    if not path.exists():
        return None
    content = read_file(path)
    if not content.startswith(b"\x89PNG"):
        raise ValueError(f"{path} is no PNG: {remedy}")
    return content


def check_no_link(path: Path) -> None:
    """ValueError for a link: a page that is given away would show what it was not meant to."""
    if path.is_symlink():
        raise ValueError(f"{path} is a link: put the file itself there")


def read_arrays(path: Path, dtypes: Mapping[str, str], remedy: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz as `numpy.savez` writes it: these names, of these types.

    Members are stored as they are, never compressed, and read no further than the file goes.
    Raises OSError for a file that cannot be opened, or ValueError naming it.
    """
    with open_file(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return {name: _array(archive, name, dtype) for name, dtype in dtypes.items()}
        except Exception as error:  # zipfile and numpy raise whatever they meet
            raise ValueError(f"{path} is damaged ({error!r}): {remedy}") from error


def _array(archive: zipfile.ZipFile, name: str, dtype: str) -> np.ndarray:
    if archive.getinfo(f"{name}.npy").compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with archive.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"{name} has version {version} of numpy's format")
        shape, by_columns, found = np.lib.format.read_array_header_1_0(stream)
        if found != np.dtype(dtype):
            raise ValueError(f"{name} is {found}, needs {np.dtype(dtype)}")
        content = stream.read()
    if len(content) != math.prod(shape) * found.itemsize:
        raise ValueError(f"{name} has {len(content)} bytes for the shape {shape}")
    return np.frombuffer(content, found).reshape(shape, order="F" if by_columns else "C").copy()
