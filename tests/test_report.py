"""The report is well-formed, self-contained, escaped, and says "not run" for what is missing."""

import base64
import errno
import html.parser
import json
import os
import re
from pathlib import Path

import pytest

from ifgan_jax import report

VOID = {"meta", "link", "img", "br", "wbr"}
PICTURES = ("transfer_grid", "attention_maps", "average_faces", "confusion", "curves")
METRICS = {
    "test_accuracy": 0.91234,
    "test_accuracy_last": 0.90001,
    "test_balanced_accuracy": 0.88765,
    "baseline_test_accuracy": 0.85432,
    "validation_accuracy": 0.95678,
    "transfer_accuracy": 0.76543,
    "identity_variance": 0.012345,
    "ssim": 0.81111,
    "psnr": 23.456,
    "accuracy_generated_shuffled": 0.41414,
    "accuracy_wrong_average": 0.65656,
    "per_class_recall": {"anger": 0.75, "sadness": None, "fear": 0.33333},
    "confusion": [[3, 1, 0], [2, 1, 0], [0, 0, 0]],
    "class_names": ["anger", "fear", "sadness"],
    "selected_step": 1140,
    "last_step": 1200,
    "num_test_images": 7,
    "num_test_subjects": 4,
    "commit": "3f2c1a7d9be0",
    "config_hash": "c0ffee",
    "data_hash": "d00d1e",
    "folds_hash": "f01d50",
    "averages_hash": "fade00",
    "fold": 3,
    "seed": 17,
    "versions": {"python": "3.11.7", "jax": "0.10.2"},
}


class Page(html.parser.HTMLParser):
    """The page's elements, texts and links; raises where a tag is left open or closed twice."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open) and data.strip():
            self.texts.append(data.strip())

    def after(self, text: str) -> list[str]:
        """The texts that follow `text`."""
        return self.texts[self.texts.index(text) + 1 :]

    def links(self) -> list[str]:
        return [a[k] for _, a in self.elements for k in ("src", "href", "action", "data") if k in a]


def write_run(folder: Path, metrics: dict = METRICS) -> Path:
    """A finished run: two epochs of two steps, five pictures of different bytes."""
    (folder / "pictures").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.json").write_text(json.dumps({"batch_size": 32, "data": {"fold": 3}}))
    (folder / "folds.json").write_text(json.dumps({"audit": ["train example 3 & test example 1"]}))
    rows = [
        {"step": s, "epoch": s // 3, "train/generator/l1": s, "train/generator/gradient": 0.5}
        for s in (1, 2, 3, 4)
    ]
    rows[-1]["validation/accuracy"] = 0.625
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in PICTURES:
        (folder / "pictures" / f"{name}.png").write_bytes(b"\x89PNG" + name.encode())
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "demo")


def test_page_is_well_formed_and_holds_every_number(run):
    path = report.write_report(run)
    assert path == run / "report.html"
    page = Page(path)
    shown = {"0.912", "0.900", "0.888", "0.854", "0.957", "0.765", "0.01235", "0.811", "23.46"}
    shown |= {"0.414", "0.657", "1140", "1200", "7", "4", "3f2c1a7d9be0", "c0ffee", "d00d1e"}
    shown |= {"fade00", "3", "17", "python 3.11.7, jax 0.10.2"}
    assert shown <= set(page.texts)
    assert page.after("Baseline's test accuracy")[1] == "0.854"  # after its note
    assert page.after("Fold")[0] == "3"
    assert not {"None", "nan", "$"} & set(page.texts)


def test_only_the_method_was_not_recorded(run):
    assert Page(report.write_report(run)).texts.count("not run") == 1  # METRICS has no "method"


def test_recall_in_the_classes_order_with_absent_class(run):
    texts = Page(report.write_report(run)).after("Recall of each expression")
    assert texts[3:12] == ["anger", "4", "0.750", "fear", "3", "0.333", "sadness", "0", "no images"]


def test_page_asks_nothing_of_the_network(run):
    page = Page(report.write_report(run))
    assert not re.search(r"https?://|//[a-z]|@import|url\(|<iframe", page.source)
    assert page.links()
    assert all(link.startswith("data:") for link in page.links())
    (policy,) = [a["content"] for tag, a in page.elements if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not [attributes for _, attributes in page.elements if "style" in attributes]


def test_every_picture_is_embedded_in_order_with_a_caption(run):
    (run / "pictures" / "extra.png").write_bytes(b"\x89PNGextra")
    page = Page(report.write_report(run))
    images = [attrs for tag, attrs in page.elements if tag == "img"]
    prefix = "data:image/png;base64,"
    assert all(image["src"].startswith(prefix) for image in images)
    contents = [base64.b64decode(image["src"].removeprefix(prefix)) for image in images]
    assert contents == [b"\x89PNG" + name.encode() for name in (*PICTURES, "extra")]
    assert all(image["alt"] for image in images)
    assert [tag for tag, _ in page.elements].count("figcaption") == len(PICTURES)
    assert page.after("Attention")[0].startswith("The decoder's self-attention")


def test_phone_and_dark_mode(run):
    source = report.write_report(run).read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in source
    assert "prefers-color-scheme: dark" in source


def test_texts_are_escaped(tmp_path):
    evil = "<script>alert('1')</script>&\"$title"
    metrics = METRICS | {
        "commit": evil,
        "versions": {evil: evil},
        "class_names": [evil],
        "per_class_recall": {evil: 0.5},
        "confusion": [[1]],
        "data_hash": evil,
    }
    run = write_run(tmp_path / "a<b>&c", metrics)
    (run / "config.json").write_text(json.dumps({evil: evil}))
    row = {"step": 1, "epoch": 0, f"train/{evil}": 1.0}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (run / "pictures" / "x<i>.png").write_bytes(b"\x89PNG")
    page = Page(report.write_report(run))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1  # our own
    assert not {"b>", "i>"} & set(tags)
    assert page.texts.count(evil) == 4  # commit, data hash, recall, term
    assert {"Run a<b>&c", "x<i>", f"{evil} {evil}"} <= set(page.texts)


def test_who_was_tested_is_in_the_lead(tmp_path):
    for subjects, said in ((4, "4 unseen people."), (0, "people who are not named.")):
        run = write_run(tmp_path / str(subjects), METRICS | {"num_test_subjects": subjects})
        assert f"on 7 images of {said}" in Page(report.write_report(run)).texts


MISSING = (
    "metrics.json",
    "metrics.jsonl",
    "config.json",
    "folds.json",
    *(f"pictures/{n}.png" for n in PICTURES),
)


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_piece_is_not_run(run, missing):
    (run / missing).unlink()
    page = Page(report.write_report(run))
    if missing == "metrics.json":
        assert page.texts.count("not run") == 1 + 11 + 12 + 1 + 1 + 1  # lead, tables, recall, all
        assert page.after("Test accuracy")[1] == "not run"
    else:
        assert page.texts.count("not run") == 2


def test_a_missing_number_is_not_run(tmp_path):
    metrics = {k: v for k, v in METRICS.items() if k != "baseline_test_accuracy"}
    page = Page(report.write_report(write_run(tmp_path / "demo", metrics)))
    assert page.after("Baseline's test accuracy")[1] == "not run"
    assert page.texts.count("not run") == 2


def test_a_number_that_the_data_cannot_have_is_undefined(tmp_path):
    """RAF-DB's people have no names, and no part of it validates."""
    metrics = METRICS | {"identity_variance": None, "validation_accuracy": None}
    page = Page(report.write_report(write_run(tmp_path / "demo", metrics)))
    assert page.after("0: nothing of the subject, 1: all of it")[0] == "undefined"
    assert page.texts.count("undefined") == 2


def test_an_empty_folder_gives_a_page(tmp_path):
    page = Page(report.write_report(tmp_path))
    assert page.texts.count("not run") == 27 + 3 + len(PICTURES)
    assert not [tag for tag, _ in page.elements if tag == "img"]


def test_last_epoch_is_a_mean_of_steps(run):
    texts = Page(report.write_report(run)).after("Every term of the last epoch")
    assert texts[0] == "Means over the last 2 steps, up to step 4."
    assert texts[4:9] == ["generator/l1", "3.500", "generator/gradient", "0.500", "accuracy"]
    assert texts[9] == "0.625"


def test_the_audit_is_listed(run):
    heading = "What the audit of the parts found"
    assert Page(report.write_report(run)).after(heading)[0] == "train example 3 & test example 1"
    (run / "folds.json").write_text('{"audit": []}')
    assert Page(report.write_report(run)).after(heading)[0].startswith("nothing shared")


def test_same_files_same_page(run):
    first = report.write_report(run).read_bytes()
    assert report.write_report(run).read_bytes() == first


def test_what_is_no_picture_of_the_run_is_not_shown(run):
    """A run's folder that somebody gave away may have links to what its reader does not mean."""
    (run / "secret.json").write_text('{"password": "a"}')
    picture, config = run / "pictures" / "curves.png", run / "config.json"
    picture.write_bytes(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(ValueError, match=r"curves\.png is no PNG"):
        report.write_report(run)
    picture.unlink()
    config.unlink()
    for link in (picture, config):
        link.symlink_to(run / "secret.json")
        with pytest.raises(ValueError, match=f"{link.name} is a link"):
            report.write_report(run)
        link.unlink()
    (run / "pictures" / "._curves.png").write_bytes(b"what another system keeps of a file")
    (run / "pictures" / "mine.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"mine\.png is no PNG: remove it"):
        report.write_report(run)
    (run / "pictures" / "mine.png").unlink()
    report.write_report(run)
    (run / "pictures").rename(run / "elsewhere")
    (run / "pictures").symlink_to("elsewhere")
    with pytest.raises(ValueError, match="pictures is a link"):
        report.write_report(run)


def test_the_page_before_stays_on_a_full_disk(run, monkeypatch):
    before = report.write_report(run).read_bytes()
    (run / "config.json").unlink()

    def full(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:9])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        report.write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.glob("*.partial"))


@pytest.mark.parametrize("values", [(1e308, 1e308), ("Infinity", "-Infinity")])
def test_numbers_that_have_no_mean_are_told(run, values):
    rows = (f'{{"step": {i}, "epoch": 0, "train/a": {v}}}\n' for i, v in enumerate(values, 1))
    (run / "metrics.jsonl").write_text("".join(rows))
    with pytest.raises(ValueError, match=r"metrics\.jsonl.* is damaged"):
        report.write_report(run)


def test_bad_input_is_named(run):
    with pytest.raises(FileNotFoundError, match=r"no run in .*absent"):
        report.write_report(run / "absent")
    (run / "metrics.json").write_text('{"test_accuracy": 0.')
    with pytest.raises(ValueError, match=r"metrics\.json is damaged"):
        report.write_report(run)
