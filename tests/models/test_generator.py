"""The U-Net of Fig. 3: shapes, stages, attention's places, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax.models.generator import AttentionUNet
from tests.tiny import networks


def unet(**changes) -> AttentionUNet:
    fields = {
        "widths": (32, 64, 128, 256, 512),
        "channels": 1,
        "convs_per_stage": 2,
        "attention": True,
        "attention_reduction": 8,
        "attention_block": 2**19,
        "output_noise": 0.0,
        "remat": "attention",
        "dtype": jnp.float32,
    }
    return AttentionUNet(**{**fields, **changes})


def shapes(module: AttentionUNet, side: int) -> dict:
    face = jax.ShapeDtypeStruct((2, side, side, module.channels), jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), face)["params"]


def test_is_the_network_of_figure_3():
    params = shapes(unet(), 224)
    for stage, (before, width) in enumerate([(1, 32), (32, 64), (64, 128), (128, 256), (256, 512)]):
        kernels = params[f"encoder_{stage}"]
        assert kernels["Conv_0"]["kernel"].shape == (3, 3, before, width)
        assert kernels["Conv_1"]["kernel"].shape == (3, 3, width, width)
    for stage, width in enumerate((32, 64, 128, 256)):
        assert params[f"up_{stage}"]["kernel"].shape == (3, 3, 2 * width, width)
        assert params[f"decoder_{stage}"]["Conv_0"]["kernel"].shape == (3, 3, 2 * width, width)
    assert params["output"]["kernel"].shape == (1, 1, 32, 1)
    assert sorted(name for name in params if "attention" in name) == [
        "decoder_attention",
        "encoder_attention",
        "skip_attention",
    ]
    assert {
        params[f"{place}_attention"]["value"]["kernel"].shape[-1]
        for place in ("encoder", "skip", "decoder")
    } == {128}  # the 56×56 maps


def test_attention_reads_the_56_by_56_maps():
    """Rows of 56² weights at 224 px (Sec. 4.6), at each of the three places."""
    module = unet()
    face = jax.ShapeDtypeStruct((1, 224, 224, 1), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), face)
    variables = {k: variables[k] for k in ("params", "batch_stats")}
    _, sown = jax.eval_shape(
        lambda v, x: module.apply(v, x, train=False, points=jnp.arange(3), mutable=["attention"]),
        variables,
        face,
    )
    assert {
        name: rows["rows"][0].shape for name, rows in sown["attention"].items()
    } == dict.fromkeys(
        ("encoder_attention", "skip_attention", "decoder_attention"), (1, 3, 56 * 56)
    )


def test_attention_sits_where_the_figure_puts_it():
    """Skip attention changes the copy only, encoder attention the way down only."""
    generator = networks().generator
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32))
    variables = jax.jit(lambda x: generator.init(jax.random.key(0), x, train=False))(x)

    @jax.jit
    def intermediates(params: dict) -> dict:
        _, seen = generator.apply(
            {**variables, "params": params},
            x,
            train=False,
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        return seen["intermediates"]

    def changed_inputs(place: str) -> set[str]:
        """Submodules whose output changes when this attention module is switched on."""
        outputs = []
        for gamma in (0.0, 1.0):
            params = dict(variables["params"])
            params[place] = {**params[place], "gamma": jnp.float32(gamma)}
            outputs.append(intermediates(params))
        flat = [dict(jax.tree_util.tree_leaves_with_path(o)) for o in outputs]
        return {path[0].key for path in flat[0] if np.any(flat[0][path] != flat[1][path])}

    encoder = changed_inputs("encoder_attention")
    assert "encoder_3" in encoder
    assert "skip_attention" not in encoder
    skip = changed_inputs("skip_attention")
    assert "decoder_2" in skip
    assert not skip & {"encoder_3", "encoder_attention", "up_2"}
    decoder = changed_inputs("decoder_attention")
    assert "up_1" in decoder
    assert "decoder_2" not in decoder


@pytest.mark.parametrize(("widths", "side"), [((8, 8, 8, 8), 24), ((4, 4, 4, 4, 4), 32)])
@pytest.mark.parametrize("channels", [1, 3])
def test_output_is_an_image_of_the_same_shape(widths: tuple, side: int, channels: int):
    module = unet(widths=widths, channels=channels, attention_reduction=2)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, side, side, channels)))
    run = jax.jit(lambda x: module.init_with_output(jax.random.key(0), x, train=False))
    out, _ = run(x.astype(jnp.float32))
    assert out.shape == x.shape
    assert float(jnp.abs(out).max()) <= 1


def test_noise_is_of_the_image_alone():
    """Of the deviation asked for, unlike on any two images, alike whatever the batch or the jit."""
    sources = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 1)), jnp.float32)
    faces = jnp.full_like(sources, 0.25)
    noisy = unet(output_noise=0.05)
    noise = jax.jit(noisy.observed)(sources, faces) - faces
    assert np.asarray(noise.mean((1, 2, 3))) == pytest.approx(0, abs=0.003)
    assert np.asarray(noise.std((1, 2, 3))) == pytest.approx(0.05, rel=0.05)
    assert np.abs(np.corrcoef(noise.reshape(3, -1)) - np.eye(3)).max() < 0.06
    alone = noisy.observed(sources[1:2], faces[1:2]) - faces[1:2]
    np.testing.assert_allclose(alone[0], noise[1], atol=1e-6)
    assert unet().observed(sources, faces) is faces


def test_without_attention_has_no_such_parameters():
    assert not [name for name in shapes(unet(attention=False), 32) if "attention" in name]


def test_refuses_a_size_that_does_not_divide():
    with pytest.raises(ValueError, match=r"60×60 px.*divisible by 16.*data\.crop"):
        shapes(unet(), 60)


def test_refuses_attention_without_its_stage():
    with pytest.raises(ValueError, match=r"generator\.attention off"):
        shapes(unet(widths=(8, 8, 8)), 32)


def test_refuses_a_reduction_that_leaves_no_channel():
    with pytest.raises(ValueError, match=r"attention_reduction 16 leaves no channel of the 8"):
        shapes(unet(widths=(8, 8, 8, 8), attention_reduction=16), 32)


def test_starts_from_pix2pixs_distributions():
    module = unet(widths=(16, 16, 16, 64, 64))
    x = jnp.zeros((1, 16, 16, 1))
    params = jax.jit(lambda x: module.init(jax.random.key(0), x, train=False))(x)["params"]
    for kernel in (params["encoder_4"]["Conv_1"]["kernel"], params["up_3"]["kernel"]):
        assert float(kernel.std()) == pytest.approx(0.02, rel=0.03)
    assert float(params["encoder_4"]["BatchNorm_0"]["scale"].std()) == pytest.approx(0.02, rel=0.3)
