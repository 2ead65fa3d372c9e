"""A run's folder → report.html; the results of many runs → the paper's tables and figures.

A run: reads what is there of metrics.json, metrics.jsonl, config.json, folds.json, probe.json and
pictures/*.png. Many: what scripts/cross_validate.py keeps. What is missing reads "not run". A page
asks nothing of the network, follows the reader's light or dark mode and fits a phone. Every text is
escaped. No jax array or model is touched here.
"""

import html
import itertools
import json
import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifgan_jax import leak_report, page, study, visualize
from ifgan_jax.published import DATA_SETS, METHODS, TABLE_1, TABLE_2, Published
from ifgan_jax.results import SINGLE_RUNS, Cell, Failure, Result, cells, collect, paired_test
from ifgan_jax.tables import Table, comma_separated, html_table, latex, markdown
from ifgan_jax.workdir import FREE_KEYS, read_metrics

NOT_RUN = '<span class="none">not run</span>'

# Key of metrics.json, its name, and how to read it; shares lie in [0, 1].
HEADLINES = (
    ("test_accuracy", "Test accuracy", "the checkpoint that validation selected"),
    ("test_accuracy_last", "Test accuracy, last step", "no selection at all"),
    ("test_balanced_accuracy", "Balanced test accuracy", "mean recall over the classes present"),
    ("baseline_test_accuracy", "Baseline's test accuracy", "E alone on the source, no G and D"),
    ("validation_accuracy", "Validation accuracy", "of the selected checkpoint; optimistic"),
    ("transfer_accuracy", "Transfer accuracy", "generated faces nearest to the right average face"),
    ("identity_variance", "Identity variance left", "0: nothing of the subject, 1: all of it"),
    ("ssim", "SSIM to the target", "1 is the target itself"),
    ("psnr", "PSNR to the target, dB", "higher is closer"),
    (
        "accuracy_generated_shuffled",
        "Accuracy, generated half shuffled",
        "far below the test accuracy if E uses G's face",
    ),
    (
        "accuracy_wrong_average",
        "Accuracy, source half replaced",
        "by the average face of a wrong class",
    ),
)

# What was run: key of metrics.json and its name.
FACTS = (
    ("method", "Method"),
    ("seed", "Seed"),
    ("fold", "Fold"),
    ("selected_step", "Selected step"),
    ("last_step", "Last step"),
    ("num_test_images", "Test images"),
    ("num_test_subjects", "Unseen test subjects"),
    ("commit", "Commit"),
    ("config_hash", "Config hash"),
    ("data_hash", "Data hash"),
    ("averages_hash", "Average faces' hash"),
)

# File in pictures/, its heading, and how to read it.
PICTURES = (
    (
        "transfer_grid",
        "Expression transfer",
        "Each row, for two people one after the other: the input, the face that G makes of it, and "
        "the target, the average face of that expression (as Fig. 5). The subjects, named at the "
        "left in the same order, were never seen in training. Good: the "
        "generated face shows the input's expression and nothing of the person, so that two "
        "subjects of one expression give the same face.",
    ),
    (
        "attention_maps",
        "Attention",
        "The decoder's self-attention (as Fig. 6). Coloured marks on the generated face are three "
        "query points; the map framed in the same colour is bright where that point looks, each "
        "from 0 to its own maximum. Good: distant regions that move together in the expression "
        "light up, not only the point's surroundings. Maps that are alike whatever the point mean "
        "an attention that gathers one global summary.",
    ),
    (
        "average_faces",
        "Average faces",
        "The targets: the mean image of each expression over the training part only, of n images.",
    ),
    (
        "confusion",
        "Confusion",
        "Test images by true expression (rows) and predicted one (columns); the shade is the share "
        "of the row. Good: all counts on the diagonal.",
    ),
    (
        "curves",
        "Curves",
        "Training: each step faint, the mean of each epoch bold. Validation: once an epoch, where "
        "it is measured. The test part is never looked at before the end.",
    ),
)

BODY = string.Template("""<h2>Results</h2>
$headlines
<h2>What was run</h2>
$facts
<h2>Recall of each expression</h2>
$recall
<h2>Pictures</h2>
<div class="columns">
$pictures
</div>
$leak
<h2>Everything</h2>
<details><summary>Every term of the last epoch</summary>$last_epoch</details>
<details><summary>What the audit of the parts found</summary>$audit</details>
<details><summary>Config</summary>$config</details>
<details><summary>All numbers of metrics.json</summary>$metrics</details>
""")

FIGURE = string.Template("""<figure>
<h3>$heading</h3>
$image
<figcaption>$caption</figcaption>
</figure>""")


def write_report(workdir: Path) -> Path:
    """Gather the run's files in `workdir`/report.html and return its path.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: metrics.json, config.json or folds.json is no JSON; the message names it.
    """
    if not workdir.is_dir():
        raise FileNotFoundError(f"no run in {workdir}: there is no such folder")
    metrics, config = _read_json(workdir / "metrics.json"), _read_json(workdir / "config.json")
    body = BODY.substitute(
        headlines=_headline_table(metrics),
        facts=_fact_table(metrics),
        recall=_recall_table(metrics),
        pictures="\n".join(_figures(workdir / "pictures")),
        leak=_leak(_read_json(workdir / "probe.json")),
        last_epoch=_last_epoch_table(read_metrics(workdir)),
        audit=_audit_list(_read_json(workdir / "folds.json")),
        config=_json_block(config),
        metrics=_json_block(metrics),
    )
    path = workdir / "report.html"
    name = f"Run {workdir.resolve().name}"
    path.write_text(page.document(name, _lead(metrics), body), encoding="utf-8")
    return path


def _lead(metrics: Mapping[str, Any]) -> str:
    """The result in one sentence."""
    if "test_accuracy" not in metrics:
        return f"Test: {NOT_RUN}"
    accuracy, images, subjects = (
        _text(metrics.get(k)) for k in ("test_accuracy", "num_test_images", "num_test_subjects")
    )
    return f"Test accuracy <b>{accuracy}</b> on {images} images of {subjects} unseen subjects."


def _headline_table(metrics: Mapping[str, Any]) -> str:
    rows = []
    for key, name, note in HEADLINES:
        css = ' class="strong"' if key == "test_accuracy" else ""
        rows.append(
            f'<tr{css}><th scope="row">{name}<span class="note">{note}</span></th>'
            f'<td class="number">{_text(metrics.get(key))}</td></tr>'
        )
    return _table(("measure", "value"), rows)


def _fact_table(metrics: Mapping[str, Any]) -> str:
    facts = [(name, _text(metrics.get(key))) for key, name in FACTS]
    versions = metrics.get("versions", {})
    listed = ", ".join(f"{html.escape(k)} {_text(v)}" for k, v in versions.items())
    facts.append(("Versions", listed or NOT_RUN))
    rows = [f'<tr><th scope="row">{name}</th><td><code>{x}</code></td></tr>' for name, x in facts]
    return _table((), rows)


def _recall_table(metrics: Mapping[str, Any]) -> str:
    """Recall with the number of test images; a class without images has no recall."""
    recalls = metrics.get("per_class_recall", {})
    if not recalls:
        return f"<p>{NOT_RUN}</p>"
    counts = dict(zip(metrics.get("class_names", ()), metrics.get("confusion", ()), strict=False))
    rows = []
    for name in metrics.get("class_names", recalls):
        recall = recalls[name]
        images = sum(counts[name]) if name in counts else None
        value = '<span class="none">no images</span>' if recall is None else _text(recall)
        width = 100 * (recall or 0)
        rows.append(
            f'<tr><th scope="row">{html.escape(name)}</th><td class="number">{_text(images)}</td>'
            f'<td class="number">{value}</td>'
            f'<td class="bar"><i style="width:{width:.1f}%"></i></td></tr>'
        )
    return _table(("expression", "images", "recall", ""), rows)


def _figures(folder: Path) -> Iterable[str]:
    """The known pictures in their order, then any other, each with heading and caption."""
    known = {name: (heading, caption) for name, heading, caption in PICTURES}
    others = sorted(path.stem for path in folder.glob("*.png") if path.stem not in known)
    for name in [*known, *others]:
        heading, caption = known.get(name, (name, ""))
        path = folder / f"{name}.png"
        image = f"<p>{NOT_RUN}</p>"
        if path.exists():
            image = page.picture(path.read_bytes(), heading)
        yield FIGURE.substitute(
            heading=html.escape(heading), image=image, caption=html.escape(caption)
        )


def _leak(found: Mapping[str, Any]) -> str:
    """What scripts/probe_identity.py found; nothing before it ran."""
    if not found:
        return ""
    drawn = FIGURE.substitute(
        heading=leak_report.HEADING,
        image=page.picture(visualize.png_bytes(leak_report.figure(found)), leak_report.HEADING),
        caption=leak_report.CAPTION.format(**found["people"]),
    )
    return f"<h2>Identity</h2>\n{drawn}\n{html_table(leak_report.table(found))}"


def _last_epoch_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each term's mean over the training steps of the last epoch, and its validation value."""
    if not rows:
        return f"<p>{NOT_RUN}</p>"
    last = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
    names = dict.fromkeys(k.partition("/")[2] for row in last for k in row if "/" in k)
    body = []
    for name in names:
        training, validation = (
            [row[key] for row in last if row.get(key) is not None]
            for key in (f"train/{name}", f"validation/{name}")
        )
        cells = (math.fsum(training) / len(training) if training else None, *validation[-1:])
        body.append(
            f'<tr><th scope="row">{html.escape(name)}</th>'
            + "".join(f'<td class="number">{"" if x is None else _text(x)}</td>' for x in cells)
            + "<td></td>" * (2 - len(cells))
            + "</tr>"
        )
    note = f"Means over the last {len(last)} steps, up to step {last[-1]['step']}."
    return f'<p class="soft">{note}</p>' + _table(("term", "training", "validation"), body)


def _audit_list(folds: Mapping[str, Any]) -> str:
    """Near-duplicates, and what an owner's own parts share."""
    if "audit" not in folds:
        return f"<p>{NOT_RUN}</p>"
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in folds["audit"])
    return f"<ul>{lines}</ul>" if lines else "<p>nothing shared, nothing nearly the same</p>"


def _table(header: Sequence[str], rows: Sequence[str]) -> str:
    return page.table(header, rows, ("value", "images", "recall", "training", "validation"))


def _text(value: Any) -> str:
    """A cell, escaped: floats to three decimals or four digits, None as "not run"."""
    if value is None:
        return NOT_RUN
    if isinstance(value, float):
        return f"{value:.3f}" if 0.1 <= abs(value) < 10 else f"{value:.4g}"
    return html.escape(str(value))


def _json_block(content: Mapping[str, Any]) -> str:
    if not content:
        return f"<p>{NOT_RUN}</p>"
    return f"<pre>{html.escape(json.dumps(content, indent=1))}</pre>"


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): run the evaluation again") from error


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
<div class="columns">$transfer</div>
<h2>Attention maps (Fig. 6)</h2>
<div class="columns">$attention</div>
<h2>Confusion</h2>
<p>Test images by true expression (rows) and predicted one (columns), summed over the runs.</p>
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
    output.mkdir(parents=True, exist_ok=True)
    for name, table in {**accuracies, **behind}.items():
        for suffix, write in (("md", markdown), ("tex", latex), ("csv", comma_separated)):
            (output / f"{name}.{suffix}").write_text(write(table) + "\n", encoding="utf-8")
    everything = [*accuracies.values(), *behind.values()]
    text = "\n\n".join(map(markdown, everything)) + "\n"
    (output / "tables.md").write_text(text, encoding="utf-8")
    transfer, attention = (_kept_pictures(known, x) for x in ("transfer_grid", "attention_maps"))
    confusion = _confusions(known)
    for name, png in {**transfer, **attention, **confusion}.items():
        if png is not None:
            file = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
            (output / f"{file}.png").write_bytes(png)
    body = TABLES_BODY.substitute(
        tables="\n".join(map(html_table, accuracies.values())),
        behind=html_table(behind["runs"]),
        tests=html_table(behind["paired_tests"]),
        apart=_apart_list(known, failures),
        transfer=_picture_columns(transfer),
        attention=_picture_columns(attention),
        confusion=_picture_columns(confusion),
    )
    lead = f"{len(results)} runs done, {len(failures)} failed; {len(known)} cells of the tables."
    page_path = output / "tables.html"
    page_path.write_text(page.document("Tables 1 and 2", lead, body), encoding="utf-8")
    return everything


def write_study(folder: Path, output: Path) -> Table:
    """The table of a folder of scripts/study.py's results, as study.md, .tex and .csv in `output`.

    Returns it. Raises what `study.collect` raises, and ValueError for a folder without results.
    """
    runs = study.collect(folder)
    if not runs:
        raise ValueError(f"{folder} holds no result of scripts/study.py")
    table = study.table(runs)
    output.mkdir(parents=True, exist_ok=True)
    for suffix, write in (("md", markdown), ("tex", latex), ("csv", comma_separated)):
        (output / f"study.{suffix}").write_text(write(table) + "\n", encoding="utf-8")
    return table


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
            lines.append(f"not alike: {_name(*other_place)} and {METHODS[place[1]]}: {found}")
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
    if run.metrics["data_hash"] != averaged.metrics["data_hash"]:
        texts.append("other data")
    return "; ".join(texts)


def _kept_pictures(known: Cells, picture: str) -> dict[str, bytes | None]:
    """Of IF-GAN's first run on each data set; None where there is none."""
    pictures: dict[str, bytes | None] = {}
    for data in [*DATA_SETS, *sorted({data for data, _ in known} - DATA_SETS.keys())]:
        cell = known.get((data, "ifgan"))
        runs = sorted(cell.runs, key=lambda run: (run.seed, run.fold)) if cell else []
        files = [run.path.with_name(f"{run.path.stem}.{picture}.png") for run in runs]
        name = f"{DATA_SETS.get(data, data)} {picture.replace('_', ' ')}"
        pictures[name] = next((file.read_bytes() for file in files if file.exists()), None)
    return pictures


def _confusions(known: Cells) -> dict[str, bytes | None]:
    pictures: dict[str, bytes | None] = {}
    for place, cell in _ordered(known):
        names = cell.runs[0].metrics["class_names"]
        figure = visualize.confusion_figure(np.asarray(cell.confusion), names)
        pictures[f"{_name(*place)} confusion"] = visualize.png_bytes(figure)
    return pictures


def _picture_columns(pictures: Mapping[str, bytes | None]) -> str:
    return "\n".join(
        FIGURE.substitute(
            heading=html.escape(name),
            image=f"<p>{NOT_RUN}</p>" if png is None else page.picture(png, name),
            caption="",
        )
        for name, png in pictures.items()
    )
