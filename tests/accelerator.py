"""Three train steps on the accelerator that JAX finds, beside the CPU: see test_accelerator.py.

python -m tests.accelerator
"""

import jax
import numpy as np

from tests import host_process, tiny


def main() -> None:
    found = jax.devices()
    if found[0].platform == "cpu":
        print("no accelerator")
        return
    beside = jax.devices("cpu")[:1]
    with jax.enable_x64(True):
        start = jax.device_get(tiny.state(host_process.networks(np.float64)))
        there, logged_there, _ = host_process.run(start, np.float64, 3, found[:1])
        here, logged_here, _ = host_process.run(start, np.float64, 3, beside)
        tiny.assert_trees_close(jax.device_get(there), jax.device_get(here), 1e-10)
        tiny.assert_trees_close(logged_there, logged_here, 1e-10)
    start = jax.device_get(tiny.state(host_process.networks(np.float32)))
    with jax.default_matmul_precision("highest"):  # a GPU's TensorFloat-32 has 10 bits
        _, [there], _ = host_process.run(start, np.float32, 1, found[:1])
        _, [here], _ = host_process.run(start, np.float32, 1, beside)
    errors = {name: abs(there[name] - here[name]) / (1e-3 + abs(here[name])) for name in here}
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] <= 1e-4, f"{worst}: {there[worst]} there, {here[worst]} here"
    print(f"{found[0].device_kind} equals the CPU: float32 to {errors[worst]:.1e} ({worst})")


if __name__ == "__main__":
    main()
