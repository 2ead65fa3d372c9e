"""Pages as a reader meets them: sorted, downloaded, on a phone, in the dark, of hostile texts."""

import csv
import functools
import json
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page

from ifgan_jax import page as pages
from ifgan_jax import visualize
from ifgan_jax.comparison import write_comparison
from ifgan_jax.paper_tables import write_tables
from ifgan_jax.report import HEADLINES, write_report
from ifgan_jax.tables import Table, html_table
from tests.test_report import METRICS, write_run

# In the order that the script gives; words come after numbers, what was not measured last.
NUMBERS = ("−2.5", "-2.3 (-4.0 to -1.0)", "0", "+0.5", "1.5 ± 0.2", "2 %", "× 5", "10 folds", "1e3")
WORDS = ("3.11.7", "3f2c1a", "fold 2", "fold 10", "too few pairs")
MISSING = ("not run", "–", "", "no images", "absent", "undefined")
# Luminance, contrast: WCAG 2.1. Of every text its own colour upon the nearest opaque background.
CONTRASTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => rgb(text).slice(0, 3).map((c) => c / 255).map((c) =>
    c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce(
    (sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    const colour = getComputedStyle(e).backgroundColor;
    return rgb(colour)[3] === 0 ? behind(e.parentElement) : colour;
  };
  const found = [];
  for (const e of document.body.querySelectorAll("*:not(script)")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)]);
  }
  return found;
}"""


@functools.cache
def figures() -> dict[str, bytes]:
    faces = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), np.uint8)
    grid = visualize.transfer_grid(*(faces,) * 3, ["fear"] * 12, ["s"] * 12, across=2)
    confusion = visualize.confusion_figure(np.eye(6, dtype=int), list("abcdef"))
    drawn = {"transfer_grid": grid, "confusion": confusion}
    return {name: visualize.png_bytes(figure) for name, figure in drawn.items()}


def pictured_run(folder: Path, metrics: dict = METRICS) -> Path:
    """A run whose pictures, fewer than usual, can be shown."""
    pictures = write_run(folder, metrics) / "pictures"
    for path in pictures.glob("*.png"):
        path.unlink()
    for name, png in figures().items():
        (pictures / f"{name}.png").write_bytes(png)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "demo")


def open_table(page: Page, folder: Path, column: list[str]) -> Locator:
    """A page of one table, whose rows are numbered as they came."""
    rows = tuple((str(i), text) for i, text in enumerate(column))
    path = folder / "page.html"
    body = html_table(Table("A, b: table", ("", "value"), rows))
    path.write_text(pages.document("One table", "", body), encoding="utf-8")
    page.goto(path.as_uri())
    return page.locator("table")


def open_details(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")


def column(table: Locator, index: int) -> list[str]:
    cells = table.locator(f"tbody tr > :nth-child({index + 1})").all()
    return [cell.evaluate("e => e.querySelector('data')?.value ?? e.textContent") for cell in cells]


def download(page: Page, caption: str, folder: Path) -> tuple[str, bytes]:
    """The CSV of a table: its file's name, and content."""
    with page.expect_download() as begun:
        page.get_by_role("link", name=f"CSV: {caption}", exact=True).click()
    begun.value.save_as(folder / "saved.csv")
    return begun.value.suggested_filename, (folder / "saved.csv").read_bytes()


def test_every_kind_of_cell_sorts_both_ways_and_back(page: Page, tmp_path: Path):
    given = [*NUMBERS, *WORDS, *MISSING]
    mixed = [given[i] for i in np.random.default_rng(1).permutation(len(given))]
    table = open_table(page, tmp_path, mixed)
    heading = table.get_by_role("columnheader", name="value")
    last = [text for text in mixed if text in MISSING]  # stable: as they came
    upwards = ("ascending", [*NUMBERS, *WORDS, *last])
    downwards = ("descending", [*NUMBERS[::-1], *WORDS[::-1], *last])
    orders = (upwards, downwards, (None, mixed), upwards)
    for sort, expected in orders:
        heading.get_by_role("button").click()
        assert column(table, 1) == expected
        assert heading.get_attribute("aria-sort") == sort
    table.get_by_role("button", name="name").click()
    assert heading.get_attribute("aria-sort") is None
    assert column(table, 1) == mixed  # by the rows' numbers: "10" after "2"


def test_equal_cells_keep_their_order(page: Page, tmp_path: Path):
    table = open_table(page, tmp_path, ["2", "1", "2.0", "1.0", "2 %"])
    button = table.get_by_role("button", name="value")
    button.click()
    assert column(table, 0) == ["1", "3", "0", "2", "4"]
    button.click()
    assert column(table, 0) == ["0", "2", "4", "1", "3"]


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_headings_are_reached_and_pressed_by_the_keyboard(page: Page, tmp_path: Path, key: str):
    table = open_table(page, tmp_path, ["2", "1"])
    for _ in range(2):  # the box that scrolls may be a stop of its own
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "BUTTON":
            break
    page.keyboard.press("Tab")
    page.keyboard.press(key)
    assert column(table, 1) == ["1", "2"]


def test_every_table_of_a_run_sorts_and_gives_its_csv(page: Page, finished: Path, tmp_path: Path):
    """Of a run that was trained: its own report, with all figures that it drew."""
    page.goto((finished / "report.html").as_uri())
    open_details(page)
    figures = page.locator("img")
    assert figures.count() >= len(list((finished / "pictures").glob("*.png"))) == 5
    assert figures.evaluate_all("all => all.every((i) => i.complete && i.naturalWidth > 0)")
    tables = page.locator("table").all()
    assert len(tables) == 4
    for table in tables:
        headings = [heading.inner_text() for heading in table.get_by_role("columnheader").all()]
        before = [column(table, i) for i in range(len(headings))]
        caption = table.get_attribute("aria-label") or ""
        _, content = download(page, caption, tmp_path)
        header, *lines = csv.reader(content.decode("utf-8").splitlines())
        assert header == headings
        for line, *cells in zip(lines, *before, strict=True):
            assert all(map(str.startswith, cells, line)), caption  # a note is no part of the value
        for i in range(len(headings)):
            table.get_by_role("columnheader").nth(i).get_by_role("button").click()
            assert sorted(column(table, i)) == sorted(before[i]), caption
        assert table.locator("[aria-sort]").count() == 1, caption
    page.set_viewport_size({"width": 390, "height": 844})  # on a phone no table has to be moved
    wide = "all => all.filter((b) => b.scrollWidth > b.clientWidth).map((b) => b.innerText)"
    assert page.locator(".scroll").evaluate_all(wide) == []


def test_results_sort_by_what_is_behind_the_rounding(page: Page, run: Path):
    metrics = METRICS | {"test_accuracy": 0.91234, "test_accuracy_last": 0.91231, "ssim": None}
    (run / "metrics.json").write_text(json.dumps(metrics))
    page.goto(write_report(run).as_uri())
    table = page.get_by_role("table", name="Results", exact=True)
    table.get_by_role("button", name="value").click()
    values = sorted(metrics[key] for key, *_ in HEADLINES if metrics[key] is not None)
    assert column(table, 1) == [*map(str, values), "undefined"]


def test_csv_holds_every_digit_and_any_text(page: Page, run: Path, tmp_path: Path):
    odd = 'a "b", <c>\r\n= é ±'
    metrics = METRICS | {
        "class_names": ["anger", odd],
        "per_class_recall": {"anger": 1 / 3, odd: None},
        "confusion": [[1, 2], [0, 0]],
    }
    (run / "metrics.json").write_text(json.dumps(metrics))
    page.goto(write_report(run).as_uri())
    name, content = download(page, "Results", tmp_path)
    assert name == "results.csv"
    lines = list(csv.reader(content.decode("utf-8").splitlines()))
    assert lines[0] == ["measure", "value"]
    assert [float(value) for _, value in lines[1:]] == [metrics[key] for key, *_ in HEADLINES]
    assert [measure for measure, _ in lines[1:]] == [name for _, name, _ in HEADLINES]
    name, content = download(page, "Recall of each expression", tmp_path)
    assert name == "recall_of_each_expression.csv"
    (tmp_path / "read.csv").write_bytes(content)
    with (tmp_path / "read.csv").open(newline="", encoding="utf-8") as stream:
        read = list(csv.reader(stream))
    shown = odd.replace("\r\n", "\n")  # as HTML reads it
    header = ["expression", "images", "recall"]
    assert read == [header, ["anger", "3", str(1 / 3)], [shown, "0", "no images"]]
    assert content.count(b"\r\n") == 3


def test_a_wide_table_scrolls_in_its_own_box_on_a_phone(page: Page, tmp_path: Path):
    page.set_viewport_size({"width": 390, "height": 844})
    unbroken = "x" * 150
    folders = [pictured_run(tmp_path / f"{unbroken}{i}") for i in range(4)]
    write_comparison(folders, tmp_path / "comparison.html")
    (tmp_path / "results").mkdir()
    write_tables([tmp_path / "results"], tmp_path / "tables")
    written = (tmp_path / "comparison.html", tmp_path / "tables" / "tables.html")
    for path in (*written, write_report(folders[0])):
        page.goto(path.as_uri())
        open_details(page)
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), path
        widths = page.locator("img").evaluate_all("all => all.map((i) => i.clientWidth)")
        assert all(0 < width <= 390 for width in widths), path
        scrolled = page.locator(".scroll").evaluate_all("all => all.map((b) => b.scrollWidth)")
        if path in written:
            assert max(scrolled) > 390
    assert len(widths) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_legible_in_either_mode(page: Page, tmp_path: Path, scheme: str):
    other = METRICS | {"data_hash": "else"}
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", other), tmp_path / "c"]
    folders[2].mkdir()
    write_comparison(folders, tmp_path / "comparison.html")
    page.emulate_media(color_scheme=scheme)
    colours = {}
    for path in (write_report(folders[0]), tmp_path / "comparison.html"):
        page.goto(path.as_uri())
        found = page.evaluate(CONTRASTS)
        assert len(found) > 100
        assert min(found)[0] >= 4.5, min(found)
        for part in ("color", "backgroundColor"):
            colour = page.evaluate(f"getComputedStyle(document.body).{part}")
            colours[part] = sum(map(int, colour.strip("rgb()").split(",")))
    assert (colours["color"] > colours["backgroundColor"]) == (scheme == "dark")


def test_three_runs_one_of_them_lacking_pieces(page: Page, tmp_path: Path):
    other = METRICS | {"test_accuracy": 0.25, "folds_hash": "else"}
    folders = [pictured_run(tmp_path / "a"), pictured_run(tmp_path / "b", other), tmp_path / "c"]
    folders[2].mkdir()
    write_comparison(folders, tmp_path / "comparison.html")
    page.goto((tmp_path / "comparison.html").as_uri())
    results = page.get_by_role("table", name="Results", exact=True)
    keys = [key for key, *_ in HEADLINES]
    for i, metrics in ((1, METRICS), (2, other)):
        assert [float(value) for value in column(results, i)] == [metrics[key] for key in keys]
    assert set(column(results, 3)) == {"not run"}
    notice = page.get_by_role("note").inner_text()
    assert "Not comparable as they stand" in notice
    assert "folds: one in a; another in b" in notice
    assert page.get_by_text("Not tested: c.").is_visible()
    figures = page.locator(".beside figure").all()
    assert [figure.locator("h3").inner_text() for figure in figures] == ["a", "b", "c"] * 2
    assert [figure.locator("img").count() for figure in figures] == [1, 1, 0] * 2
    assert len({figure.bounding_box()["y"] for figure in figures}) == 2  # two rows of three
    _, content = download(page, "Results", tmp_path)
    lines = list(csv.reader(content.decode("utf-8").splitlines()))
    assert lines[:2] == [
        ["measure", "a", "b", "c"],
        ["Test accuracy", "0.91234", "0.25", "not run"],
    ]


def test_what_is_not_ours_does_not_run(browser: Browser, run: Path):
    """An inline script, a handler, a style and a frame that got into the page by whatever way."""
    path = write_report(run)
    intruders = (
        "<script>window.ran = 1</script><img src='data:,' onerror='window.ran = 2'>"
        "<p id='styled' style='position: fixed'></p><iframe src='data:text/html,x'></iframe>"
    )
    path.write_text(path.read_text(encoding="utf-8").replace("</main>", f"{intruders}</main>"))
    context = browser.new_context()
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelector('#styled').previousSibling.complete")
    assert page.evaluate("window.ran") is None
    assert page.evaluate("getComputedStyle(document.querySelector('#styled')).position") == "static"
    for directive in ("script-src", "style-src", "default-src"):  # of the last is the frame
        assert [text for text in said if "Content Security Policy" in text and directive in text]
    page.get_by_role("table", name="Results", exact=True).get_by_role("button").last.click()
    assert page.locator("[aria-sort]").count() == 1  # our own script does run
    context.close()


def test_a_text_of_markup_stays_text(page: Page, tmp_path: Path):
    evil = "<script>window.ran=1<img src=x onerror=window.ran=2>$body"
    metrics = METRICS | {"class_names": [evil], "per_class_recall": {evil: 0.5}}
    folders = [write_run(tmp_path / f"{evil}{i}", metrics) for i in range(2)]
    write_comparison(folders, tmp_path / "comparison.html")
    page.goto(write_report(folders[0]).as_uri())
    assert page.locator("h1").inner_text() == f"Run {evil}0"
    table = page.get_by_role("table", name="Recall of each expression")
    assert column(table, 0) == [evil]
    page.goto((tmp_path / "comparison.html").as_uri())
    results = page.get_by_role("table", name="Results", exact=True)
    names = results.get_by_role("columnheader").all_inner_texts()
    assert [name.replace("\n", "") for name in names] == ["measure", f"{evil}0", f"{evil}1"]
    assert column(page.get_by_role("table", name="Recall of each expression"), 0) == [evil]
    assert page.locator("script").count() == 1
    assert page.evaluate("window.ran") is None


def test_without_javascript_it_is_a_page_to_read(browser: Browser, run: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(write_report(run).as_uri())
    assert page.get_by_role("table", name="Results", exact=True).get_by_text("0.912").is_visible()
    assert page.get_by_role("columnheader", name="measure").is_visible()
    assert page.get_by_role("button").count() == page.get_by_role("link").count() == 0
    context.close()
