"""PyTorch's side of `scripts/benchmark.py step --against=torch` and `inference`."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from ml_collections import ConfigDict

from ifgan_jax.data.processes import usable_cores
from scripts.benchmarks import operations, ours, parts, theirs
from tests import runs, tiny_config
from tests.parity.twin import Twin, UNet


def paper_config() -> ConfigDict:
    """The tests' config without noise, which the twin lacks."""
    config = tiny_config.get_config()
    config.generator.output_noise = 0.0
    return config


@pytest.mark.parametrize("name", theirs.VARIANTS)
def test_every_variant_trains(name: str, monkeypatch: pytest.MonkeyPatch):
    """Twice, on the faces and with the threads that our side has; compiled networks where asked."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self)))
    config = paper_config()
    variant = theirs.VARIANTS[name]
    used, other = "step", "sequential_step"
    if variant.sequential:
        used, other = other, used
    monkeypatch.delattr(Twin, other)  # the variant has no use for it
    seen, original = [], getattr(Twin, used)

    def noted(twin: Twin, *batch: torch.Tensor) -> object:
        seen.append(batch)
        return original(twin, *batch)

    monkeypatch.setattr(Twin, used, noted)
    torch.set_num_threads(1)
    timed = theirs.train_step(config, variant)
    timed.run()
    timed.run()
    faces = ours.random_faces(config, config.data.crop)
    assert len(seen) == 2
    for source, target, label in seen:
        assert source.permute(0, 2, 3, 1).numpy() == pytest.approx(faces.image / 127.5 - 1)
        assert (target.shape, label.tolist()) == (source.shape, faces.label.tolist())
    assert timed.facts["threads"] == torch.get_num_threads() == usable_cores()
    assert len(compiled) == (3 if variant.compiled else 0)
    assert timed.facts["images"] == config.batch_size
    assert timed.finish(0.0)["peak_memory_bytes"] > 0


def test_inference_runs(monkeypatch: pytest.MonkeyPatch):
    generated, original = [], UNet.forward

    def noted(network: UNet, source: torch.Tensor) -> torch.Tensor:
        generated.append(original(network, source))
        return generated[-1]

    monkeypatch.setattr(UNet, "forward", noted)
    eager = theirs.VARIANTS["PyTorch eager"]
    timed = theirs.inference(paper_config(), 3, eager)
    timed.run()
    assert [len(faces) for faces in generated] == [timed.facts["images"]] == [3]


def test_operations(tmp_path: Path):
    """Every part of a step runs on both sides, the dearest first."""
    path = tmp_path / "operations.json"
    status, output = runs.finish(
        "benchmark", "operations", "--config=tests/tiny_config.py", f"--output={path}",
        "--rounds=1", "--seconds=0",
    )  # fmt: skip
    assert status == 0, output
    result = json.loads(path.read_text())
    assert all(min(row["ours_s"], row["torch_s"]) > 0 for row in result["operations"])
    totals = [row["uses"] * row["ours_s"] for row in result["operations"]]
    assert totals == sorted(totals, reverse=True)
    last = json.loads(output.splitlines()[-1])
    assert last["ours_s"] == pytest.approx(sum(totals))
    assert result["operations"][9]["name"] in output
    assert result["operations"][10]["name"] not in output
    assert {row["layer"] for row in result["operations"]} == {*operations.CALLED, parts.ADAM}


CONVOLUTIONS = [
    parts.Convolution("", kind, (2, 8, 8, 4), (3, 3, 4, 6), stride, ((1, 1), (1, 1)))
    for kind in (parts.FORWARD, parts.KERNEL, parts.INPUT)
    for stride in (1, 2)
]
UP = parts.Convolution("", parts.FORWARD, (2, 8, 8, 4), (2, 2, 4, 6), 1, ((1, 0), (0, 1)))
SHAPES = {
    parts.NORM: ((2, 8, 8, 4), (4,), (4,)),
    parts.ATTENTION: ((2, 36, 3), (2, 36, 3), (2, 36, 8)),
    parts.POOL: ((2, 8, 8, 4),),
    parts.STEM_POOL: ((2, 8, 8, 4),),
}
LAYERS = [
    parts.Layer("", layer, kind, shapes, 100)
    for layer, shapes in SHAPES.items()
    for kind in (parts.FORWARD, parts.GRADIENT)
]


@pytest.mark.parametrize("part", [*CONVOLUTIONS, UP, *LAYERS], ids=str)
def test_both_sides_compute_the_same(part: parts.Part):
    mine, its = part.ours()(), part.torch(torch, "cpu")()
    found = [mine] if isinstance(mine, jax.Array) else mine
    given = [x for x in ([its] if isinstance(its, torch.Tensor) else its) if x is not None]
    for ours_, theirs_ in zip(found, given, strict=True):
        axes = {4: (0, 2, 3, 1), 3: (0, 2, 1), 1: (0,)}[theirs_.ndim]
        if part.layer == parts.CONVOLUTION and part.kind == parts.KERNEL:
            axes = (2, 3, 1, 0)
        np.testing.assert_allclose(ours_, theirs_.detach().permute(axes), rtol=1e-4, atol=1e-5)


def test_both_sides_descend_alike():
    part = parts.Adam("generator", ((3, 3, 2, 4), (5,)))
    weights = [torch.from_numpy(array) for array in parts._random(*part.shapes)]
    ours_, theirs_ = part.ours(), part.torch(torch, "cpu")
    first = [np.array(x) for x in ours_().params]  # the next step uses them up
    player = ours_().params
    theirs_()
    assert [x.shape for x in first] == list(part.shapes)
    for before, after in zip(weights, first, strict=True):
        # The first step of Adam is of the learning rate's length, against the gradient's sign.
        np.testing.assert_allclose(after - before.numpy(), -1e-4 * before.sign(), rtol=2e-2)
    for mine, its in zip(player, theirs_(), strict=True):  # both after two steps
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value"), [("data.channels", 3), ("method", "baseline"), ("classifier.inputs", "fake")]
)
def test_what_the_twin_does_not_do_is_named(key: str, value: object):
    config = tiny_config.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=f"--against=torch: {key} {value!r}, but"):
        theirs.check(config)
