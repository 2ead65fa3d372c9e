"""From times to ratios, rates and shares of the ceilings, by hand; the page of the results."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks import comparison, document, report, step
from scripts.benchmarks.timing import Measured, Side

ROOT = Path(__file__).parent.parent.parent
DEVICE = {"devices": 2, "device": "chip", "platform": "tpu", "cores": 8, "processor": "P"}
CEILINGS = {"matmul_flops_per_s": 100.0, "copy_bytes_per_s": 50.0}
OURS = {
    "device": DEVICE,
    "versions": {"jax": "1", "commit": "c"},
    "images": 12,
    "ceilings": CEILINGS,
    "peak_memory_bytes": 5_000_000,
    "flops": 90.0,
    "product_flops": 80.0,
    "bytes_unfused": 60.0,
    "product_bytes": 15.0,
    "compile_s": 7.0,
}
THEIRS = {
    "versions": {"torch": "2"},
    "images": 12,
    "ceilings": {"matmul_flops_per_s": 80.0, "copy_bytes_per_s": 75.0},
    "peak_memory_bytes": 9_000_000,
}


def measured(times: list[float], facts: dict[str, Any], failed: str = "") -> Measured:
    return Measured(times, 0.5, 0.01, facts, failed)


def content() -> report.Result:
    found = {
        step.OURS: measured([1.0, 2.0, 9.0], OURS),
        "PyTorch eager": measured([4.0, 3.0, 5.0], THEIRS),
        "torch.compile": measured([2.9, 3.0, 3.1], THEIRS),
        step.PLAIN: measured([2.5, 2.5, 2.7], OURS),
        "broken": measured([], {}, "OSError: gone"),
    }
    sides = {name: Side(lambda: None, (), beside=step.OURS) for name in found}
    return comparison.compare(found, sides)


def test_rates_shares_and_ratios():
    compared = content()
    mine = compared["sides"][step.OURS]
    assert mine["images_per_s_per_device"] == 12 / 2.0 / 2
    ceilings = {"matmul_flops_per_s": 100.0, "copy_bytes_per_s": 75.0}  # the better of both
    assert compared["ceilings"] == ceilings
    two_devices = 2 * 2.0  # seconds
    assert mine["flops_per_s"] == 90 / two_devices
    assert mine["of_matmul_ceiling"] == 80 / two_devices / 100
    assert mine["of_copy_ceiling_all_fused"] == 15 / two_devices / 75
    assert mine["of_copy_ceiling_nothing_fused"] == 60 / two_devices / 75
    assert compared["sides"]["broken"] == {"failed": "OSError: gone", "beside": step.OURS}
    assert compared["versions"] == {"jax": "1", "commit": "c", "torch": "2"}
    summary = step.summary(compared)
    assert summary["ratio_vs_best_torch"] == 3.0 / 2.0
    assert summary["ratio_vs_best_torch_smallest"] == 2.9 / 1.0
    assert summary["ratio_vs_plain"] == 2.5 / 2.0  # which is nobody of PyTorch's
    assert summary["images_per_s_per_device"] == 3.0


def test_alone_there_is_no_ratio():
    found = {step.OURS: measured([1.0], OURS)}
    compared = comparison.compare(found, {step.OURS: Side(lambda: None, (), beside=step.OURS)})
    assert math.isnan(comparison.best_ratio(compared, step.OURS))
    assert not [name for name in step.summary(compared) if name.startswith("ratio")]


def test_a_run_of_several_steps_is_divided():
    found = {"a": measured([8.0, 8.0], OURS | {"steps_in_a_row": 4})}
    compared = comparison.compare(found, {"a": Side(lambda: None, (), beside="a")})
    assert compared["sides"]["a"]["median_s"] == 2.0


def test_our_own_failure_is_an_error():
    with pytest.raises(ValueError, match=r"ifgan_jax failed: OSError: gone"):
        comparison.compare({"ifgan_jax": measured([], {}, "OSError: gone")}, {})


def test_table_has_a_row_for_each_side_with_our_time_as_the_unit():
    rows = {row[0]: row for row in comparison.table("caption", content()).rows}
    assert rows[step.OURS] == (
        step.OURS, "2 s", "1.5 s – 5.5 s", "1.00", "3", "7.5 s", "5 MB",
    )  # fmt: skip
    assert rows["torch.compile"][3] == "1.50"
    assert rows["broken"][1] == "failed: OSError: gone"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (report.duration(0.0123), "12.3 ms"),
        (report.duration(2.345), "2.35 s"),
        (report.duration(250), "250 s"),
        (report.size(0), "0 B"),
        (report.size(999), "999 B"),
        (report.size(1_230_000), "1.23 MB"),
        (report.size(2.5e13, "FLOP"), "25 TFLOP"),
    ],
)
def test_numbers_for_people(text: str, expected: str):
    assert text == expected


def test_what_is_not_known_is_null():
    found = report._without_nan({"a": math.nan, "b": {"c": [1, 2.0], "d": math.nan}})
    assert json.dumps(found, allow_nan=False) == '{"a": null, "b": {"c": [1, 2.0], "d": null}}'


def result(size: str) -> report.Result:
    """A result as `finish` writes it, small."""
    side = {"median_s": 1.0, "quartile_1_s": 0.9, "quartile_3_s": 1.1, "temporaries_bytes": 10}
    side |= {"state_s": 4.0, "trace_s": 1.0, "lower_s": 1.0, "backend_compile_s": 2.0}
    side |= {"to_first_step_s": 8.0, "others_share": 0.031}
    keys = {"data.crop": 64, "batch_size": 2, "classifier.depth": 18, "dtype": "float32"}
    return {
        "benchmark": "compile",
        "size": size,
        "command": f"python scripts/benchmark.py compile --size={size}",
        "date": "2000-01-01",
        "config": keys,
        "device": {**DEVICE, "platform": "cpu"},
        "versions": {"jax": "1", "commit": "c"},
        "sides": {"first start": side, "second start": side},
    }


def test_page_holds_each_result_with_its_command_and_the_notes(tmp_path: Path):
    tuned = result("demo")
    tuned["device"]["malloc"] = "huge=1"
    for size, content in (("96", result("96")), ("demo", tuned)):
        (tmp_path / f"compile_{size}.json").write_text(json.dumps(content))
    (tmp_path / "attempts.md").write_text("## Tried\n\n- a: b\n")
    page = document.page(tmp_path)
    assert page == document.page(tmp_path)
    assert page.endswith("## Tried\n\n- a: b\n")
    assert page.index("Compiling the train step, 96") < page.index("Compiling the train step, demo")
    line = (
        "`python scripts/benchmark.py compile --size=96` · 2000-01-01 · 8 cores of P · jax 1 · "
        "commit c · other processes had up to 3.1% of the machine\n"
    )
    assert line in page
    assert "2000-01-01 · 8 cores of P, huge=1 · jax 1" in page
    assert "## The train step" not in page  # no result, no heading
    (tmp_path / "other.json").write_text('{"benchmark": "unknown"}')
    with pytest.raises(ValueError, match=r"other\.json is no result of scripts/benchmark\.py"):
        document.page(tmp_path)


def test_committed_page_is_what_the_results_give():
    folder = ROOT / "docs" / "benchmarks"
    assert (ROOT / "docs" / "benchmarks.md").read_text() == document.page(folder)
