"""The records of a TFDS builder: written once, read one after another, with errors that help."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any


def write_records(builder: Any, manual_dir: str | None = None) -> None:
    """Make a builder's examples, unless they are there; nothing is ever downloaded.

    Several processes may do so at once: the first that is done leaves its examples.

    manual_dir: folder with what the builder reads. Raises what the builder does.
    """
    import tensorflow_datasets as tfds  # a reader needs none

    tfds.disable_progress_bar()  # ours knows the total
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS would say that it downloads
        try:
            builder.download_and_prepare(download_config=config)
        except FileExistsError:  # TFDS cannot rename its folder: another process was first
            if not builder.data_path.exists():
                raise
    if not builder.info.splits:  # written by another process since the builder was made
        builder.info.read_from_directory(builder.data_path)


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
