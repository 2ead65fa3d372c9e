"""`plan`: its arithmetic against closed forms, its child's work on the CPU in place of a TPU."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from absl.testing import flagsaver

from configs import default, overlays
from ifgan_jax import build, sharding
from scripts.benchmarks import plan, tpu
from tests import tiny_config

SAID = {
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
    "(298.21G) exceeds available HBM (15.75G).": (298.21, 15.75),
    "Ran out of memory in memory space hbm. Used 17.60G of 15.75G hbm. Exceeded hbm capacity by "
    "1.85G.": (17.6, 15.75),
}


@pytest.mark.parametrize("message", SAID)
def test_reads_what_the_compiler_says(message: str):
    needed, limit = SAID[message]
    assert tpu.parse_need(message) == (round(needed * 2**30), round(limit * 2**30))


def test_another_failure_of_the_compiler_is_told():
    with pytest.raises(ValueError, match="INTERNAL: broken"):
        tpu.parse_need("INTERNAL: broken")


def test_counts_the_gradients_all_reduce():
    """Data parallel: the gradient of a weight is one all-reduce of its size, whatever the batch."""
    mesh = sharding.make_mesh(jax.devices()[:4])
    split, everywhere = sharding.split(mesh), sharding.replicated(mesh)

    def gradient(w: jax.Array, x: jax.Array) -> jax.Array:
        return jax.grad(lambda w: jnp.square(x @ w).sum())(w)

    step = jax.jit(gradient, in_shardings=(everywhere, split), out_shardings=everywhere)
    program = step.lower(jnp.zeros((3, 5)), jnp.zeros((8, 3))).compile()
    assert tpu.collectives(program.as_text()) == {"all-reduce": {"count": 1, "bytes": 3 * 5 * 4}}


def test_counts_what_starts_and_what_comes_out_together():
    text = """
      %a = (f32[2,3]{1,0}, bf16[7]{0}) all-reduce-start(%x, %y), replica_groups={}
      %b = (f32[2,3]{1,0}, bf16[7]{0}) all-reduce-done(%a)
      %d = (bf16[3]{0}, bf16[12]{0}) all-gather-start(%v), dimensions={0}
      %e = bf16[12]{0} all-gather-done(%d)
      %f = (f32[5]{0}, f32[5]{0}, u32[], u32[]) collective-permute-start(%w)
      ROOT %c = pred[8]{0} all-gather(%z), dimensions={0}
    """
    assert tpu.collectives(text) == {
        "all-reduce": {"count": 1, "bytes": 2 * 3 * 4 + 7 * 2},
        "all-gather": {"count": 2, "bytes": 8 + 12 * 2},
        "collective-permute": {"count": 1, "bytes": 5 * 4},
    }


def test_images_of_a_run_are_the_papers():
    """8 of 10 folds of 1,200 + 927 + 624; RAF-DB's 12,271, a tenth of them validating."""
    six = plan.training_images(default.get_config())
    seven = plan.training_images(overlays.with_data(default.get_config(), "raf_db"))
    posed = 0.8 * (1200 + 927 + 624)
    assert six == int(posed + 0.9 * (12_271 - 2_524))
    assert seven == int(posed + 0.9 * 12_271)
    assert plan.training_images(tiny_config.get_config()) is None


FOUND: dict[str, Any] = {
    "topology": "v5e:2x2",
    "chips": 4,
    "limit_bytes": 10**11,
    "flops": 5e12,
    "product_flops": 4e12,
    "product_bytes": 8e9,
    "compile_s": 6.0,
    "trace_s": 1.0,
    "lower_s": 2.0,
    "backend_compile_s": 3.0,
    "compile_processor_s": 5.0,
    "collectives": {"all-reduce": {"count": 7, "bytes": 10**8}},
    "device": {"platform": "cpu", "processor": "a processor", "cores": 2, "devices": 1}
    | {"device": "cpu"},
    "versions": {"commit": "0"},
}


def compiled(batch_size: int, hbm_bytes: int) -> dict[str, Any]:
    fits = hbm_bytes <= FOUND["limit_bytes"]
    said = {} if fits else {"said": "RESOURCE_EXHAUSTED"}
    return FOUND | {"batch_size": batch_size, "hbm_bytes": hbm_bytes, "fits": fits} | said


def test_bounds_run_and_scaling():
    chip = plan.Chip(flops=1e12, bandwidth=1e9, links=1e9)
    assert plan.bounds(FOUND, chip) == (1.0, 0.0, 2.0)
    assert plan.bounds(FOUND, chip).step == 1.0
    told = FOUND | {"arguments_bytes": 5e8, "outputs_bytes": 1e9}  # of a chip
    assert plan.bounds(told, chip) == (1.0, 1.5, 2.0)
    assert plan.bounds(told, chip).step == 1.5
    six_whole_batches_an_epoch = plan.run_length({"epochs": 3, "batch_size": 16}, 100, 600.0)
    assert six_whole_batches_an_epoch == (18, 3.0)
    four = plan.scaling(FOUND, 0.15, chip)[0]
    assert four == {"chips": 4, "collectives_s": pytest.approx(0.15), "efficiency": 0.5}
    scattered = FOUND | {"collectives": {"reduce-scatter": {"count": 7, "bytes": 10**8}}}
    four = plan.scaling(scattered, 0.15, chip)[0]  # what comes out of it is a part of what went in
    assert four["collectives_s"] == pytest.approx(0.75 * FOUND["chips"] * 0.1)


def run_plan(
    monkeypatch: pytest.MonkeyPatch, output: Path, needs: dict[int, int], **given: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The command on a compiler that has an answer for each batch: the last line, the JSON file."""

    def compile_step(
        config: Any, topology: str, chips: int, effort: float, plain: bool
    ) -> dict[str, Any]:
        found = compiled(config.batch_size, needs[config.batch_size])
        return found | {"effort": effort, "plain": plain}

    monkeypatch.setattr(tpu, "compile_step", compile_step)
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *texts: printed.extend(map(str, texts)))
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["benchmark.py"])
    with flagsaver.flagsaver(size="demo", output=str(output), chips=4, **given):
        plan.main()
    return json.loads(printed[-1]), json.loads(output.read_text())


def test_the_command_says_the_largest_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """10 + 2·batch GB: 45 of 100 fit, so 44 over four chips."""
    needs = {size: 10**9 * (10 + 2 * size) for size in (16, 32, 44)}
    last, result = run_plan(monkeypatch, tmp_path / "plan.json", needs, effort=-0.5)
    assert last == {
        "benchmark": "plan",
        "size": "demo",
        "fits": True,
        "hbm_gb": 74.0,
        "compile_s": 6.0,
        "largest_batch": 44,
    }
    assert result["larger"]["confirmed"]["batch_size"] == 44
    _, _, on_paper, larger = plan.tables(result)
    assert on_paper.rows[-1][0] == "256"
    assert larger.rows[-1] == ("promised by the line through the first two", "44, fits")
    assert result["compiled"]["effort"] == result["larger"]["half"]["effort"] == -0.5


def test_a_promise_that_does_not_hold_is_no_largest_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    needs = {16: 42 * 10**9, 32: 74 * 10**9, 44: 101 * 10**9}
    last, _ = run_plan(monkeypatch, tmp_path / "plan.json", needs)
    assert last["largest_batch"] is None


def test_a_step_that_does_not_fit_is_a_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Of which the compiler may tell the temporaries alone: no line goes through it."""
    last, result = run_plan(monkeypatch, tmp_path / "plan.json", {32: 101 * 10**9}, plain=True)
    assert (last["fits"], last["largest_batch"]) == (False, None)
    assert (result["compiled"]["plain"], result["config"]["remat"]) == (True, "none")


def test_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(ValueError, match="--topology=v1:2x2: begins with one of v4, v5e, v5p, v6e"):
        run_plan(monkeypatch, tmp_path / "plan.json", {}, topology="v1:2x2")
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="make install EXTRAS=tpu"):
        tpu.compile_step(tiny_config.get_config(), "v5e:2x2", 1, 0.0, False)


def test_the_childs_work(monkeypatch: pytest.MonkeyPatch):
    """E's step alone, over two devices of the CPU, as a TPU's compiler would have it."""
    monkeypatch.setattr(tpu, "describe_topology", lambda topology, chips: jax.devices()[:chips])
    monkeypatch.setattr(tpu, "limit", lambda mesh: 10**9)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1")
    config = overlays.with_method(tiny_config.get_config(), "resnet101")
    found = tpu._compile(config, "v5e:2x2", 2, False)
    assert found["fits"]
    kinds = ("arguments", "outputs", "temporaries", "code")
    needed = sum(found[f"{kind}_bytes"] for kind in kinds) - found["aliased_bytes"]
    assert found["hbm_bytes"] == needed > 0
    assert found["product_flops"] > 0
    shapes = jax.eval_shape(build.build(config, 1).create_state, build.state_key(config))
    gradients = 4 * sum(x.size for x in jax.tree.leaves(shapes.classifier.params))
    assert gradients < found["collectives"]["all-reduce"]["bytes"] < 1.5 * gradients
    json.dumps(found)
    config.batch_size = 15
    with pytest.raises(ValueError, match="batch_size 15 does not divide over 2 devices"):
        tpu._compile(config, "v5e:2x2", 2, False)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (-11, "libtpu 9.9 died of signal 11 .* v6e:2x2, .* another topology or config.dtype"),
        (3, "the TPU's compiler ended with status 3, see above"),
    ],
)
def test_a_compiler_that_dies_is_told(status: int, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")
    ended = subprocess.CompletedProcess([], status, "")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: ended)
    with pytest.raises(ValueError, match=said):
        tpu.compile_step(tiny_config.get_config(), "v6e:2x2", 1, 0.0, False)


@pytest.mark.parametrize("topology", ["v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_libtpu_knows_the_topologies(topology: str):
    """One device a chip, of the compiler itself, in a process of its own as `plan` has it."""
    pytest.importorskip("libtpu", reason="needs the extra tpu")
    code = (
        "from scripts.benchmarks import tpu; from ifgan_jax import sharding;"
        f"d = tpu.describe_topology({topology!r}, 4);"
        "print(len(d), tpu.limit(sharding.make_mesh(d[:1])))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **tpu.ENVIRONMENT},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    chips, limit = map(int, run.stdout.split()[-2:])
    assert chips == 4
    assert 15e9 < limit < 110e9
