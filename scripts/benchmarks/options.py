"""Flags that all commands have."""

from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from scripts.benchmarks import sizes

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "File with get_config(), in place of --size.",
    lock_config=True,
    allow_override=True,  # the tests import a command beside another script, as no program does
)
SIZE = flags.DEFINE_enum("size", None, sizes.NAMES, "What is measured, where no --config is given.")
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "JSON file to write; by default runs/benchmarks/<command>_<size>.json.",
    allow_override=True,
)


class Chosen(NamedTuple):
    """A config and what the results call it."""

    name: str
    config: ConfigDict


def chosen(default: str = "demo") -> Chosen:
    """--config or --size. Raises ValueError when both are given."""
    if CONFIG.value is None:
        name = SIZE.value or default
        return Chosen(name, sizes.get_config(name))
    if SIZE.value is not None:
        raise ValueError("--size and --config: give one of them")
    return Chosen(config_flags.get_config_filename(flags.FLAGS["config"]), CONFIG.value)


def numbers(flag: str, texts: list[str]) -> list[int]:
    """The positive numbers of a list flag. Raises ValueError naming it."""
    for text in texts:
        if not text.isdecimal() or not int(text):
            raise ValueError(f"--{flag}: {text!r} is no positive number")
    return sorted({int(text) for text in texts})
