"""Where arrays live: a mesh of one axis, the batch split over it, everything else on every device.

The only module that knows devices. One device is a mesh of one.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def make_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """A one-axis mesh over `devices`, of every process."""
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device: state, averages, metrics."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Leading axis over the devices: batches."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def check_batch_size(key: str, batch_size: int, num_devices: int) -> None:
    """ValueError with the nearest sizes that work unless the devices share the batch evenly."""
    if batch_size % num_devices:
        lower = batch_size // num_devices * num_devices
        sizes = [str(size) for size in (lower, lower + num_devices) if size]
        raise ValueError(
            f"{key} {batch_size} does not divide over {num_devices} devices; nearest sizes "
            f"that do: {' and '.join(sizes)}"
        )


def to_global(mesh: Mesh, local: np.ndarray) -> jax.Array:
    """This process's slice of a global batch → the global array, split over the mesh."""
    return jax.make_array_from_process_local_data(split(mesh), local)
