"""ResNets as torchvision's: shapes and counts here, values in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax.models.classifier import RESNETS

# torchvision's parameter counts for RGB and 1,000 classes (its model pages)
TORCHVISION = {
    10: 11_689_512 - sum(2 * 9 * width**2 + 4 * width for width in (64, 128, 256, 512)),
    18: 11_689_512,
    34: 21_797_672,
    50: 25_557_032,
    101: 44_549_160,
    152: 60_192_808,
}


@pytest.mark.parametrize("depth", RESNETS)
def test_has_torchvisions_parameter_count(depth: int):
    model = RESNETS[depth](
        width=64, num_classes=1000, inputs="source", remat="none", dtype=jnp.float32
    )
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    (logits, features), variables = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), image
    )
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == TORCHVISION[depth]
    assert logits.shape == (1, 1000)
    assert features.shape == (1, model.num_features) == (1, 512 if depth < 50 else 2048)


def test_selects_its_faces():
    source, face = jnp.zeros((1, 8, 8, 1)), jnp.ones((1, 8, 8, 1))

    def selected(inputs: str) -> jax.Array:
        model = RESNETS[18](width=4, num_classes=6, inputs=inputs, remat="none", dtype=jnp.float32)
        return model.select(source, face)

    np.testing.assert_array_equal(selected("pair")[0, 0, 0], [0, 1])
    np.testing.assert_array_equal(selected("generated"), face)
    np.testing.assert_array_equal(selected("source"), source)
