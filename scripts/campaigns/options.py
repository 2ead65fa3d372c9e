"""Flags that several commands have. The tests import commands beside other scripts: override."""

from absl import flags

OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "JSON file to write; by default runs/campaigns/<command>.json.",
    allow_override=True,
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Of all that is drawn by chance.", lower_bound=0, allow_override=True
)
