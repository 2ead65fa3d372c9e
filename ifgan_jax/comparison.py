"""Several runs side by side → one page: numbers, config keys that differ, recalls, curves, faces.

Reads of each run's folder what report.py reads; what is missing reads "not run". The page says so
where the runs were not tested on the same images, and it ranks nothing: one run is one seed. No jax
array or model is touched here.
"""

import html
import itertools
import re
import string
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from ifgan_jax import page, visualize
from ifgan_jax.files import of_file, read_png
from ifgan_jax.page import NOT_RUN, cell
from ifgan_jax.report import (
    CAPTIONS,
    FACTS,
    HEADLINES,
    REMEDY,
    check_no_links,
    images_by_class,
    measured,
    read_json,
    recall,
    tested_people,
)
from ifgan_jax.workdir import FREE_KEYS, flatten, read_config, read_metrics, told, write_text

# Runs are comparable where these of metrics.json are alike: the images, who of them is tested, and
# what generated faces are compared with.
COMPARABLE = {
    "data_hash": "data",
    "folds_hash": "folds",
    "fold": "fold",
    "num_test_images": "number of test images",
    "averages_hash": "average faces (behind transfer accuracy, SSIM and PSNR)",
}
# A panel's title, and the first key of metrics.jsonl that a run has. The baseline has one softmax
# term, of the source alone.
PANELS = {
    "validation accuracy": ("validation/accuracy",),
    "training accuracy": ("train/classifier/accuracy",),
    "E: softmax, source": ("train/classifier/softmax_real", "train/classifier/softmax"),
    "E: softmax, generated": ("train/classifier/softmax_fake",),
    "E: island": ("train/classifier/island",),
    "G: l1": ("train/generator/l1",),
    "G: adversarial": ("train/generator/adversarial",),
    "D: real": ("train/discriminator/real",),
    "D: generated": ("train/discriminator/fake",),
}
# Okabe and Ito's colours with markers; from the eighth run on other lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = tuple(itertools.product(("-", "--", ":"), zip(COLOURS, "os^DvPX", strict=True)))
ABSENT = '<span class="none">absent</span>'
HEADING = "Accuracies, and the terms of eq. 1"
CAPTION = (
    "Each line is a run: its mean over each epoch, against the epochs done; the axis is "
    "logarithmic where values span more than a factor 50. E, G and D name whose term it is, as "
    "eq. 1 weighs it: runs of other weights (see Config) have other scales, and a baseline has E's "
    "panels alone. Good: validation accuracy that is high and stays. Compare whole curves; a "
    "single epoch's height is chance."
)
BODY = string.Template("""$notice
<p>One run is one seed, and runs that differ in nothing but their seed scatter, too: no order of
methods follows from this page. Methods are compared over seeds by scripts/cross_validate.py and
scripts/study.py.</p>
<h2>Results</h2>
$results
<h2>Config</h2>
<p>The keys in which the runs differ, but for those that change no number.</p>
$config
<h2>Recall of each expression</h2>
$recall
<h2>Curves</h2>
$curves
<h2>Expression transfer</h2>
<p>$how_transfer</p>
<div class="beside">$transfer</div>
<h2>Confusion</h2>
<p>$how_confusion</p>
<div class="beside">$confusion</div>
<h2>What was run</h2>
$facts
""")


class Run(NamedTuple):
    """What a folder holds: metrics.json, config.json flattened, metrics.jsonl; empty if missing."""

    name: str
    folder: Path
    metrics: Mapping[str, Any]
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


def write_comparison(workdirs: Sequence[Path], output: Path) -> None:
    """Write the page of the runs in `workdirs` as the file `output`.

    Raises:
      FileNotFoundError: no such folder.
      OSError: the page cannot be written.
      ValueError: fewer than two folders, one of them twice, or a file that is damaged.
    """
    runs = _read(workdirs)
    for run in runs:  # alone first: an error is then of its file
        with of_file(run.folder / "metrics.json", REMEDY):
            _tables([run])
    curves = figure(runs)
    png = None if curves is None else visualize.png_bytes(curves)
    body = BODY.substitute(
        _tables(runs),
        config=_config_table(runs),
        curves=page.figure(HEADING, png, CAPTION),
        how_transfer=CAPTIONS["transfer_grid"],
        transfer=_pictures(runs, "transfer_grid"),
        how_confusion=CAPTIONS["confusion"],
        confusion=_pictures(runs, "confusion"),
    )
    lead = ", ".join(html.escape(run.name) for run in runs)
    with told(output, "it compares anew"):
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, page.document(f"{len(runs)} runs side by side", lead, body))


def _read(workdirs: Sequence[Path]) -> list[Run]:
    """Runs by their folders' names, or by their paths where two names are alike."""
    for folder in workdirs:
        if not folder.is_dir():
            raise FileNotFoundError(f"no run in {folder}: there is no such folder")
        check_no_links(folder)
    whole = [folder.resolve() for folder in workdirs]
    if len(whole) < 2 or len(set(whole)) < len(whole):
        given = ", ".join(map(str, workdirs))
        raise ValueError(f"{given}: two or more runs are compared, each named once")
    alike = len({folder.name for folder in whole}) < len(whole)
    return [
        Run(
            str(given) if alike else folder.name,
            folder,
            read_json(folder / "metrics.json"),
            flatten(read_config(folder)) if (folder / "config.json").exists() else {},
            read_metrics(folder),
        )
        for given, folder in zip(workdirs, whole, strict=True)
    ]


def _tables(runs: Sequence[Run]) -> dict[str, str]:
    """All that metrics.json is shown by."""
    return {
        "notice": _notice(runs),
        "results": _table("Results", "measure", runs, HEADLINES, _number),
        "recall": _recall_table(runs),
        "facts": _table("What was run", "what", runs, FACTS, _fact),
    }


def _notice(runs: Sequence[Run]) -> str:
    """Whether the runs were tested on the same images, as far as their files tell."""
    tested = [run for run in runs if "test_accuracy" in run.metrics]
    untested = [html.escape(r.name) for r in runs if "test_accuracy" not in r.metrics]
    missing = f"<p>Not tested: {', '.join(untested)}.</p>" if untested else ""
    lines = []
    for key, what in COMPARABLE.items():
        named = defaultdict(list)
        for run in tested:
            named[run.metrics.get(key)].append(html.escape(run.name))
        unknown = named.pop(None, [])
        found = ["one in " + "; another in ".join(map(", ".join, named.values()))] if named else []
        found += [f"not recorded in {', '.join(unknown)}"] if unknown else []
        if len(named) > 1 or unknown:
            lines.append(f"<li>{what}: {'; '.join(found)}</li>")
    if lines:
        return (
            '<div class="notice" role="note"><b>Not comparable as they stand.</b> Nothing shows '
            "that these runs were tested on the same images of the same people, so a difference "
            "of their numbers may be one of the images. Not alike, or not recorded:"
            f"<ul>{''.join(lines)}</ul></div>{missing}"
        )
    if len(tested) < 2:
        return missing
    images = cell(tested[0].metrics.get("num_test_images"))
    people = tested_people(tested[0].metrics)
    return f"<p>Tested on the same {images} images of {people}.</p>{missing}"


def _table(
    caption: str,
    what: str,
    runs: Sequence[Run],
    lines: Sequence[Sequence[str]],
    shown: Callable[[Run, str], str],
) -> str:
    """A row for each of `lines` (key, name, perhaps a note), a column for each run."""
    rows = []
    for key, name, *notes in lines:
        label = _breakable(name) + "".join(f'<span class="note">{note}</span>' for note in notes)
        rows.append((label, *(shown(run, key) for run in runs)))
    header = [what, *(_breakable(run.name) for run in runs)]
    return page.table(caption, header, rows, header[1:])


def _breakable(name: str) -> str:
    """A folder's or key's name that may break at ., _ and /: three columns then fit a phone."""
    return re.sub("([._/])", r"\1<wbr>", html.escape(name))


def _number(run: Run, key: str) -> str:
    return measured(run.metrics, key)


def _fact(run: Run, key: str) -> str:
    """Of a hash the first digits; the CSV has all."""
    value = run.metrics.get(key)
    if key.endswith("_hash") and value is not None:
        return f'<data value="{html.escape(value)}">{html.escape(value[:12])}</data>'
    return cell(value)


def _config_table(runs: Sequence[Run]) -> str:
    known = [run.config for run in runs if run.config]
    keys = sorted({key for config in known for key in config} - set(FREE_KEYS))
    whole = [{**dict.fromkeys(keys, ABSENT), **config} for config in known]
    different = [
        (key, key) for key in keys if any(config[key] != whole[0][key] for config in whole)
    ]
    if not different:
        return "<p>They differ in none.</p>" if len(known) == len(runs) else f"<p>{NOT_RUN}</p>"

    def shown(run: Run, key: str) -> str:
        if not run.config:
            return NOT_RUN
        if key not in run.config:
            return ABSENT
        value = run.config[key]
        return cell(value if isinstance(value, float) else str(value))

    return _table("Config", "key", runs, different, shown)


def _recall_table(runs: Sequence[Run]) -> str:
    """Of each expression that some run was tested on, with its number of test images."""
    names = dict.fromkeys(n for run in runs for n in run.metrics.get("class_names", ()))

    def shown(run: Run, name: str) -> str:
        recalls = run.metrics.get("per_class_recall")
        if recalls is None:
            return NOT_RUN
        if name not in recalls:
            return ABSENT
        images = images_by_class(run.metrics).get(name)
        note = f'<span class="note">of {images}</span>' if images else ""
        return recall(recalls[name]) + note

    lines = [(name, name) for name in names]
    if not lines:
        return f"<p>{NOT_RUN}</p>"
    return _table("Recall of each expression", "expression", runs, lines, shown)


def _pictures(runs: Sequence[Run], name: str) -> str:
    files = {run.name: run.folder / "pictures" / f"{name}.png" for run in runs}
    return "\n".join(page.figure(name, read_png(file, REMEDY), "") for name, file in files.items())


def figure(runs: Sequence[Run]) -> Figure | None:
    """Every panel of PANELS that some run has, a line a run; None where none has any."""
    found = {
        title: [_epoch_means(run.rows, keys) for run in runs] for title, keys in PANELS.items()
    }
    drawn = {title: each for title, each in found.items() if any(len(x) for x, _ in each)}
    if not drawn:
        return None
    lines = -(-len(drawn) // 2)
    size = (visualize.WIDTH, 0.4 + 1.4 * lines + 0.2 * len(runs))
    made = Figure(figsize=size, layout="constrained")
    axes = made.subplots(lines, 2, squeeze=False).ravel()
    for axis in axes[len(drawn) :]:
        axis.remove()
    handles, widths = {}, np.linspace(2.5, 1, len(runs))  # what lies below stays visible
    for axis, (title, each) in zip(axes, drawn.items(), strict=False):
        for i, (run, (epochs, means)) in enumerate(zip(runs, each, strict=True)):
            line, (colour, marker) = STYLES[i % len(STYLES)]
            (handles[run.name],) = axis.plot(
                *(epochs, means, line),
                color=colour,
                linewidth=widths[i],
                marker=marker,
                markersize=4,
                markevery=max(1, len(epochs) // 8),
            )
        visualize.dress(axis, title, np.concatenate([means for _, means in each]))
    legend = made.legend(
        handles.values(), handles, loc="outside upper left", frameon=False, fontsize=visualize.SMALL
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a folder's name may hold a $
    made.supxlabel("epoch", fontsize=visualize.TEXT)
    return made


def _epoch_means(
    rows: visualize.Rows, keys: Sequence[str]
) -> tuple[Float[np.ndarray, " e"], Float[np.ndarray, " e"]]:
    """Epochs done (from 1), and the mean of the first of `keys` that is there over each."""
    _, values, epochs = visualize.series(rows, *keys)
    which = np.unique(epochs)
    return which + 1, np.array([values[epochs == epoch].mean() for epoch in which], float)
