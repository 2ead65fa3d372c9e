"""Each command as its user starts it, at a size of seconds: tables, the file, the last line."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks import document, trace
from tests import runs

TINY = ("--config=tests/tiny_config.py",)
BASELINE = (*TINY, *runs.BASELINE)
SHORT = ("--rounds=1", "--seconds=0")


def measure(command: str, folder: Path, *flags: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What a command prints, its result's file, and its last line."""
    path = folder / f"{command}.json"
    status, output = runs.finish("benchmark", command, f"--output={path}", *flags)
    assert status == 0, output
    result = json.loads(path.read_text())
    last = json.loads(output.splitlines()[-1])
    assert last == {"benchmark": command, "size": result["size"], **result["summary"]}
    assert result["command"].startswith(f"python scripts/benchmark.py {command} ")
    assert {"jax", "commit"} <= result["versions"].keys()
    assert result["device"]["platform"] == "cpu"
    for line in document.page(folder).splitlines():  # the same tables, on the page
        assert not line.startswith("|") or line in output
    return output, result, last


def test_step(tmp_path: Path):
    output, result, last = measure("step", tmp_path, *BASELINE, *SHORT)
    mine = result["sides"]["ifgan_jax"]
    assert last["median_s"] == mine["median_s"] > 0
    assert mine["images_per_s_per_device"] == 16 / mine["median_s"]
    assert mine["compile_s"] > mine["backend_compile_s"] > 0
    assert mine["flops"] > mine["product_flops"] > 0
    assert mine["peak_memory_bytes"] > mine["temporaries_bytes"] > 0
    assert 0 < mine["of_matmul_ceiling"] < 1
    assert "with augmentation" in output
    assert "ratio_vs_best_torch" not in last  # nobody beside it


def test_remat(tmp_path: Path):
    output, result, last = measure("remat", tmp_path, *BASELINE, *SHORT)
    assert list(result["sides"]) == ["none", "attention", "blocks"]
    plain, _, blocks = result["sides"].values()
    assert last["temporaries_bytes_over_none_attention"] == 1  # E has no attention
    ratio = blocks["temporaries_bytes"] / plain["temporaries_bytes"]
    assert last["temporaries_bytes_over_none_blocks"] == ratio != 1
    assert "planned temporaries" in output


def test_attention(tmp_path: Path):
    flags = ("--size=demo", "--maps=8,32", "--batch=2", *SHORT)
    output, result, last = measure("attention", tmp_path, *flags)
    assert last["positions_ratio"] == 16
    assert list(result["sides"]) == [
        f"{name}, {side}×{side}" for side in (8, 32) for name in ("attend", "plain formula")
    ]
    assert all(side["median_s"] > 0 for side in result["sides"].values())
    assert last["plain_time_over_attend"] > 0
    products = [side["product_flops"] for side in result["sides"].values()]
    assert products[0] > products[1]  # its scores are computed twice
    assert products[2] > products[3]
    assert "at most about" in output


def test_input(tmp_path: Path):
    _, result, last = measure("input", tmp_path, *BASELINE, *SHORT, "--steps=2")
    there, real, streamed = result["sides"].values()
    assert [side["from_file"] for side in (there, real, streamed)] == [False, False, True]
    assert last["overhead"] == real["median_s"] / there["median_s"] - 1
    assert last["overhead_streamed"] == streamed["median_s"] / there["median_s"] - 1
    assert 0 < last["python_share"] == real["python_s"] / real["median_s"]
    assert math.isclose(
        real["python_s"], real["reading_s"] + real["dispatch_s"] + real["logging_s"]
    )
    # batches of faces, not one again and again
    assert min(real["reading_s"], streamed["reading_s"]) > 3 * there["reading_s"]
    assert 0 <= real["idle_share_in_trace"] < 1


def test_what_no_operation_covers_is_idle():
    assert trace.idle([(6, 10), (0, 4), (1, 2), (3, 4)]) == pytest.approx(0.2)
    assert trace.idle([(1, 3), (2, 5)]) == 0


def test_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5"
    )  # else it hits others' programs
    _, result, last = measure("compile", tmp_path, *BASELINE)
    first, second = result["sides"].values()
    assert first["cache_hits"] == 0 < second["cache_hits"]
    assert last["second_compile_s"] < last["compile_s"] < last["to_first_step_s"]
    assert second["flops"] == first["flops"] > 0


def test_inference(tmp_path: Path):
    _, result, last = measure("inference", tmp_path, *TINY, *SHORT, "--batches=1,3")
    assert [side["images"] for side in result["sides"].values()] == [1, 3]
    assert last["median_s_batch_3"] == result["sides"]["ifgan_jax, batch 3"]["median_s"] > 0


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_plan_without_its_compiler_says_how_to_install_it(tmp_path: Path):
    status, output = runs.finish("benchmark", "plan", f"--output={tmp_path / 'plan.json'}")
    assert status == 1
    assert "make install EXTRAS=tpu" in output
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("steps",), "'steps' is no command"),
        (("step", "--size=demo", TINY[0]), "--size and --config: give one of them"),
        (("attention", "--maps=0"), "--maps: '0' is no positive number"),
        (("inference", "--against=plain"), "value should be one of <torch>"),
        (("remat", "--against=torch"), "Unknown command line flag 'against'"),
    ],
)
def test_wrong_flags_are_named(arguments: tuple[str, ...], message: str):
    status, output = runs.finish("benchmark", *arguments)
    assert status == 1
    assert message in output
    assert "Traceback" not in output
