"""Bad input: what reads files of others meets files that are damaged, hostile or of another kind.

    python scripts/campaign.py fuzz
    python scripts/campaign.py fuzz --targets=zips,mmi_xml --tries=5000 --seed=1

Each try is made of the seed and its number, so that one that fails is had again by --targets, --first
and --tries=1. A worker does the tries of a target: it may hang, die or want too much memory. The JSON
is written after each target; one that is in it already, with this seed and as many tries, is not run
again. Ends with an error when a try failed.
"""

import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

from absl import flags

from scripts.campaigns import tries

TARGETS = flags.DEFINE_list("targets", [], "Some of the targets, with commas; none: all.")
TRIES = flags.DEFINE_integer("tries", None, "Of each target, in place of its own.", lower_bound=1)
FIRST = flags.DEFINE_integer("first", 0, "Number of the first try.", lower_bound=0)
SEED = flags.DEFINE_integer("seed", 0, "Of all tries.", lower_bound=0)
RESULT = flags.DEFINE_string("result", "docs/reliability/fuzz.json", "JSON file to write.")
KINDS = 40  # of errors that are told apart in the result


def all_targets() -> dict[str, tries.Target]:
    """By name, the cheap ones first. Another kind of input (a page's upload) is one more module."""
    from scripts.campaigns import deliveries, runs, stored

    return {**deliveries.TARGETS, **runs.TARGETS, **stored.TARGETS}


def main() -> None:
    from ifgan_jax.workdir import commit, versions, write_json

    targets, path = all_targets(), Path(RESULT.value)
    if unknown := set(TARGETS.value) - set(targets):
        raise ValueError(f"--targets: {', '.join(sorted(unknown))}: no such target")
    os.environ["JAX_PLATFORMS"] = "cpu"
    known = json.loads(path.read_text()) if path.exists() else {"targets": {}}
    made: dict[str, Any] = known | {
        "command": " ".join(["python", *sys.argv]),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }
    for name in TARGETS.value or targets:
        count, seeds = TRIES.value or targets[name].tries, [SEED.value]
        done = made["targets"].get(name)
        if done and (done["seeds"], done["first"], done["tries"]) == (seeds, FIRST.value, count):
            continue
        tally = tries.run_watched(targets[name], SEED.value, FIRST.value, FIRST.value + count)
        made["targets"][name] = {"seeds": seeds, "first": FIRST.value, **as_json(tally)}
        made["tries"] = sum(one["tries"] for one in made["targets"].values())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, made)
        print(f"{name}: {tally.tries} tries, {tally.accepted} accepted, {sum(tally.errors.values())} "
              f"clear errors, {len(tally.failures)} failures", flush=True)  # fmt: skip
    wrong = {name: one["failures"] for name, one in made["targets"].items() if one["failures"]}
    if wrong:
        name, failures = next(iter(wrong.items()))
        raise ValueError(
            f"{sum(map(len, wrong.values()))} failures, the first: {name}, {failures[0]}"
        )


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
