"""The mesh and its placements on eight host devices."""

from unittest import mock

import jax
import numpy as np
import pytest

from ifgan_jax import sharding


def test_batch_is_split_and_the_rest_is_everywhere():
    mesh = sharding.make_mesh(jax.devices())
    local = np.arange(16 * 3, dtype=np.float32).reshape(16, 3)
    batch = sharding.to_global(mesh, local)
    np.testing.assert_array_equal(batch, local)
    assert {shard.data.shape for shard in batch.addressable_shards} == {(2, 3)}
    assert len({shard.device for shard in batch.addressable_shards}) == 8
    everywhere = jax.device_put(local, sharding.replicated(mesh))
    assert {shard.data.shape for shard in everywhere.addressable_shards} == {(16, 3)}


def test_indivisible_batch_names_the_nearest_sizes():
    sharding.check_batch_size("batch_size", 48, 8)
    with pytest.raises(ValueError, match=r"batch_size 50 does not divide over 8 .*: 48 and 56"):
        sharding.check_batch_size("batch_size", 50, 8)
    with pytest.raises(ValueError, match="nearest sizes that do: 8"):
        sharding.check_batch_size("batch_size", 3, 8)


def test_processes_lie_side_by_side_in_the_mesh_and_are_equally_large():
    eight = jax.devices()
    assert sharding.make_mesh(eight[::-1]).devices.tolist() == eight
    assert sharding.make_mesh(eight, 2).devices.tolist() == eight[:2]
    for wrong in (9, -1):
        with pytest.raises(ValueError, match=rf"devices {wrong}: each process has 8; 0 means all"):
            sharding.make_mesh(eight, wrong)
    four = [mock.Mock(jax.Device, process_index=p, id=i) for i, p in enumerate((0, 0, 1, 1))]
    assert sharding.make_mesh(four, 1).devices.tolist() == [four[0], four[2]]
    uneven = [mock.Mock(jax.Device, process_index=p, id=i) for i, p in enumerate((0, 0, 1))]
    with pytest.raises(ValueError, match=r"different numbers of devices: \{0: 2, 1: 1\}"):
        sharding.make_mesh(uneven)


def test_large_arrays_are_split_along_their_longest_axis_that_divides():
    mesh = sharding.make_mesh(jax.devices())
    axes = {
        (3, 3, 16, 64): 3,
        (7, 7, 64, 2): 2,
        (8, 9): 0,  # 9 is longer, but 8 devices do not share it
        (512, 6): 0,
        (3, 3, 4, 4): None,
        (64,): None,
        (): None,
    }
    for shape, axis in axes.items():
        placed = sharding.large_split(mesh, shape)
        expected = [(n // 8 if i == axis else n) for i, n in enumerate(shape)]
        assert list(placed.shard_shape(shape)) == expected


def test_a_value_that_all_have_is_placed():
    mesh = sharding.make_mesh(jax.devices())
    value = np.arange(16.0).reshape(8, 2)
    for placement, shard in ((sharding.split(mesh), (1, 2)), (sharding.replicated(mesh), (8, 2))):
        placed = sharding.from_all(placement, value)
        np.testing.assert_array_equal(placed, value)
        assert {s.data.shape for s in placed.addressable_shards} == {shard}
