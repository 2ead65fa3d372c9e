"""A run's folder → report.html.

Reads what is there of metrics.json, metrics.jsonl, config.json, folds.json, probe.json and
pictures/*.png; what is missing reads "not run". The page asks nothing of the network, follows the
reader's light or dark mode and fits a phone. Every text is escaped. No jax array or model is
touched here.
"""

import contextlib
import html
import json
import math
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ifgan_jax import leak_report, page, visualize
from ifgan_jax.files import check_no_link, of_file, read_object, read_png
from ifgan_jax.page import NOT_RUN, cell
from ifgan_jax.tables import html_table
from ifgan_jax.workdir import read_metrics, write_text

REMEDY = "run the evaluation again"
SHOWN = ("config.json", "folds.json", "metrics.json", "metrics.jsonl", "pictures", "probe.json")

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
    ("num_test_subjects", "Unseen test subjects, as far as named"),
    ("commit", "Commit"),
    ("config_hash", "Config hash"),
    ("data_hash", "Data hash"),
    ("folds_hash", "Folds' hash"),
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
        "The targets: the mean image of each expression over the training part only, of n images. "
        "Good: the expression is plain and nobody can be made out; the fewer images, the more of "
        "single people remains.",
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
        "it is measured. Terms are weighted as eq. 1 adds them. Good: validation accuracy follows "
        "that of training (a gap that widens is learning by heart), l1 falls, and "
        "of the discriminator's two terms neither goes to 0, which would leave G nothing to learn "
        "from. The test part is never looked at before the end.",
    ),
)

CAPTIONS = {name: caption for name, _, caption in PICTURES}

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


def write_report(workdir: Path) -> Path:
    """Gather the run's files in `workdir`/report.html and return its path.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: a file is not what the run wrote; the message names it.
    """
    if not workdir.is_dir():
        raise FileNotFoundError(f"no run in {workdir}: there is no such folder")
    check_no_links(workdir)
    with _of_run(workdir / "metrics.json") as metrics:
        shown = {
            "headlines": _headline_table(metrics),
            "facts": _fact_table(metrics),
            "recall": _recall_table(metrics),
            "metrics": _json_block(metrics),
        }
        lead = _lead(metrics)
    with _of_run(workdir / "probe.json") as found:
        shown["leak"] = _leak(found)
    with _of_run(workdir / "folds.json") as folds:
        shown["audit"] = _audit_list(folds)
    with _of_run(workdir / "config.json") as config:
        shown["config"] = _json_block(config)
    rows = read_metrics(workdir)
    with of_file(workdir / "metrics.jsonl", REMEDY):
        shown["last_epoch"] = _last_epoch_table(rows)
    body = BODY.substitute(shown, pictures="\n".join(_figures(workdir / "pictures")))
    path = workdir / "report.html"
    name = f"Run {workdir.resolve().name}"
    write_text(path, page.document(name, lead, body))
    return path


def _lead(metrics: Mapping[str, Any]) -> str:
    """The result in one sentence."""
    if "test_accuracy" not in metrics:
        return f"Test: {NOT_RUN}"
    accuracy, images = (cell(metrics.get(key)) for key in ("test_accuracy", "num_test_images"))
    return f"Test accuracy <b>{accuracy}</b> on {images} images of {tested_people(metrics)}."


def tested_people(metrics: Mapping[str, Any]) -> str:
    """How many, where the data name them: RAF-DB's do not."""
    people = metrics.get("num_test_subjects")
    return "people who are not named" if people == 0 else f"{cell(people)} unseen people"


def _headline_table(metrics: Mapping[str, Any]) -> str:
    rows = [
        (f'{name}<span class="note">{note}</span>', measured(metrics, key))
        for key, name, note in HEADLINES
    ]
    rows[0] = (f"<b>{rows[0][0]}</b>", f"<b>{rows[0][1]}</b>")
    return page.table("Results", ("measure", "value"), rows, ("value",))


def measured(metrics: Mapping[str, Any], key: str) -> str:
    """One of HEADLINES; some data have none of it: nobody named, no part that validates."""
    if key in metrics and metrics[key] is None:
        return '<span class="none">undefined</span>'
    return cell(metrics.get(key))


def _fact_table(metrics: Mapping[str, Any]) -> str:
    facts = [(name, cell(metrics.get(key))) for key, name in FACTS]
    versions = metrics.get("versions", {})
    listed = ", ".join(f"{html.escape(k)} {cell(v)}" for k, v in versions.items())
    facts.append(("Versions", listed or NOT_RUN))
    rows = [(name, f"<code>{value}</code>") for name, value in facts]
    return page.table("What was run", ("what", "value"), rows)


def _recall_table(metrics: Mapping[str, Any]) -> str:
    """Recall with the number of test images; a class without images has no recall."""
    recalls = metrics.get("per_class_recall", {})
    if not recalls:
        return f"<p>{NOT_RUN}</p>"
    images = images_by_class(metrics)
    rows = []
    for name in metrics.get("class_names", recalls):
        width = f"{100 * (recalls[name] or 0):.1f}%"
        bar = f'<svg class="bar"><rect width="{width}" height="100%"/></svg>'
        rows.append((html.escape(name), cell(images.get(name)), bar + recall(recalls[name])))
    header = ("expression", "images", "recall")
    return page.table("Recall of each expression", header, rows, header[1:])


def images_by_class(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Of each expression, how many images were tested."""
    confusion = metrics.get("confusion", ())
    return dict(zip(metrics.get("class_names", ()), map(sum, confusion), strict=False))


def recall(value: float | None) -> str:
    """A recall's cell; a class without images has none."""
    return '<span class="none">no images</span>' if value is None else cell(value)


def _figures(folder: Path) -> Iterable[str]:
    """The known pictures in their order, then any other, each with heading and caption."""
    known = {name: (heading, caption) for name, heading, caption in PICTURES}
    for name, (heading, caption) in known.items():
        yield page.figure(heading, read_png(folder / f"{name}.png", REMEDY), caption)
    for path in sorted(folder.glob("[!.]*.png")):
        if path.stem not in known:
            yield page.figure(path.stem, read_png(path, "remove it"), "")


def _leak(found: Mapping[str, Any]) -> str:
    """What scripts/probe_identity.py found; nothing before it ran."""
    if not found:
        return ""
    table = html_table(leak_report.table(found))
    png, caption = visualize.png_bytes(leak_report.figure(found)), leak_report.CAPTION
    drawn = page.figure(leak_report.HEADING, png, caption.format(**found["people"]))
    return f"<h2>Identity</h2>\n{drawn}\n{table}"


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
        mean = cell(math.fsum(training) / len(training)) if training else ""
        body.append((html.escape(name), mean, cell(validation[-1]) if validation else ""))
    note = f"Means over the last {len(last)} steps, up to step {last[-1]['step']}."
    header = ("term", "training", "validation")
    shown = page.table("Every term of the last epoch", header, body, header[1:])
    return f'<p class="soft">{note}</p>{shown}'


def _audit_list(folds: Mapping[str, Any]) -> str:
    """Near-duplicates, and what an owner's own parts share."""
    if "audit" not in folds:
        return f"<p>{NOT_RUN}</p>"
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in folds["audit"])
    return f"<ul>{lines}</ul>" if lines else "<p>nothing shared, nothing nearly the same</p>"


def _json_block(content: Mapping[str, Any]) -> str:
    if not content:
        return f"<p>{NOT_RUN}</p>"
    return f"<pre>{html.escape(json.dumps(content, indent=1))}</pre>"


def check_no_links(workdir: Path) -> None:
    """ValueError naming what of SHOWN is a link, and would show what lies elsewhere."""
    for name in SHOWN:
        check_no_link(workdir / name)


def read_json(path: Path) -> dict[str, Any]:
    """What the file holds, {} where there is none; ValueError naming a damaged one."""
    return read_object(path, REMEDY) if path.exists() else {}


@contextlib.contextmanager
def _of_run(path: Path) -> Iterator[dict[str, Any]]:
    """`read_json`; what is odd in it, too, is told by the file's name."""
    content = read_json(path)
    with of_file(path, REMEDY):
        yield content
