"""The step of plain operations is the same step."""

import jax
import numpy as np

from ifgan_jax import build
from scripts.benchmarks import ours, plain
from tests import tiny, tiny_config


def test_plain_forms_change_no_number():
    config = tiny_config.get_config()
    config.devices = 1
    config.generator.convs_per_stage = 1

    def stepped() -> tuple[build.GanState, dict[str, float]]:
        compiled = ours.compiled_steps(config)
        given = ours.arguments(config, compiled, config.data.image_size)
        state, metrics = compiled.train_step(*given)
        return jax.device_get(state), tiny.flat(metrics)

    state, metrics = stepped()
    with plain.forms():
        plain_state, plain_metrics = stepped()
    for name, value in metrics.items():
        np.testing.assert_allclose(plain_metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert jax.tree.structure(state) == jax.tree.structure(plain_state)
    for (name, a), (_, b) in zip(tiny.leaves(state), tiny.leaves(plain_state), strict=True):
        if "batch_stats" in name:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=name)
