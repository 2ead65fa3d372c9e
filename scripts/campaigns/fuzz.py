"""Bad input: what reads files of others meets files that are damaged, hostile or of another kind.

    python scripts/campaign.py fuzz
    python scripts/campaign.py fuzz --targets=zips,mmi_xml --tries=5000 --seed=1

Each try is made of the seed and its number: one that fails is had again by --targets, --first and
--tries=1. A worker does the tries of a target: it may hang, die or want too much memory. The JSON
is written after each target; one that is in it already, with this seed and as many tries, is not
run again. Ends with an error when a try failed.
"""

import json
import os
from typing import Any

from absl import flags

from ifgan_jax.workdir import write_json
from scripts.campaigns import options, report, tries

TARGETS = flags.DEFINE_list(
    "targets", [], "Some of the targets, with commas; none: all.", allow_override=True
)
TRIES = flags.DEFINE_integer(
    "tries", None, "Of each target, in place of its own.", lower_bound=1, allow_override=True
)
FIRST = flags.DEFINE_integer(
    "first", 0, "Number of the first try.", lower_bound=0, allow_override=True
)
KINDS = 40  # of errors that are told apart in the result


def all_targets() -> dict[str, tries.Target]:
    """By name, the cheap ones first."""
    from scripts.campaigns import deliveries, runs, stored, uploads

    return {**deliveries.TARGETS, **runs.TARGETS, **stored.TARGETS, **uploads.TARGETS}


def main() -> None:
    targets, path, seed = all_targets(), report.output("fuzz"), options.SEED.value
    if unknown := set(TARGETS.value) - set(targets):
        raise ValueError(f"--targets: {', '.join(sorted(unknown))}: no such target")
    os.environ["JAX_PLATFORMS"] = "cpu"  # for the workers
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # JAX would make its folder within a try
    known = json.loads(path.read_text()) if path.exists() else {"targets": {}}
    made: dict[str, Any] = known | report.header("fuzz")
    for name in TARGETS.value or targets:
        count = TRIES.value or targets[name].tries
        which = {"seeds": [seed], "first": FIRST.value, "commit": made["commit"]}
        if _is_done(made["targets"].get(name), which | {"tries": count}):
            continue
        tally = tries.run_watched(targets[name], seed, FIRST.value, FIRST.value + count)
        made["targets"][name] = which | as_json(tally)
        made["tries"] = sum(one["tries"] for one in made["targets"].values())
        write_json(path, made)
        refused, failed = sum(tally.errors.values()), len(tally.failures)
        print(f"{name}: {tally.tries} tries, {refused} errors, {failed} failures", flush=True)
    wrong = {name: one["failures"] for name, one in made["targets"].items() if one["failures"]}
    if wrong:
        name, failures = next(iter(wrong.items()))
        count = sum(map(len, wrong.values()))
        raise ValueError(f"{count} failures, the first: {name}, {failures[0]}")


def _is_done(found: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """Whether a campaign that was cut off has made these tries, of this code, without a failure."""
    if not found or found["failures"] or wanted["commit"].endswith("+"):  # of changed files
        return False
    return all(found[key] == value for key, value in wanted.items())


def as_json(tally: tries.Tally) -> dict[str, Any]:
    """A target's entry of the result; the rarest kinds of error are counted together."""
    kinds = tally.errors.most_common()
    errors = dict(kinds[:KINDS])
    if rest := sum(count for _, count in kinds[KINDS:]):
        errors[f"{len(kinds) - KINDS} other kinds"] = rest
    return {
        "tries": tally.tries,
        "accepted": tally.accepted,
        "errors": errors,
        "failures": tally.failures,
        "seconds": round(tally.seconds, 1),
        "peak_mib": round(tally.peak_mib, 1),
    }
