"""PyTorch's side of `scripts/benchmark.py step --against=torch` and `inference`."""

import json
from pathlib import Path

import pytest
import torch
from ml_collections import ConfigDict

from ifgan_jax.data.processes import usable_cores
from scripts.benchmarks import ours, theirs
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
    """Every convolution of a step runs on both sides, the dearest first."""
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
    assert last["convolutions_ours_s"] == pytest.approx(sum(totals))
    assert result["operations"][9]["name"] in output
    assert result["operations"][10]["name"] not in output


@pytest.mark.parametrize(
    ("key", "value"), [("data.channels", 3), ("method", "baseline"), ("classifier.inputs", "fake")]
)
def test_what_the_twin_does_not_do_is_named(key: str, value: object):
    config = tiny_config.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=f"--against=torch: {key} {value!r}, but"):
        theirs.check(config)
