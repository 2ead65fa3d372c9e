"""The mesh and its placements on eight host devices."""

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
