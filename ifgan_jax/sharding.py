"""Where arrays live: a mesh of one axis, the batch split over it, everything else on every device.

The state may be split over the same axis, too (`large_split`). Meshes are laid out here alone.
One device is a mesh of one; devices of several processes are one mesh.
"""

from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def make_mesh(devices: Sequence[jax.Device], of_each: int = 0) -> Mesh:
    """A one-axis mesh over `devices` of every process: the first `of_each` of each, or with 0 all.

    Process by process, so that each holds one run of a batch's rows (data/pipeline.py);
    `jax.make_mesh` may order a TPU's devices otherwise. Raises ValueError unless all processes have
    equally many, and as many as wanted.
    """
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    counts = Counter(device.process_index for device in ordered)
    if len(set(counts.values())) > 1:
        raise ValueError(f"processes with different numbers of devices: {dict(counts)}")
    by_process = np.array(ordered).reshape(len(counts), -1)
    if not 0 <= of_each <= by_process.shape[1]:
        raise ValueError(f"devices {of_each}: each process has {by_process.shape[1]}; 0 means all")
    chosen = by_process[:, :of_each] if of_each else by_process
    return Mesh(chosen.ravel(), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device: state, averages, metrics."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Leading axis over the devices: batches."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def large_split(mesh: Mesh, shape: Sequence[int]) -> NamedSharding:
    """An array of the state, split: along its longest axis that the devices share evenly.

    Arrays of fewer than two axes, or without such an axis, stay on every device: biases and
    BatchNorm's numbers are few, and each would need a message of its own.
    """
    axes = [axis for axis, size in enumerate(shape) if size % mesh.size == 0]
    if len(shape) < 2 or not axes:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, AXIS))


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


def from_all(placement: NamedSharding, value: np.ndarray) -> jax.Array:
    """The same array in every process → the global array, placed so."""
    return jax.make_array_from_callback(value.shape, placement, lambda index: value[index])
