"""Where a step's time goes on the device, by the profiler: networks, passes, kinds of operations.

    python scripts/benchmark.py profile --size=demo

The whole train step without augmentation, on a GPU or TPU. Fused operations count where the last of
them belongs. Not on a CPU, whose trace has no time for work that threads share: see `operations`.
"""

import collections
import os
import re
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from ifgan_jax.tables import Table
from scripts.benchmarks import comparison, options, ours, report, trace
from scripts.benchmarks.timing import Side, Timed, spread

SHOWN = 10
STEPS = 3  # in the trace
OURS = "ifgan_jax"
NETWORKS = {"AttentionUNet": "G", "PatchGAN": "D", "ResNet": "E"}
ATTENTION = "_attention"  # its modules in G
KINDS = {"conv_general_dilated": "convolutions", "dot_general": "matrix products"}
# An instruction of the compiled program, and the name of what it was made of.
INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = .*op_name="([^"]*)"', re.MULTILINE)


class Part(NamedTuple):
    """What an operation belongs to."""

    network: str
    direction: str
    kind: str


def part(source: str) -> Part:
    """Of an operation's name in the program, as in jit(f)/transpose(jvp(ResNet))/…/dot_general."""
    inside = next((name for module, name in NETWORKS.items() if module in source), "")
    if not inside:
        return Part("losses, centres, optimizers", "", "")
    if ATTENTION in source:
        inside += "'s attention"
    direction = "backward" if "transpose(" in source else "forward"
    return Part(inside, direction, KINDS.get(source.rsplit("/", 1)[-1], "all else"))


def sources(program: str) -> dict[str, str]:
    """Of each instruction of a compiled program's text, what it was made of."""
    return dict(INSTRUCTION.findall(program))


def profiled(config: ConfigDict) -> Timed:
    if jax.default_backend() == "cpu":
        raise ValueError("a CPU's trace does not tell what a convolution takes: use `operations`")
    program, facts, run = ours.train_program(config, False)
    known = sources(program.as_text())

    def several() -> None:
        for _ in range(STEPS):
            run()

    def finish(_: float) -> dict[str, Any]:
        found = trace.operations(several)
        seconds: dict[str, float] = collections.defaultdict(float)
        for name, start, end in found:
            seconds[name] += 1e-9 * (end - start) / STEPS
        known_s = {name: s for name, s in seconds.items() if name in known}
        return {
            "operations": [
                {"name": name, "source": known[name], "seconds": known_s[name]}
                for name in sorted(known_s, key=lambda name: -known_s[name])
            ],
            "unknown_s": sum(seconds.values()) - sum(known_s.values()),
            "idle_share_in_trace": trace.idle([(start, end) for _, start, end in found]),
        }

    return Timed(run, facts, finish)


def main() -> None:
    size, config = options.chosen()
    # a GPU runs many operations by one command, which its trace would show as one
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_enable_command_buffer="
    (found,) = comparison.in_turns({OURS: Side(profiled, (config,), beside=OURS)}).values()
    if found.failed:
        raise ValueError(found.failed)
    kept = ("operations", "unknown_s", "idle_share_in_trace", "device", "versions")
    content = {key: found.facts[key] for key in kept} | {"step": spread(found.times)}
    report.finish("profile", size, config, content, summary(content), tables)


def summary(content: report.Result) -> report.Result:
    """Seconds of a step in all operations, and the shares of convolutions and products."""
    parts = _parts(content)
    total = sum(parts.values())
    shares = {
        f"{kind.replace(' ', '_')}_share": sum(s for p, s in parts.items() if p.kind == kind)
        / total
        for kind in KINDS.values()
    }
    idle = content["idle_share_in_trace"]
    return {"step_s": content["step"]["median_s"], "operations_s": total, **shares, "idle": idle}


def _parts(result: report.Result) -> dict[Part, float]:
    """Seconds of a step in each part, the dearest first."""
    parts: dict[Part, float] = collections.defaultdict(float)
    for operation in result["operations"]:
        parts[part(operation["source"])] += operation["seconds"]
    return dict(sorted(parts.items(), key=lambda item: -item[1]))


def tables(result: report.Result) -> list[Table]:
    """By part, and the dearest operations."""
    parts = _parts(result)
    total = sum(parts.values())
    caption = (
        f"Where the time of a train step goes, {report.what(result)}; "
        f"{report.duration(total)} of operations a step, device idle for "
        f"{result['summary']['idle']:.1%} of it"
    )
    by_part = tuple((*of, report.duration(s), f"{s / total:.1%}") for of, s in parts.items())
    dearest = tuple(
        (operation["source"].partition("/")[2], report.duration(s), f"{s / total:.1%}")
        for operation in result["operations"][:SHOWN]
        for s in (operation["seconds"],)
    )
    return [
        Table(caption, ("", "pass", "kind", "a step", "share"), by_part),
        Table(f"Its {SHOWN} dearest operations", ("", "a step", "share"), dearest),
    ]
