"""The step of plain operations is the same step."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ifgan_jax import build
from scripts.benchmarks import ours, plain
from tests import tiny, tiny_config

UNCHECKED = True  # as its users run it


def own_forms(config: ConfigDict) -> set[str]:
    """Which of our closed backward passes the three networks are made of, but for attention's."""
    networks = build.build_networks(config)
    face = jnp.zeros((2, config.data.crop, config.data.crop, 1))
    given = {"generator": (face,), "discriminator": (face, face)}
    given["classifier"] = (networks.classifier.select(face, face),)
    found: set[str] = set()
    for name, inputs in given.items():
        network = getattr(networks, name)
        traced = jax.make_jaxpr(partial(network.init, train=True))(jax.random.key(0), *inputs)
        found |= set(re.findall(r"name=(_convolve|normalize|max_pool_2x2|_pool_3x3)", str(traced)))
    return found


def test_plain_forms_change_no_number():
    config = tiny_config.get_config()
    config.devices = 1

    def stepped() -> tuple[build.GanState, dict[str, float]]:
        compiled = ours.compiled_steps(config)
        given = ours.arguments(config, compiled, config.data.image_size)
        state, metrics = compiled.train_step(*given)
        return jax.device_get(state), tiny.floats(metrics)

    state, metrics = stepped()
    assert own_forms(config) == {"_convolve", "normalize", "max_pool_2x2", "_pool_3x3"}
    with plain.forms():
        plain_state, plain_metrics = stepped()
        assert not own_forms(config)
    for name, value in metrics.items():
        np.testing.assert_allclose(plain_metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert jax.tree.structure(state) == jax.tree.structure(plain_state)
    for (name, a), (_, b) in zip(tiny.leaves(state), tiny.leaves(plain_state), strict=True):
        if "batch_stats" in name:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=name)
