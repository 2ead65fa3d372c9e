"""Host batches: the same for any number of hosts, resumable, complete in evaluation."""

import dataclasses

import numpy as np
import pytest

from ifgan_jax.data.faces import Faces
from ifgan_jax.data.pipeline import (
    HostBatch,
    epoch_order,
    eval_batches,
    fake_faces,
    num_batches,
    num_left_out,
    train_epoch,
)

NUM, BATCH = 22, 4  # five batches, two examples left out


@pytest.fixture(scope="module")
def faces() -> Faces:
    return fake_faces(NUM, 8, num_subjects=4, seed=1)


def assert_same(batch: HostBatch, other: HostBatch) -> None:
    for field in dataclasses.fields(HostBatch):
        ours, theirs = getattr(batch, field.name), getattr(other, field.name)
        np.testing.assert_array_equal(ours, theirs, strict=True)


def join(parts: tuple[HostBatch, ...]) -> HostBatch:
    names = [field.name for field in dataclasses.fields(HostBatch)]
    return HostBatch(*(np.concatenate([getattr(part, n) for part in parts]) for n in names))


def test_batches_hold_the_examples_they_name(faces):
    for batch in train_epoch(faces, batch_size=BATCH, seed=0, epoch=0):
        assert batch.image.dtype == np.uint8
        assert batch.label.dtype == batch.index.dtype == np.int32
        np.testing.assert_array_equal(batch.image, faces.images[batch.index], strict=True)
        np.testing.assert_array_equal(batch.label, faces.labels[batch.index])
        assert (batch.index >= 0).all()


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_global_batches_do_not_depend_on_the_number_of_hosts(faces, hosts):
    """The hosts' parts in order are one host's batch: in training, resumed, and in evaluation."""

    def streams(process_index: int, process_count: int) -> list[HostBatch]:
        host = {"process_index": process_index, "process_count": process_count}
        return [
            *train_epoch(faces, batch_size=BATCH, seed=5, epoch=2, **host),
            *train_epoch(faces, batch_size=BATCH, seed=5, epoch=3, start_batch=2, **host),
            *eval_batches(faces, batch_size=BATCH, **host),
        ]

    whole = streams(0, 1)
    parts = [streams(host, hosts) for host in range(hosts)]
    assert len(whole) == 5 + 3 + 6
    assert all(len(part[0].label) == BATCH // hosts for part in parts)
    for batch, *shares in zip(whole, *parts, strict=True):
        assert_same(join(tuple(shares)), batch)


@pytest.mark.parametrize("start", range(6))
def test_resuming_gives_the_batches_of_the_unbroken_epoch(faces, start):
    unbroken = list(train_epoch(faces, batch_size=BATCH, seed=7, epoch=1))
    resumed = list(train_epoch(faces, batch_size=BATCH, seed=7, epoch=1, start_batch=start))
    assert len(unbroken) == 5
    for batch, other in zip(resumed, unbroken[start:], strict=True):
        assert_same(batch, other)


def indices(faces: Faces, seed: int, epoch: int) -> list[int]:
    batches = train_epoch(faces, batch_size=BATCH, seed=seed, epoch=epoch)
    return np.concatenate([batch.index for batch in batches]).tolist()


def test_order_is_a_function_of_seed_and_epoch(faces):
    assert indices(faces, 0, 0) == indices(faces, 0, 0)
    orders = {tuple(indices(faces, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_order_is_the_same_for_ever():
    """Written down once: a run resumed years later, under another numpy, goes on in this order."""
    assert epoch_order(10, seed=0, epoch=1).tolist() == [7, 4, 5, 1, 9, 8, 6, 2, 0, 3]


def test_every_position_is_equally_likely():
    """Over 2,000 epochs an example is at each of 5 places 400 ± 90 times (5 σ)."""
    orders = np.stack([epoch_order(5, seed=0, epoch=epoch) for epoch in range(2000)])
    counts = np.stack([np.bincount(place, minlength=5) for place in orders.T])
    assert np.abs(counts - 400).max() < 90


def test_training_leaves_the_tail_out_and_counts_it(faces):
    seen = indices(faces, 0, 0)
    assert len(seen) == len(set(seen)) == num_batches(NUM, BATCH, keep_tail=False) * BATCH == 20
    assert num_left_out(NUM, BATCH) == 2
    left_out = {epoch: set(range(NUM)) - set(indices(faces, 0, epoch)) for epoch in range(8)}
    assert {len(rows) for rows in left_out.values()} == {2}
    assert len(set.union(*left_out.values())) > 2  # not the same two each time


def test_evaluation_keeps_the_tail(faces):
    """10 examples, batch 4: three batches, two rows of padding."""
    ten = faces.select(np.arange(10))
    batches = list(eval_batches(ten, batch_size=4))
    assert num_batches(10, 4, keep_tail=True) == len(batches) == 3
    assert batches[2].index.tolist() == [8, 9, -1, -1]
    assert batches[2].image.shape == batches[0].image.shape
    seen = join(tuple(batches))
    real = seen.index >= 0
    np.testing.assert_array_equal(seen.index[real], np.arange(10))
    np.testing.assert_array_equal(seen.image[real], ten.images)
    np.testing.assert_array_equal(seen.label[real], ten.labels)


@pytest.mark.parametrize(("num", "batch", "train", "evaluation"), [(8, 4, 2, 2), (9, 4, 2, 3)])
def test_num_batches(num, batch, train, evaluation):
    assert num_batches(num, batch, keep_tail=False) == train
    assert num_batches(num, batch, keep_tail=True) == evaluation


def test_evaluation_in_one_batch_larger_than_the_set(faces):
    (batch,) = eval_batches(faces, batch_size=64)
    assert (batch.index >= 0).sum() == NUM


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 6, "process_count": 4}, r"batch_size=6 .* 4 hosts .*: 4 and 8\.$"),
        ({"batch_size": 22, "process_count": 4}, r"4 hosts and 22 training examples.*work: 20\.$"),
        ({"batch_size": 23}, r"batch_size=23 does not work .*22 training examples.*work: 22\.$"),
        ({"batch_size": 0}, r"batch_size=0 .*sizes that work: 1\.$"),
        ({"batch_size": 24, "process_count": 24}, r"nearest sizes that work: none\.$"),
        ({"process_index": 2, "process_count": 2}, r"process_index=2: choose 0 to 1\."),
        ({"start_batch": 6}, r"start_batch=6, but the epoch has 5 batches: .*another data set"),
        ({"start_batch": -1}, r"start_batch=-1, but the epoch has 5 batches"),
    ],
)
def test_training_errors(faces, change, message):
    """Raised by the call, not by the first batch."""
    with pytest.raises(ValueError, match=message):
        train_epoch(faces, **({"batch_size": BATCH, "seed": 0, "epoch": 0} | change))


def test_evaluation_errors(faces):
    with pytest.raises(
        ValueError, match=r"batch_size=6 does not work with 4 hosts; .*work: 4 and 8\.$"
    ):
        eval_batches(faces, batch_size=6, process_index=0, process_count=4)


def test_fake_faces_are_deterministic_and_all_different():
    faces, again = (fake_faces(24, 8, num_subjects=2, seed=4, num_classes=6) for _ in "12")
    other = fake_faces(24, 8, num_subjects=2, seed=5, num_classes=6)
    np.testing.assert_array_equal(faces.images, again.images)
    assert (faces.images != other.images).any()
    assert len({image.tobytes() for image in faces.images}) == 24
    assert (faces.images.shape, faces.images.dtype) == ((24, 8, 8, 1), np.uint8)
    assert sorted(zip(faces.subjects, faces.labels, strict=True)) == sorted(
        (f"fake{subject:04d}", label) for subject in range(2) for label in range(6) for _ in "01"
    )


@pytest.mark.parametrize("size", [8, 64])
def test_fake_expressions_can_be_told_apart(size):
    """The nearest mean face of two subjects names each image of two others, flipped as well."""
    faces = fake_faces(28, size, num_subjects=4, seed=6)
    known = np.isin(faces.subjects, ["fake0000", "fake0001"])
    images = faces.images.astype(float)
    means = np.stack([images[known & (faces.labels == k)].mean(0) for k in range(7)])
    for seen in (images[~known], images[~known][:, :, ::-1]):
        distance = np.square(seen[:, None] - means).sum((2, 3, 4))
        np.testing.assert_array_equal(distance.argmin(1), faces.labels[~known])
