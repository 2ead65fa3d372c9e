"""The time to the first step: cold, and when the same is started again.

    python scripts/benchmark.py compile --size=224

Two fresh processes one after the other share an empty folder of compiled programs, as every script
keeps one (`command_line.keep_compiled`): the first fills it, the second finds its programs there.
"""

import tempfile
import time

import jax
from ml_collections import ConfigDict

from ifgan_jax.tables import Table
from scripts.benchmarks import options, ours, report
from scripts.benchmarks.timing import Side, Timed, alternate

LIMIT = 1800.0  # seconds for a start
STARTS = ("first start", "second start")
PHASES = ("state_s", "trace_s", "lower_s", "backend_compile_s", "to_first_step_s")


def main() -> None:
    size, config = options.chosen()
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: Side(start, (config, folder), beside=STARTS[0]) for name in STARTS}
        found = alternate(sides, rounds=1, seconds=0.0, limit=LIMIT)
    for name, side in found.items():
        if side.failed:
            raise ValueError(f"{name} failed: {side.failed}")
    facts = {name: side.facts for name, side in found.items()}
    content = {
        "versions": facts[STARTS[0]]["versions"],
        "device": facts[STARTS[0]]["device"],
        "sides": {
            name: {k: v for k, v in of.items() if k not in ("versions", "device")}
            | {"others_share": found[name].others}
            for name, of in facts.items()
        },
    }
    report.finish("compile", size, config, content, summary(content), tables)


def start(config: ConfigDict, folder: str) -> Timed:
    """From the libraries' import to the end of the first train step, with `folder` as the cache."""
    hits = 0

    def listen(event: str, **_: str | int) -> None:
        nonlocal hits
        hits += event == "/jax/compilation_cache/cache_hits"

    jax.monitoring.register_event_listener(listen)
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", folder)
    begin = time.perf_counter()
    compiled = ours.compiled_steps(config)
    given = ours.arguments(config, compiled, config.data.image_size)
    jax.block_until_ready(given.state)
    state_s = time.perf_counter() - begin
    program, facts = ours.compile_phases(compiled.train_step, *given)
    state, *rest = given

    def run() -> None:
        nonlocal state
        state, metrics = program(state, *rest)
        jax.block_until_ready((state, metrics))

    run()
    facts |= {"state_s": state_s, "to_first_step_s": time.perf_counter() - begin}
    return Timed(run, facts | ours.identity() | {"cache_hits": hits}, lambda _: {})


def summary(content: report.Result) -> report.Result:
    """Compilation and the way to the first step, cold and again, in seconds."""
    cold, again = (content["sides"][name] for name in STARTS)
    return {
        "compile_s": cold["compile_s"],
        "second_compile_s": again["compile_s"],
        "to_first_step_s": cold["to_first_step_s"],
        "second_to_first_step_s": again["to_first_step_s"],
        "second_cache_hits": again["cache_hits"],
    }


def tables(result: report.Result) -> list[Table]:
    rows = tuple(
        (
            name,
            *(report.duration(side[phase]) for phase in PHASES),
            report.size(side["temporaries_bytes"]),
        )
        for name, side in result["sides"].items()
    )
    header = ("", "first weights", "trace", "lower", "backend", "all with a step", "temporaries")
    return [Table(f"Compiling the train step, {report.what(result)}", header, rows)]
