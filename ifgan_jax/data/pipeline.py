"""tf.data: from faces in memory to numpy batches on one host.

Images uint8 (b, h, w, c), grey levels in [0, 255]; labels int32. b is the host's share of the
global batch B: host p of n reads its contiguous part, rows p·B/n to (p+1)·B/n - 1, so a global
batch is the same images in the same order whatever the number of hosts. `Faces` is the cache: an
epoch is a table of row numbers, for which tf.data reads ahead, by indexing: a tensor of the images
would be a copy of them, and of a mapped file all of it. Never sees a mesh, a device or JAX.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from ifgan_jax.data.faces import Faces
from ifgan_jax.data.protocol import Expression

_PREFETCHED = 2  # batches read ahead: one in use, one ready
_PADDING = -1  # the row number of an example that only fills the last evaluation batch


@dataclasses.dataclass(frozen=True, eq=False)
class HostBatch:
    """One host's share of a global batch. Rows of index -1 fill up and show example 0."""

    image: UInt8[np.ndarray, "b h w c"]
    label: Int32[np.ndarray, " b"]
    index: Int32[np.ndarray, " b"]  # row in the data set; -1 on padding, never in training


def train_epoch(
    faces: Faces,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    start_batch: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[HostBatch]:
    """The shuffled batches start_batch, start_batch + 1, … of an epoch.

    The shuffled tail smaller than a batch is left out: num_left_out(...) examples, other ones in
    each epoch (docs/decisions.md, row x). Batch n is a function of (seed, epoch, n): an interrupted
    epoch goes on at its start_batch with what the unbroken one would have seen.

    Args:
        batch_size: examples in the global batch, over all hosts.
        start_batch: batches of this epoch already used; num_batches(...) gives no more batches.

    Raises:
        ValueError: batch_size above the number of examples or not divisible by process_count,
            start_batch or process_index out of range.
    """
    _check_sizes(batch_size, process_index, process_count, largest=len(faces))
    count = num_batches(len(faces), batch_size, keep_tail=False)
    if not 0 <= start_batch <= count:
        raise ValueError(
            f"start_batch={start_batch}, but the epoch has {count} batches: was the position saved "
            "with another data set or batch size?"
        )
    order = epoch_order(len(faces), seed, epoch)[: count * batch_size]
    batches = order.reshape(count, batch_size)[start_batch:]
    return _read(faces, batches, process_index, process_count)


def eval_batches(
    faces: Faces, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[HostBatch]:
    """Every example once, in order; the last batch is filled up.

    Raises:
        ValueError: batch_size not divisible by process_count, process_index out of range.
    """
    _check_sizes(batch_size, process_index, process_count)
    count = num_batches(len(faces), batch_size, keep_tail=True)
    order = np.full(count * batch_size, _PADDING)
    order[: len(faces)] = np.arange(len(faces))
    return _read(faces, order.reshape(count, batch_size), process_index, process_count)


def num_batches(num_examples: int, batch_size: int, *, keep_tail: bool) -> int:
    """Batches of an epoch: training leaves the tail out, evaluation keeps it."""
    return (num_examples + (batch_size - 1 if keep_tail else 0)) // batch_size


def num_left_out(num_examples: int, batch_size: int) -> int:
    """Examples that each training epoch leaves out, to be reported by the run."""
    return num_examples % batch_size


def epoch_order(num_examples: int, seed: int, epoch: int) -> Int64[np.ndarray, " n"]:
    """A permutation that is a pure function of (seed, epoch).

    The order of PCG64's raw 64-bit draws, whose stream numpy guarantees, unlike that of
    `Generator.permutation` (NEP 19): a run can be resumed under another numpy.
    """
    draws = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(num_examples)
    return np.argsort(draws, kind="stable")


def fake_faces(
    num: int, size: int, num_subjects: int, seed: int, num_classes: int = len(Expression)
) -> Faces:
    """Made-up faces for tests and benchmarks: (num, size, size, 1), the spec of the real ones.

    Expression k is a pattern of k + 1 half waves from top to bottom, which a flip from left to
    right does not change; each subject has its own brightness, each image its own noise. Labels run
    fastest, then subjects: num_classes · num_subjects examples have each pair once. From size 8
    on all seven patterns are orthogonal.
    """
    rng = np.random.default_rng(seed)
    row = np.arange(num)
    labels = row % num_classes
    subjects = row // num_classes % num_subjects
    height = (np.arange(size) + 0.5) / size
    waves = 60 * np.cos(np.pi * np.outer(np.arange(num_classes) + 1, height))
    columns = rng.uniform(108, 148, (num_subjects, 1, 1)) + waves  # subject, class, height
    noise = rng.integers(-20, 21, (num, size, size), dtype=np.int16)
    images = np.rint(columns).astype(np.int16)[subjects, labels, :, None] + noise  # in [28, 228]
    return Faces(
        images=images[..., None].astype(np.uint8),
        labels=labels.astype(np.int32),
        subjects=np.array([f"fake{subject:04d}" for subject in subjects]),
        sequences=np.array([f"{take:03d}" for take in row // (num_classes * num_subjects)]),
        frames=np.zeros(num, np.int32),
        intensities=np.ones(num, np.float32),
    )


def _read(
    faces: Faces, batches: Int64[np.ndarray, "n b"], process_index: int, process_count: int
) -> Iterator[HostBatch]:
    """This host's columns of a table of example rows, read ahead by tf.data."""
    from ifgan_jax.data.host_tensorflow import tf  # takes seconds: not before anything is read

    share = batches.shape[1] // process_count
    mine = batches[:, process_index * share : (process_index + 1) * share].astype(np.int32)

    def read(index: Int32[np.ndarray, " b"]) -> tuple[np.ndarray, np.ndarray]:
        example = np.maximum(index, 0)
        return faces.images[example], faces.labels[example]

    @tf.autograph.experimental.do_not_convert  # there is no Python in it to be converted
    def batch(index: tf.Tensor) -> dict[str, tf.Tensor]:
        image, label = tf.numpy_function(read, [index], (tf.uint8, tf.int32), stateful=False)
        return {"image": image, "label": label, "index": index}

    dataset = tf.data.Dataset.from_tensor_slices(mine).map(batch).prefetch(_PREFETCHED)
    return (HostBatch(**batch) for batch in dataset.as_numpy_iterator())


def _check_sizes(
    batch_size: int, process_index: int, process_count: int, largest: int | None = None
) -> None:
    """Raise unless batch_size is at most `largest` (if any) and splits evenly over the hosts."""
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index}: choose 0 to {process_count - 1}.")
    limit = max(batch_size, 0) + process_count if largest is None else largest
    working = range(process_count, limit + 1, process_count)
    if batch_size not in working:
        below = [size for size in working if size < batch_size][-1:]
        above = [size for size in working if size > batch_size][:1]
        raise ValueError(
            f"batch_size={batch_size} does not work with {process_count} hosts"
            + ("" if largest is None else f" and {largest} training examples")
            + f"; nearest sizes that work: {' and '.join(map(str, below + above)) or 'none'}."
        )
