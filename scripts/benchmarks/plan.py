"""The train step compiled for a TPU that is not there: does it fit, what does it cost?

    python scripts/benchmark.py plan --topology=v5e:2x2 --chips=1

of the paper's run in bfloat16, or of another --size or --config; with its largest batch that is
three compilations (--nolargest_batch: one).
Topologies are named as libtpu names them: v4:2x2x1, v5e:2x2, v5p:2x2x1, v6e:2x2, and larger ones up
to v5e:16x16. A compilation at 224 px takes minutes and about 4 GB of memory. Needs
make install EXTRAS=tpu, which brings the TPU's compiler; no TPU is touched.
"""

import math
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict

from ifgan_jax.tables import Table
from scripts.benchmarks import options, report, tpu

TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "The TPU, as libtpu names it.")
CHIPS = flags.DEFINE_integer("chips", 1, "Chips of it; the batch is split over them.", 1)
PLAIN = flags.DEFINE_bool(
    "plain",
    False,
    "The step of Flax's and JAX's own operations, without remat, in place of ours.",
)
LARGEST_BATCH = flags.DEFINE_bool(
    "largest_batch",
    True,
    "Compile at half the batch too, and at the largest one that a line through both promises.",
)
EFFORT = flags.DEFINE_float(
    "effort",
    0.0,
    "JAX_EXEC_TIME_OPTIMIZATION_EFFORT, which a run takes from its environment: below 0 the "
    "compiler searches less for fast code. JAX 0.12 has it no more.",
    -1.0,
    1.0,
)
IMAGES = flags.DEFINE_integer(
    "images", None, "Training images of a run; by default the paper's (Sec. 4.1).", 1
)


class Chip(NamedTuple):
    """Peak rates of one chip, by docs.cloud.google.com/tpu/docs/<name>.

    Those of v5e, v5p and v6e were read there again on 2026-11-25.
    """

    flops: float  # FLOP/s in bfloat16; float32 products take the same path by default
    bandwidth: float  # bytes/s between HBM and core
    links: float  # bytes/s that it sends to its neighbours, all links together: half of "ICI"


CHIPS_BY_NAME = {
    "v4": Chip(275e12, 1228e9, 300e9),
    "v5e": Chip(197e12, 819e9, 200e9),
    "v5p": Chip(459e12, 2765e9, 600e9),
    "v6e": Chip(918e12, 1640e9, 400e9),
}
POSED_IMAGES = {"bu3dfe": 1200, "ck_plus": 927, "mmi": 624}
RAF_DB_TRAINING, RAF_DB_NEUTRAL = 12_271, 2_524  # neutral ones: left out of six classes


def training_images(config: ConfigDict) -> int | None:
    """Of one run on the paper's data sets (Sec. 4.1); None for any other."""
    data, images = config.data, 0.0
    for name in (data.name.partition("/")[0], *data.additional):
        if name in POSED_IMAGES:
            images += POSED_IMAGES[name] * (data.num_folds - 2) / data.num_folds
        elif name == "raf_db":
            neutral = 0 if data.num_classes == 7 else RAF_DB_NEUTRAL
            images += (RAF_DB_TRAINING - neutral) * (1 - data.validation_fraction)
        else:
            return None
    return int(images)


class Bounds(NamedTuple):
    """Seconds below which no step can be; `unfused` is none of them, but nearer to a step.

    arithmetic: the products at peak rate. memory: the arguments read and the outputs written once;
    0 where the compiler did not get so far. unfused: each product's operands read from HBM and its
    result written there, where a compiler may keep some on the chip.
    """

    arithmetic: float
    memory: float
    unfused: float

    @property
    def step(self) -> float:
        return max(self.arithmetic, self.memory)


def bounds(found: report.Result, chip: Chip) -> Bounds:
    """Of a compiled step, on each of its chips."""
    once = sum(found.get(f"{kind}_bytes", 0.0) for kind in ("arguments", "outputs"))  # of a chip
    return Bounds(
        found["product_flops"] / found["chips"] / chip.flops,
        once / chip.bandwidth,
        found["product_bytes"] / found["chips"] / chip.bandwidth,
    )


def run_length(config: report.Result, images: int, step_s: float) -> tuple[int, float]:
    """Steps and hours of a whole run of a flat config at `step_s` a step."""
    steps = images // config["batch_size"] * config["epochs"]
    return steps, steps * step_s / 3600


def scaling(found: report.Result, step_s: float, chip: Chip) -> list[report.Result]:
    """The same images a chip on more of them: the collectives on paper, overlapped with nothing.

    A ring or torus sends (n-1)/n of the bytes from each chip, for an all-reduce twice; of a
    reduce-scatter 1/n comes out. Latency is left out.
    """
    passes = {"all-reduce": 2, "reduce-scatter": found["chips"]}
    moved = sum(
        entry["bytes"] * passes.get(kind, 1) for kind, entry in found["collectives"].items()
    )
    rows = []
    for chips in (4, 16, 64, 256):
        seconds = (chips - 1) / chips * moved / chip.links
        rows.append(
            {"chips": chips, "collectives_s": seconds, "efficiency": step_s / (step_s + seconds)}
        )
    return rows


def promised_batch(one: report.Result, other: report.Result) -> int:
    """The largest global batch that a straight line through two compiled ones lets fit."""
    sizes, needs = ([found[key] for found in (one, other)] for key in ("batch_size", "hbm_bytes"))
    slope = (needs[1] - needs[0]) / (sizes[1] - sizes[0])
    promised = math.floor(sizes[0] + (one["limit_bytes"] - needs[0]) / slope)
    return promised // one["chips"] * one["chips"]


def find_largest_batch(found: report.Result, config: ConfigDict) -> report.Result:
    """Of a batch that fits, by two more compilations: of half of it, and of what the line promises.

    `largest_batch` is None when the promised one did not fit.
    """
    chips, topology = found["chips"], found["topology"]

    def at(batch_size: int) -> report.Result:
        changed = config.copy_and_resolve_references()
        with changed.unlocked():
            changed.batch_size = batch_size
        return tpu.compile_step(changed, topology, chips, found["effort"], found["plain"])

    half = at(max(1, found["batch_size"] // 2 // chips) * chips)
    promised = max(chips, promised_batch(half, found))
    confirmed = at(promised)
    return {
        "half": half,
        "promised": promised,
        "confirmed": confirmed,
        "largest_batch": promised if confirmed["fits"] else None,
    }


def main() -> None:
    size, config = options.chosen(default="paper")
    generation = TOPOLOGY.value.partition(":")[0]
    if generation not in CHIPS_BY_NAME:
        raise ValueError(
            f"--topology={TOPOLOGY.value}: begins with one of {', '.join(CHIPS_BY_NAME)}"
        )
    chip = CHIPS_BY_NAME[generation]
    if LARGEST_BATCH.value and config.batch_size < 2 * CHIPS.value:
        raise ValueError(
            f"batch_size {config.batch_size} cannot be halved for {CHIPS.value} chips: give "
            "--nolargest_batch, or a larger one"
        )
    if PLAIN.value:
        with config.unlocked():
            config.remat = "none"
    found = tpu.compile_step(config, TOPOLOGY.value, CHIPS.value, EFFORT.value, PLAIN.value)
    content: report.Result = {
        "device": found.pop("device"),
        "versions": found.pop("versions"),
        "compiled": found,
        "published_rates": chip._asdict(),
        "training_images": IMAGES.value or training_images(config),
    }
    if LARGEST_BATCH.value and found["fits"]:  # else the compiler may tell the temporaries alone
        content["larger"] = find_largest_batch(found, config)
    summary = {
        "fits": found["fits"],
        "hbm_gb": round(found["hbm_bytes"] / 1e9, 2),
        "compile_s": round(found["compile_s"], 1),
        "largest_batch": content.get("larger", {}).get("largest_batch"),
    }
    report.finish("plan", size, config, content, summary, tables)


def tables(result: report.Result) -> list[Table]:
    """Memory and compilation; cost and bounds; collectives; the largest batch; the whole run."""
    found, config = result["compiled"], result["config"]
    chip = Chip(**result["published_rates"])
    bound = bounds(found, chip)
    said = f"{report.what(result)}, remat {config['remat']}"
    said += ", plain operations" if found["plain"] else ""
    if config["shard_parameters"]:
        said += ", split parameters"
    where = f"{found['chips']} of {found['topology']}"
    made = [
        _table(f"The train step on {where}, {said}: HBM of each chip", _memory_rows(found)),
        _table(f"Its cost on {where}, {said}", _cost_rows(found, chip, bound)),
    ]
    if found["chips"] > 1 and "collectives" in found:
        rows = scaling(found, bound.step, chip)
        made.append(_scaling_table(f"Its collectives on {where}, {said}", found, rows))
    if "larger" in result:
        made.append(_table(f"A larger batch on {where}", _larger_rows(result)))
    if images := result["training_images"]:
        of_run = _run_rows(config, images, bound.step, found["chips"])
        made.append(_table("A whole run, if every step were at its bound", of_run))
    return made


def _table(caption: str, rows: dict[str, str]) -> Table:
    return Table(caption, ("", "value"), tuple(rows.items()))


def _memory_rows(found: report.Result) -> dict[str, str]:
    left = found["limit_bytes"] - found["hbm_bytes"]
    kinds = ("arguments", "outputs", "aliased", "temporaries", "code")
    rows = {kind: report.size(found[f"{kind}_bytes"]) for kind in kinds if f"{kind}_bytes" in found}
    return {
        **rows,
        "needed: arguments + outputs - aliased + temporaries + code" if rows else "at least": (
            report.size(found["hbm_bytes"])
        ),
        "there, by the compiler": report.size(found["limit_bytes"]),
        "fits": f"yes, {report.size(left)} to spare" if found["fits"] else f"no: {found['said']}",
        "compilation: trace + lower + backend": " + ".join(
            report.duration(found[f"{phase}_s"]) for phase in ("trace", "lower", "backend_compile")
        ),
        "processor time of the backend": report.duration(found["compile_processor_s"]),
        "effort for fast code, from -1 to 1": f"{found['effort']:g}",
    }


def _cost_rows(found: report.Result, chip: Chip, bound: Bounds) -> dict[str, str]:
    rows = {
        "FLOPs of all chips, loop bodies times their trips": report.size(found["flops"], "FLOP"),
        "of matrix products and convolutions": report.size(found["product_flops"], "FLOP"),
        "bytes of their operands and results": report.size(found["product_bytes"]),
    }
    if "compiler_flops_loops_once" in found:
        flops, moved = (found[f"compiler_{kind}_loops_once"] for kind in ("flops", "bytes"))
        rows["the compiler's FLOPs a chip, loop bodies once"] = report.size(flops, "FLOP")
        rows["the compiler's bytes a chip, loop bodies once"] = report.size(moved)
    peak, bandwidth = report.size(chip.flops, "FLOP/s"), report.size(chip.bandwidth, "B/s")
    source = f"docs.cloud.google.com/tpu/docs/{found['topology'].partition(':')[0]}"
    return rows | {
        f"step, at least: the products at {peak} ({source})": report.duration(bound.arithmetic),
        f"step, at least: arguments and outputs at {bandwidth} (the same)": (
            report.duration(bound.memory) if bound.memory else "not known"
        ),
        "no bound: the products' operands and results at that rate": (
            report.duration(bound.unfused)
        ),
    }


def _scaling_table(caption: str, found: report.Result, on_paper: list[report.Result]) -> Table:
    kinds = [
        f"{entry['count']} × {kind} ({report.size(entry['bytes'])})"
        for kind, entry in sorted(found["collectives"].items())
    ]
    rows = tuple(
        (str(row["chips"]), report.duration(row["collectives_s"]), f"{row['efficiency']:.1%}")
        for row in on_paper
    )
    header = ("chips, each with as many images", "collectives, on paper", "share of the bound")
    return Table(f"{caption}: {', '.join(kinds)}", header, rows)


def _larger_rows(result: report.Result) -> dict[str, str]:
    larger = result["larger"]
    compiled = (larger["half"], result["compiled"], larger["confirmed"])
    rows = {f"batch {one['batch_size']}": report.size(one["hbm_bytes"]) for one in compiled}
    fits = "fits" if larger["largest_batch"] else "does not fit"
    return rows | {"promised by the line through the first two": f"{larger['promised']}, {fits}"}


def _run_rows(config: report.Result, images: int, step_s: float, chips: int) -> dict[str, str]:
    steps, hours = run_length(config, images, step_s)
    return {
        "training images": f"{images:,}",
        "steps": f"{steps:,}",
        f"hours, at least, on {chips} chips": f"{hours:.2f}",
        "chip-hours, at least": f"{chips * hours:.2f}",
    }
