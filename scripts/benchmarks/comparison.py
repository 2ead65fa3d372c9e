"""Several sides measured in turns: their figures, beside one another and the device's ceilings."""

import math
from collections.abc import Collection, Iterable, Mapping

from absl import flags

from ifgan_jax.tables import Table
from scripts.benchmarks import report
from scripts.benchmarks.timing import Measured, Side, alternate, spread

ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns that each side has.", lower_bound=1)
SECONDS = flags.DEFINE_float(
    "seconds", 2.0, "What counts of a turn, but at least one step; a ceiling, too.", 0.0
)
LIMIT = flags.DEFINE_float(
    "limit", 900.0, "Seconds for a side to get ready, or to take a turn; then it has failed.", 0.0
)
HEADER = ("", "median", "25–75 %", "× ours", "images/s per device", "first run", "peak memory")


def measure(sides: Mapping[str, Side]) -> report.Result:
    """`sides`, `ceilings`, `device` and `versions` of a result.

    The first side must be ours. Raises ValueError when it fails; of others the failure is a result.
    """
    return compare(in_turns(sides), sides)


def in_turns(sides: Mapping[str, Side]) -> dict[str, Measured]:
    """`timing.alternate` by the flags."""
    return alternate(sides, rounds=ROUNDS.value, seconds=SECONDS.value, limit=LIMIT.value)


def compare(found: Mapping[str, Measured], sides: Mapping[str, Side]) -> report.Result:
    """As `measure`, of what was found."""
    (name, mine), *_ = found.items()
    if mine.failed:
        raise ValueError(f"{name} failed: {mine.failed}")
    ceilings = highest(side.facts.get("ceilings", {}) for side in found.values() if not side.failed)
    device = mine.facts["device"]
    versions: dict[str, str] = {}
    for side in found.values():
        versions |= side.facts.get("versions", {})
    rows = {name: _figures(side, device["devices"], ceilings) for name, side in found.items()}
    for name, figures in rows.items():
        figures["beside"] = sides[name].beside
    return {"sides": rows, "ceilings": ceilings, "device": device, "versions": versions}


def highest(measured: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Of each kind of ceiling the best that a side found."""
    best: dict[str, float] = {}
    for ceilings in measured:
        best |= {kind: max(value, best.get(kind, 0.0)) for kind, value in ceilings.items()}
    return best


def _figures(side: Measured, devices: int, ceilings: dict[str, float]) -> report.Result:
    if side.failed:
        return {"failed": side.failed}
    steps = side.facts.get("steps_in_a_row", 1)  # of one run
    times = spread([seconds / steps for seconds in side.times])
    facts = {k: v for k, v in side.facts.items() if k not in ("device", "versions")}
    figures = {
        **times,
        "others_share": side.others,
        "images_per_s_per_device": facts["images"] / times["median_s"] / devices,
        "first_run_s": side.first_run,
        **facts,
    }
    return figures | shares(facts, times["median_s"] * devices, ceilings)


def shares(
    facts: Mapping[str, float], device_seconds: float, ceilings: Mapping[str, float]
) -> dict[str, float]:
    """How much of the device's measured best a side reaches; nothing where FLOPs are not known."""
    if "flops" not in facts:
        return {}
    copied = device_seconds * ceilings["copy_bytes_per_s"]
    multiplied = device_seconds * ceilings["matmul_flops_per_s"]
    return {
        "flops_per_s": facts["flops"] / device_seconds,
        "of_matmul_ceiling": facts["product_flops"] / multiplied,
        "of_copy_ceiling_all_fused": facts["product_bytes"] / copied,
        "of_copy_ceiling_nothing_fused": facts["bytes_unfused"] / copied,
    }


def best_ratio(
    content: report.Result,
    name: str,
    figure: str = "median_s",
    among: Collection[str] | None = None,
) -> float:
    """The fastest of those beside `name`, over it: above 1 it is faster. NaN if there are none.

    among: names, of which it is the fastest; None: of all.
    """
    others = [
        side[figure]
        for other, side in content["sides"].items()
        if other != name and side["beside"] == name and figure in side
        if among is None or other in among
    ]
    return min(others, default=math.nan) / content["sides"][name][figure]


def table(caption: str, content: report.Result) -> Table:
    """A row a side."""
    sides = content["sides"]
    rows = (_row(name, side, sides[side["beside"]]) for name, side in sides.items())
    return Table(caption, HEADER, tuple(rows))


def _row(name: str, side: report.Result, beside: report.Result) -> tuple[str, ...]:
    if "failed" in side:
        return (name, f"failed: {side['failed']}", *[""] * (len(HEADER) - 2))
    return (
        name,
        report.duration(side["median_s"]),
        report.quartiles(side),
        f"{side['median_s'] / beside['median_s']:.2f}" if "median_s" in beside else "",
        f"{side['images_per_s_per_device']:.3g}",
        report.duration(side.get("compile_s", 0.0) + side["first_run_s"]),
        report.size(side["peak_memory_bytes"]),
    )


def cost_table(caption: str, side: report.Result, ceilings: Mapping[str, float]) -> Table:
    """What one of our programs consists of, and how near it comes to the ceilings."""
    matmul, copy = ceilings["matmul_flops_per_s"], ceilings["copy_bytes_per_s"]
    phases = (side[f"{phase}_s"] for phase in ("trace", "lower", "backend_compile"))
    kinds = (side[f"{kind}_bytes"] for kind in ("arguments", "outputs", "temporaries"))
    flops, moved = (side[f"compiler_{kind}_loops_once"] for kind in ("flops", "bytes"))
    copied = (side[f"of_copy_ceiling_{kind}_fused"] for kind in ("all", "nothing"))
    rows = {
        "FLOPs, loop bodies times their trips": report.size(side["flops"], "FLOP"),
        "the compiler's FLOPs, loop bodies once": report.size(flops, "FLOP"),
        "bytes, nothing fused": report.size(side["bytes_unfused"]),
        "bytes of the products alone": report.size(side["product_bytes"]),
        "the compiler's bytes, loop bodies once": report.size(moved),
        f"products, of the matmul ceiling ({report.size(matmul, 'FLOP/s')})": (
            f"{side['of_matmul_ceiling']:.1%}"
        ),
        f"bytes of the products to all, of the copy ceiling ({report.size(copy, 'B/s')})": (
            " – ".join(f"{share:.1%}" for share in copied)
        ),
        "compilation: trace + lower + backend": " + ".join(map(report.duration, phases)),
        "planned: arguments, outputs, temporaries": ", ".join(map(report.size, kinds)),
    }
    return Table(caption, ("", "value"), tuple(rows.items()))
