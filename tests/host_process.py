"""One process of several, as test_hosts.py starts them; waits for the dead are short here.

python -m tests.host_process meet --state=FILE --output=FILE --coordinator_address=… …
python -m tests.host_process train --config=… --workdir=… --coordinator_address=… …
"""

import pickle
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from ifgan_jax import build, hosts, sharding
from ifgan_jax.arrays import Batch
from ifgan_jax.models.classifier import RESNETS, BasicBlock, ResNet
from ifgan_jax.state import GanState, Networks, create_state
from ifgan_jax.step import train_step
from tests import tiny, tiny_config

BATCH = 8


def shorten() -> None:
    """A ResNet of one block in place of four: it compiles sooner."""
    RESNETS[10] = partial(ResNet, stage_sizes=(1,), block=BasicBlock)


def networks(dtype: Any) -> Networks:
    """All three, with attention, and one block of E."""
    return tiny.networks(dtype, stage_sizes=(1,))


def experiment(dtype: Any) -> build.Experiment:
    nets, optimizers = networks(dtype), tiny.optimizers()
    return build.Experiment(
        networks=nets,
        optimizers=optimizers,
        objective=tiny.objective(),
        augmentation=tiny.UNROTATED if dtype == np.float64 else tiny.AUGMENTATION,
        step=train_step,
        create_state=partial(
            create_state,
            networks=nets,
            optimizers=optimizers,
            crop=tiny.CROP,
            channels=1,
            centre_deviation=1.0,
        ),
    )


def run(
    start: GanState, dtype: Any, steps: int, devices: list[jax.Device], *, split: bool = False
) -> tuple[GanState, list[dict[str, float]], float]:
    """The state after `steps` steps, the metrics of each, and the share of it on one device.

    Each process gives its rows of the batches. split: with `shard_parameters`.
    """
    config = tiny_config.get_config()
    config.shard_parameters = split
    mesh = sharding.make_mesh(devices)
    compiled = build.compile_steps(config, experiment(dtype), mesh)
    template = build.abstract_state(compiled, config)
    state = jax.tree.map(
        lambda x, t: sharding.from_all(t.sharding, x.astype(t.dtype)), start, template
    )
    held = sum(leaf.addressable_data(0).nbytes for leaf in jax.tree.leaves(state))
    share = held / sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    targets = np.asarray(tiny.targets(dtype))
    per_process = BATCH // jax.process_count()
    mine = slice(jax.process_index() * per_process, (jax.process_index() + 1) * per_process)
    logged = []
    for number in range(steps):
        whole = tiny.batch(BATCH, seed=number)
        batch = Batch(*(sharding.to_global(mesh, np.asarray(x)[mine]) for x in whole))
        state, metrics = compiled.train_step(state, batch, targets, jax.random.key(5))
        logged.append(tiny.floats(metrics))
    return jax.device_get(compiled.whole(state)), logged, share


def take_steps() -> Any:
    """Three float64 steps and one float32 step."""
    start = pickle.loads(Path(STATE.value).read_bytes())
    with jax.enable_x64(True):
        exact = run(start, np.float64, 3, jax.devices())
    return exact, run(start, np.float32, 1, jax.devices())


def agree() -> Any:
    """What the functions of `hosts` say in this process, the number of which is `me`."""
    me, folder = jax.process_index(), Path(OUTPUT.value).parent
    time.sleep(33 * me)  # gloo, if they had not met before, would wait for 30 s
    said: dict[str, Any] = {
        "first": hosts.is_first(),
        "any": [bool(hosts.any_process(flag)) for flag in (me == 1, me == 0, False)],
        "of first": hosts.of_first(7 + me),
    }
    with hosts.in_turn("files"):
        said["found"] = [path.name for path in folder.glob("turn_*")]
        (folder / f"turn_{me}").touch()
    hosts.check_same("text", "the same", "do nothing")
    hosts.check_shared(folder)
    (folder / f"own_{me}").mkdir()
    for name, check in {
        "differs": lambda: hosts.check_same("text", f"of {me}", "make it so"),
        "not shared": lambda: hosts.check_shared(folder / f"own_{me}"),
    }.items():
        try:
            check()
        except (ValueError, FileNotFoundError) as error:
            said[name] = str(error)
    return said


def keep(task: Callable[[], Any]) -> None:
    """Write what `task` returns, as one of the processes."""
    with hosts.connected(
        train.COORDINATOR.value, train.NUM_PROCESSES.value, train.PROCESS_ID.value
    ):
        Path(OUTPUT.value).write_bytes(pickle.dumps(task()))


if __name__ == "__main__":  # flags are a program's: the tests import this file beside other scripts
    from scripts import command_line, train

    STATE = flags.DEFINE_string("state", None, "Pickled float32 state to start from.")
    OUTPUT = flags.DEFINE_string("output", None, "Where to pickle what came of it.")
    tasks = {"meet": partial(keep, lambda: (agree(), *take_steps())), "train": train.main}
    hosts.HEARTBEAT_SECONDS = 10
    name = sys.argv.pop(1)
    if name == "train":
        shorten()
    else:  # compared with the tests' own process, which has XLA's default kernels
        command_line.choose_kernels = lambda: None
    command_line.run(tasks[name])
