"""What the backward pass computes again changes memory and nothing else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax.models.layers import REMAT
from tests import tiny

UNCHECKED = True  # as its users run it


def gradients(remat: str, dtype: Any) -> tuple[Callable, Any]:
    """G's and E's gradients and new statistics as a function of their variables, and those."""
    nets = tiny.networks(dtype, remat=remat, convs_per_stage=2)
    state = tiny.state(tiny.networks(dtype, convs_per_stage=2))
    source = tiny.faces(dtype)[0][:2]

    def loss(params: Any) -> tuple[jax.Array, Any]:
        generator, classifier = (
            {"params": params[name], "batch_stats": getattr(state, name).batch_stats}
            for name in ("generator", "classifier")
        )
        kept = {"train": True, "mutable": ["batch_stats"]}
        face, of_generator = nets.generator.apply(generator, source, **kept)
        pair = nets.classifier.select(source, face)
        (logits, features), of_classifier = nets.classifier.apply(classifier, pair, **kept)
        return jnp.square(logits).sum() + jnp.square(features).sum(), (of_generator, of_classifier)

    params = {"generator": state.generator.params, "classifier": state.classifier.params}
    return jax.grad(loss, has_aux=True), params


@pytest.fixture(scope="module")
def plain():
    with jax.enable_x64(True):
        function, params = gradients("none", np.float64)
        yield jax.jit(function)(params)


@pytest.mark.parametrize("remat", REMAT[1:])
def test_same_gradients_and_statistics(remat: str, plain, x64):
    function, params = gradients(remat, np.float64)
    tiny.assert_trees_close(jax.jit(function)(params), plain, 1e-11)


@pytest.mark.parametrize("remat", REMAT[1:])
def test_same_parameters(remat: str):
    def shapes(remat: str) -> Any:
        nets, face = tiny.networks(remat=remat), tiny.faces(np.float32)[0]
        init = [lambda n=n, x=x: n.init(jax.random.key(0), x, train=False) for n, x in (
            (nets.generator, face), (nets.classifier, nets.classifier.select(face, face))
        )]  # fmt: skip
        return [jax.eval_shape(function) for function in init]

    assert shapes(remat) == shapes("none")


def operations(remat: str, name: str) -> int:
    """How often the gradients' program has the operation, recomputation included."""
    function, params = gradients(remat, np.float32)

    def count(jaxpr: Any) -> int:
        inner = [i for equation in jaxpr.eqns for i in tiny.programs_in(equation)]
        return sum(e.primitive.name == name for e in jaxpr.eqns) + sum(map(count, inner))

    return count(jax.make_jaxpr(function)(params).jaxpr)


def test_computes_again_what_its_name_says():
    """Attention's exponentials once or twice; the convolutions of stages and blocks likewise."""
    exponentials = {remat: operations(remat, "exp") for remat in REMAT}
    assert exponentials["attention"] == exponentials["blocks"] == exponentials["none"] + 3
    convolutions = {remat: operations(remat, "conv_general_dilated") for remat in REMAT}
    stages = 2 * (4 + 3)  # two convolutions in each of the encoding and the decoding ones
    blocks = 2 + 3  # E's two, the second with a shortcut's
    assert convolutions["attention"] == convolutions["none"]
    assert convolutions["blocks"] == convolutions["none"] + stages + blocks
