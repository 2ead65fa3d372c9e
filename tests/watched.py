"""Targets that go wrong, for test_fuzz: here, as the process that tries them imports this alone."""

import os
import time
from pathlib import Path

import numpy as np

from scripts.campaigns.mutations import Random
from scripts.campaigns.tries import Attempt


def moody(folder: Path) -> Attempt:
    """Dies in try 3, hangs in try 5."""

    def attempt(rng: Random) -> None:
        number = [np.random.default_rng([9, i]).random() for i in range(8)].index(rng.random())
        if number == 3:
            os._exit(17)
        if number == 5:
            time.sleep(20)

    return attempt


def by_the_way(folder: Path) -> Attempt:
    """Makes something where it stands, as code in a file would."""
    return lambda rng: Path("ran").mkdir()


def hungry(folder: Path) -> Attempt:
    """Blames the file when it gets no more memory."""

    def attempt(rng: Random) -> None:
        try:
            bytearray(3 * 2**30).count(1)
        except MemoryError as error:
            raise ValueError("file.txt is damaged") from error

    return attempt
