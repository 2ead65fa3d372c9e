"""The results of many runs → Tables 1 and 2 of the paper, Figures 5 and 6, and their page.

Reads what scripts/cross_validate.py keeps; a cell that nobody ran reads "not run". No jax array or
model is touched here.
"""

import html
import itertools
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ifgan_jax import page, visualize
from ifgan_jax.files import read_png
from ifgan_jax.published import DATA_SETS, METHODS, TABLE_1, TABLE_2, Published
from ifgan_jax.report import CAPTIONS
from ifgan_jax.results import DATA, SINGLE_RUNS, Cell, Failure, Result, cells, collect, paired_test
from ifgan_jax.tables import Table, html_table, markdown, write
from ifgan_jax.workdir import FREE_KEYS, told, write_bytes, write_text

Cells = Mapping[tuple[str, str], Cell]

# Keys in which the methods of one table differ by design.
METHOD_KEYS = ("method", "classifier.inputs", "generator.attention", "loss.island_alpha")
TABLES_BODY = string.Template("""<h2>Test accuracy in percent</h2>
<p>Ours: the mean over folds for each seed, then mean ± sample deviation over seeds.
Center Loss and Island Loss are other authors' networks in the paper, and our baseline here.</p>
$tables
<h2>Runs behind them</h2>
$behind
<h2>Paired tests between methods</h2>
<p>Exact sign-flip test over folds, each averaged over the seeds that both methods ran; over seeds
where there is one test part. Folds share training images, so p is rather too small.</p>
$tests
<h2>Not averaged</h2>
$apart
<h2>Expression transfer (Fig. 5)</h2>
<p>$how_transfer</p>
<div class="columns">$transfer</div>
<h2>Attention maps (Fig. 6)</h2>
<p>$how_attention</p>
<div class="columns">$attention</div>
<h2>Confusion</h2>
<p>$how_confusion Summed over the runs.</p>
<div class="columns">$confusion</div>
""")


def write_tables(folders: Sequence[Path], output: Path) -> list[Table]:
    """Tables 1 and 2 (and one of other data) from all results in `folders`, and their page.

    Writes into `output`: tables.html, tables.md, a .md, .tex and .csv file for each table, and the
    figures as PNG. Returns the tables. Raises what `results.collect` raises, before it writes.
    """
    results, failures = collect(folders)
    known = cells(results)
    accuracies = {"table_1": _published_table(TABLE_1, known)}
    accuracies["table_2"] = _published_table(TABLE_2, known)
    if others := sorted({data for data, _ in known} - DATA_SETS.keys()):
        accuracies["table_other"] = _table_of_others(others, known)
    behind = {"runs": _runs_table(known), "paired_tests": _tests_table(known)}
    everything = [*accuracies.values(), *behind.values()]
    transfer, attention = (_kept_pictures(known, x) for x in ("transfer_grid", "attention_maps"))
    confusion = _confusions(known)
    body = TABLES_BODY.substitute(
        tables="\n".join(map(html_table, accuracies.values())),
        behind=html_table(behind["runs"]),
        tests=html_table(behind["paired_tests"]),
        apart=_apart_list(known, failures),
        transfer=_picture_columns(transfer),
        attention=_picture_columns(attention),
        confusion=_picture_columns(confusion),
        how_transfer=CAPTIONS["transfer_grid"],
        how_attention=CAPTIONS["attention_maps"],
        how_confusion=CAPTIONS["confusion"],
    )
    lead = f"{len(results)} runs done, {len(failures)} failed; {len(known)} cells of the tables."
    with told(f"a file of {output}", "it writes anew"):
        output.mkdir(parents=True, exist_ok=True)
        for name, table in {**accuracies, **behind}.items():
            write(table, output, name)
        write_text(output / "tables.md", "\n\n".join(map(markdown, everything)) + "\n")
        for name, png in {**transfer, **attention, **confusion}.items():
            if png is not None:
                file = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
                write_bytes(output / f"{file}.png", png)
        write_text(output / "tables.html", page.document("Tables 1 and 2", lead, body))
    return everything


def _published_table(published: Published, known: Cells) -> Table:
    """The paper's rows in its order, each figure beside ours."""
    names = [DATA_SETS[data] for data in published.data_sets]
    header = ("Method", *(f"{name}, {whose}" for name in names for whose in ("paper", "ours")))
    rows = []
    for row in published.rows:
        line = [row.name]
        for data, percent in zip(published.data_sets, row.paper, strict=True):
            ours = _accuracy(known.get((data, row.method))) if row.method else ""
            line += ["–" if percent is None else f"{percent:.2f}", ours]
        rows.append(tuple(line))
    used = [cell for (data, _), cell in known.items() if data in published.data_sets]
    return Table(published.caption + _settings(used), header, tuple(rows))


def _table_of_others(data_sets: Sequence[str], known: Cells) -> Table:
    """Data sets that the paper does not have: ours alone."""
    rows = tuple(
        (name, *(_accuracy(known.get((data, method))) for data in data_sets))
        for method, name in METHODS.items()
    )
    used = [known[place] for place in known if place[0] in data_sets]
    return Table("Other data sets" + _settings(used), ("Method", *data_sets), rows)


def _accuracy(cell: Cell | None) -> str:
    """ "97.52 ± 0.31"; a cell without a complete seed says how many folds it has."""
    if cell is None:
        return "not run"
    text = f"{100 * cell.mean:.2f}"
    if not cell.complete_seeds:
        return f"{text} ({len(cell.by_fold())} of {cell.expected_folds} folds)"
    return text if cell.deviation is None else f"{text} ± {100 * cell.deviation:.2f}"


def _settings(used: Sequence[Cell]) -> str:
    """ " (ours: ResNet-18, 64 px, epochs: 2)", for the reader who compares; "" without runs."""
    settings = {
        "ResNet-{}, {} px, epochs: {}".format(
            *(cell.runs[0].config[k] for k in ("classifier.depth", "data.crop", "epochs"))
        )
        for cell in used
    }
    return f" (ours: {'; '.join(sorted(settings))})" if settings else ""


def _name(data_set: str, method: str) -> str:
    return f"{DATA_SETS.get(data_set, data_set)}, {METHODS.get(method, method)}"


def _ordered(known: Cells) -> list[tuple[tuple[str, str], Cell]]:
    """Cells in the paper's order of data sets and methods, then others by name."""
    data_sets, methods = list(DATA_SETS), list(METHODS)

    def rank(name: str, order: list[str]) -> tuple[int, str]:
        return (order.index(name) if name in order else len(order), name)

    return sorted(known.items(), key=lambda x: (rank(x[0][0], data_sets), rank(x[0][1], methods)))


def _runs_table(known: Cells) -> Table:
    """Means and both spreads as plain numbers, in percent."""
    header = (
        "Cell",
        "mean",
        "deviation over seeds",
        "complete seeds",
        "spread over folds",
        "runs",
        "folds of a seed",
        "test images",
        "config",
    )
    rows = []
    for place, cell in _ordered(known):
        over_seeds, over_folds = (
            "" if value is None else f"{100 * value:.2f}"
            for value in (cell.deviation, cell.fold_spread)
        )
        rows.append(
            (
                _name(*place),
                f"{100 * cell.mean:.2f}",
                over_seeds,
                str(len(cell.complete_seeds)),
                over_folds,
                str(len(cell.runs)),
                str(cell.expected_folds),
                str(cell.confusion.sum()),
                cell.digest,
            )
        )
    return Table("Runs behind the tables", header, tuple(rows))


def _tests_table(known: Cells) -> Table:
    """Every pair of methods on every data set; what cannot be paired yet says so."""
    rows = []
    ordered = _ordered(known)
    for (place, first), (other_place, second) in itertools.combinations(ordered[::-1], 2):
        if place[0] != other_place[0]:
            continue
        name = f"{_name(*place)} − {METHODS.get(other_place[1], other_place[1])}"
        test = paired_test(first, second)
        if test is None:
            rows.append((name, "too few pairs", "", ""))
        else:
            numbers = (
                f"{100 * test.difference:+.2f}",
                f"{test.p:.4f}",
                f"{test.pairs} {test.unit}",
            )
            rows.append((name, *numbers))
    header = ("Methods", "difference", "p", "pairs")
    return Table("Paired tests between methods", header, tuple(rows))


def _apart_list(known: Cells, failures: Sequence[Failure]) -> str:
    """Failed runs, runs of another config or of other data, cells whose configs differ."""
    lines = [f"failed: {failure.name}: {failure.error}" for failure in failures]
    for _, cell in _ordered(known):
        keys = {run.path.stem: _different(run, cell.runs[0]) for run in cell.set_aside}
        lines += [f"of another config: {name}: {found}" for name, found in keys.items()]
    for (place, cell), (other_place, other) in itertools.pairwise(_ordered(known)):
        found = _different(other.runs[0], cell.runs[0], METHOD_KEYS)
        if place[0] == other_place[0] and found:
            method = METHODS.get(place[1], place[1])
            lines.append(f"not alike: {_name(*other_place)} and {method}: {found}")
    if not lines:
        return "<p>nothing</p>"
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _different(run: Result, averaged: Result, but: Sequence[str] = ()) -> str:
    """ "epochs 3 instead of 2; …", and whether the data differ; "" when nothing does."""
    ignored = (*SINGLE_RUNS, *FREE_KEYS, *but)
    keys = sorted((run.config.keys() | averaged.config.keys()) - set(ignored))
    its, theirs = ({**dict.fromkeys(keys, "absent"), **r.config} for r in (run, averaged))
    texts = [
        f"{key} {its[key]} instead of {theirs[key]}" for key in keys if its[key] != theirs[key]
    ]
    if any(run.metrics[key] != averaged.metrics[key] for key in DATA):
        texts.append("other data or folds")
    return "; ".join(texts)


def _kept_pictures(known: Cells, picture: str) -> dict[str, bytes | None]:
    """Of IF-GAN's first run on each data set; None where there is none."""
    pictures: dict[str, bytes | None] = {}
    for data in [*DATA_SETS, *sorted({data for data, _ in known} - DATA_SETS.keys())]:
        cell = known.get((data, "ifgan"))
        runs = sorted(cell.runs, key=lambda run: (run.seed, run.fold)) if cell else []
        files = [run.path.with_name(f"{run.path.stem}.{picture}.png") for run in runs]
        name = f"{DATA_SETS.get(data, data)} {picture.replace('_', ' ')}"
        found = (read_png(file, "delete it; the tables do without") for file in files)
        pictures[name] = next(filter(None, found), None)
    return pictures


def _confusions(known: Cells) -> dict[str, bytes | None]:
    pictures: dict[str, bytes | None] = {}
    for place, cell in _ordered(known):
        names = cell.runs[0].metrics["class_names"]
        figure = visualize.confusion_figure(np.asarray(cell.confusion), names)
        pictures[f"{_name(*place)} confusion"] = visualize.png_bytes(figure)
    return pictures


def _picture_columns(pictures: Mapping[str, bytes | None]) -> str:
    return "\n".join(page.figure(name, png, "") for name, png in pictures.items())
