"""The 70×70 PatchGAN (Isola et al. 2017)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax.models.discriminator import PatchGAN


def initial(width: int) -> dict:
    """Fresh parameters."""
    faces = jnp.zeros((1, 32, 32, 1))
    model = PatchGAN(width, jnp.float32)
    return jax.jit(lambda x: model.init(jax.random.key(0), x, x, train=False))(faces)["params"]


def test_26_by_26_logits_at_224():
    faces = jax.ShapeDtypeStruct((2, 224, 224, 1), jnp.float32)
    logits, variables = jax.eval_shape(
        lambda a, b: PatchGAN(64, jnp.float32).init_with_output(
            jax.random.key(0), a, b, train=False
        ),
        faces,
        faces,
    )
    assert logits.shape == (2, 26, 26, 1)
    # by hand for a 2-channel pair: 2112 + 131,328 + 524,800 + 2,098,176 + 8193
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 2_764_609


@pytest.mark.parametrize("argument", [0, 1])
def test_receptive_field_is_70(argument: int, x64):
    """∂logit/∂input is non-zero in exactly a 70×70 window of both faces, statistics held."""
    model = PatchGAN(2, jnp.float64)
    rng = np.random.default_rng(0)
    pair = [jnp.asarray(rng.normal(size=(1, 128, 128, 1))) for _ in range(2)]
    variables = jax.jit(lambda *pair: model.init(jax.random.key(0), *pair, train=False))(*pair)

    def logit(*pair: jax.Array) -> jax.Array:
        return model.apply(variables, *pair, train=False)[0, 7, 7, 0]

    touched = np.asarray(jax.jit(jax.grad(logit, argument))(*pair))[0, :, :, 0] != 0
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    assert rows[-1] - rows[0] + 1 == columns[-1] - columns[0] + 1 == 70


def test_first_and_last_layer_have_no_norm_and_the_rest_no_bias():
    params = initial(4)
    biased = [name for name in params if "bias" in params[name] and name.startswith("Conv")]
    assert biased == ["Conv_0", "Conv_4"]
    assert len([name for name in params if name.startswith("BatchNorm")]) == 3


def test_starts_from_pix2pixs_distributions():
    params = initial(64)
    kernel, scale = params["Conv_3"]["kernel"], params["BatchNorm_2"]["scale"]
    assert float(kernel.std()) == pytest.approx(0.02, rel=0.01)
    assert float(scale.mean()) == pytest.approx(1, abs=0.01)
    assert float(scale.std()) == pytest.approx(0.02, rel=0.2)
