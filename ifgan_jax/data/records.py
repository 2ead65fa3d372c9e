"""Reading the records that a TFDS builder has written, one after another, with errors that help."""

from collections.abc import Iterator
from typing import Any


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
