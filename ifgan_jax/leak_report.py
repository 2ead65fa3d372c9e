"""probe.json (what representations tell of a person) as one table and one figure.

No jax, TensorFlow, config or file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ifgan_jax.tables import Table
from ifgan_jax.visualize import BLUE, SMALL, VERMILLION, WIDTH

COLUMNS = {
    "rank_1": "person found first",
    "auc": "same or another (AUC)",
    "linear_probe": "person, linear",
    "expression": "expression",
    "gender": "gender",
    "race": "race",
    "age": "age",
}
HEADING = "What is left of the person"
CAPTION = (
    "Each representation of unseen people's faces, probed by a classifier of its own that was "
    "fitted on others. Left: how often the first of {gallery} people found by a query is the right "
    "one, the query showing other expressions than the gallery. Right: how often the expression is "
    "told. Bars: 95 % intervals; dashed: guessing. Good: at the left like guessing, at the right "
    "as high as can be."
)


def table(found: Mapping[str, Any]) -> Table:
    """A row a representation, in percent with intervals; the last row is what guessing reaches."""
    rows = found["representations"]
    if not rows:
        raise ValueError("no representation was probed")
    columns = [key for key in COLUMNS if all(key in row for row in rows.values())]
    lines = [(name, *(_percent(row[key]) for key in columns)) for name, row in rows.items()]
    first = next(iter(rows.values()))
    lines.append(("guessing", *(f"{100 * first[key][3]:.1f}" for key in columns)))
    people = found["people"]
    caption = (
        f"What representations tell, in percent with 95 % intervals: {people['gallery']} people "
        f"of {found['data']}; probes of {people['train']} others, chosen on {people['validation']}"
    )
    return Table(caption, ("", *(COLUMNS[key] for key in columns)), tuple(lines))


def _percent(measure: Sequence[float]) -> str:
    value, low, high, _ = (100 * x for x in measure)
    return f"{value:.1f} ({low:.1f}–{high:.1f})"


def figure(found: Mapping[str, Any]) -> Figure:
    """Person and expression of each representation side by side, with intervals and chance."""
    rows = found["representations"]
    made = Figure(figsize=(WIDTH, 0.28 * len(rows) + 0.9), layout="constrained")
    axes = made.subplots(1, 2, sharey=True)
    for axis, key, colour in zip(axes, ("rank_1", "expression"), (VERMILLION, BLUE), strict=True):
        for place, row in enumerate(rows.values()):
            value, low, high, chance = (100 * x for x in row[key])
            axis.plot([low, high], [place, place], color=colour, linewidth=1.6)
            axis.plot(value, place, "o", color=colour, markersize=4)
        axis.axvline(chance, color="black", linewidth=0.8, linestyle="--")
        axis.set_xlim(-3, 103)
        axis.set_title(f"{COLUMNS[key]}, %", fontsize=SMALL)
        axis.tick_params(labelsize=SMALL)
        axis.grid(axis="x", alpha=0.3, linewidth=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(rows)), [name.replace(": ", ":\n") for name in rows])
    axes[0].invert_yaxis()
    return made
