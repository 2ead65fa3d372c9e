"""Bad input made of a seed: valid files with mutations, and texts that are nearly of a grammar."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Random = np.random.Generator

# How files of other kinds begin; the last two are pickles.
MAGIC = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"RIFF",
    b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3", b"PK\x03\x04", b"PK\x05\x06", b"Rar!\x1a\x07\0",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x93NUMPY\x01\0", b"<?xml", b"\x1f\x8b",
    b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"(", b"\x80\x02", b"\x80\x04",
)  # fmt: skip
EDGES = tuple(
    value for bits in (0, 7, 8, 15, 16, 24, 31, 32, 40, 62, 63, 64) for value in
    (2**bits - 1, 2**bits, 2**bits + 1)
)  # fmt: skip
DIGITS = (b"0", b"-1", b"8", b"nan", b"inf", b"1e999", b"0x10", b"9" * 30, b"9" * 5000, b"3.5")
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 10**400, 0.5, -1e300, float("nan"), float("inf"), "", "0",
    "../..", "/etc/passwd", "\0", "ä\u202e", "x" * 3000, [], [[]], [1, "a"], {}, {"a": 1}, {"": []},
)  # fmt: skip
DEEP = 100_000  # brackets in one another: more than any reader's stack holds


def below(rng: Random, limit: int) -> int:
    """0 to limit - 1, and 0 of nothing."""
    return int(rng.integers(limit)) if limit > 1 else 0


def one_of(rng: Random, choices: Sequence[Any]) -> Any:
    return choices[below(rng, len(choices))]


def mutate(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """`content` after up to four mutations, every fifth as it is; `others` are spliced in."""
    made = bytearray(content)
    for _ in range(below(rng, 5)):
        one_of(rng, MUTATIONS)(rng, made, others)
    return bytes(made)


def _flip_bits(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    for _ in range(1 + below(rng, 8) if made else 0):
        made[below(rng, len(made))] ^= 1 << below(rng, 8)


def _truncate(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    del made[below(rng, len(made)) :]


def _cut(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    start = below(rng, len(made))
    del made[start : start + 1 + below(rng, 32)]


def _splice(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    other = one_of(rng, others)
    made[below(rng, len(made)) :] = other[below(rng, len(other)) :]


def _repeat(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    start = below(rng, len(made))
    made[start:start] = made[start : start + 1 + below(rng, 200)] * (1 + below(rng, 9))


def _insert(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    start = below(rng, len(made))
    made[start:start] = rng.bytes(1 + below(rng, 16))


def _other_kind(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    magic = one_of(rng, MAGIC)
    made[: len(magic)] = magic


def _length_field(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    """A number at the edge of its type over 1 to 8 bytes, somewhere."""
    size = one_of(rng, (1, 2, 4, 8))
    start = below(rng, len(made) - size)
    number = one_of(rng, EDGES) % 2 ** (8 * size)
    made[start : start + size] = number.to_bytes(size, one_of(rng, ("little", "big")))


def _number(rng: Random, made: bytearray, others: Sequence[bytes]) -> None:
    """A written number becomes another one."""
    places = [i for i, byte in enumerate(made[:4096]) if 48 <= byte <= 57]
    if places:
        start = one_of(rng, places)
        made[start : start + 1] = one_of(rng, DIGITS)


MUTATIONS: tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip_bits, _truncate, _cut, _splice, _repeat, _insert, _other_kind, _length_field, _number,
)  # fmt: skip


def bad_json(rng: Random, content: Any) -> bytes:
    """JSON of which up to three values are odd or gone; of every third the bytes are mutated."""
    made = json.loads(json.dumps(content))
    for _ in range(below(rng, 4)):
        made = _odd_value(rng, made)
    text = json.dumps(made).encode()
    if below(rng, 3) == 0:
        text = mutate(rng, text, [text])
    if below(rng, 500) == 0:
        text = text.replace(b":", b":" + b"[" * DEEP, 1)
    return text


def _odd_value(rng: Random, made: Any) -> Any:
    """Down a random way; what is met there becomes odd, or is dropped."""
    if not isinstance(made, dict | list) or not made or below(rng, 8) == 0:
        return copy.deepcopy(one_of(rng, ODD))
    key = one_of(rng, list(made) if isinstance(made, dict) else range(len(made)))
    if below(rng, 6) == 0:
        del made[key]
    elif isinstance(made, dict) and below(rng, 12) == 0:
        made[one_of(rng, ("", "new", "../x", key + "s"))] = made.pop(key)
    else:
        made[key] = _odd_value(rng, made[key])
    return made


def nearly(rng: Random, words: Sequence[bytes], most: int) -> bytes:
    """Words of a file's language in a random order, each as it is or, rarely, mutated."""
    chosen = [one_of(rng, words) for _ in range(below(rng, most))]
    return b"".join(
        mutate(rng, word, words) if word and below(rng, 12) == 0 else word for word in chosen
    )
