"""The records of a TFDS builder: written once, read one after another, with errors that help."""

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ifgan_jax.files import check_writable
from ifgan_jax.workdir import told

DISK = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)]
AGAIN = "the examples are made anew"


def write_records(builder: Any, manual_dir: str | None = None) -> None:
    """Make a builder's examples, unless they are there; nothing is ever downloaded.

    Several processes may do so at once: the first that is done leaves its examples.

    manual_dir: folder with what the builder reads. Raises what the builder does, and OSError naming
    the folder that cannot be written, before anything is made if that can be seen.
    """
    import tensorflow_datasets as tfds  # a reader needs none

    tfds.disable_progress_bar()  # ours knows the total
    folder = Path(builder.data_dir)
    if not folder.exists():
        with told(folder, AGAIN):
            check_writable(folder.parent)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS would say that it downloads
        try:
            builder.download_and_prepare(download_config=config)
        except FileExistsError:  # TFDS cannot rename its folder: another process was first
            if not folder.exists():
                raise
        except Exception as error:  # each writer of TFDS has its own kind, and names no folder
            if not any(text in str(error) for text in DISK):
                raise
            with told(folder, AGAIN):
                raise OSError(error) from error
    if not builder.info.splits:  # written by another process since the builder was made
        builder.info.read_from_directory(folder)


def read_records(builder: Any, split: str, expected: int, remedy: str) -> Iterator[dict[str, Any]]:
    """The decoded examples of a split, in their order on disk.

    Raises:
      ValueError: a record is damaged or missing; names the folder, the example and the remedy.
    """
    try:
        source = builder.as_data_source(split=split)
        found = len(source)
    except Exception as error:  # TFDS names no file
        raise ValueError(f"{builder.data_dir}: cannot be opened ({error}); {remedy}") from error
    if found != expected:
        raise ValueError(f"{builder.data_dir}: {found} examples, expected {expected}; {remedy}")
    for i in range(expected):
        try:
            example = source[i]
        except Exception as error:
            raise ValueError(
                f"{builder.data_dir}: example {i} cannot be read ({error}); {remedy}"
            ) from error
        yield example
