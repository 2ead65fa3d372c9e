"""One table in four forms, and the paper's tables made of results."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifgan_jax import results
from ifgan_jax.paper_tables import write_tables
from ifgan_jax.published import TABLE_1, TABLE_2
from ifgan_jax.tables import Table, comma_separated, html_table, latex, markdown
from tests.test_report import Page
from tests.test_results import config_of, keep

TABLE = Table("A_1 & B", ("Method", "x, y"), (("a|b, 50 %", "1.5 ± 0.2"), ("<b>", "not run")))


def test_markdown():
    assert markdown(TABLE).splitlines() == [
        "**A_1 & B**",
        "",
        "| Method | x, y |",
        "|---|---:|",
        r"| a\|b, 50 % | 1.5 ± 0.2 |",
        "| <b> | not run |",
    ]


def test_latex():
    assert latex(TABLE).splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{A\_1 \& B}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Method & x, y \\",
        r"\midrule",
        r"a|b, 50 \% & 1.5 $\pm$ 0.2 \\",
        r"<b> & not run \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_comma_separated():
    read = list(csv.reader(io.StringIO(comma_separated(TABLE))))
    assert read == [list(TABLE.header), *map(list, TABLE.rows)]


def test_html():
    text = html_table(TABLE)
    assert "A_1 &amp; B" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text


def cells_of(path: Path) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in csv.reader(path.open())}


def test_the_tables_without_a_run(tmp_path: Path):
    """The paper's figures alone."""
    (tmp_path / "results").mkdir()
    write_tables([tmp_path / "results"], tmp_path)
    first, second = (cells_of(tmp_path / f"table_{i}.csv") for i in (1, 2))
    assert first["IF-GAN"] == ["85.25", "not run", "97.52", "not run", "75.48", "not run"]
    assert first["Island Loss"] == ["–", "not run", "94.39", "not run", "74.68", "not run"]
    assert first["DLP-CNN"] == ["–", "", "95.78", "", "–", ""]
    assert second["IF-GAN"] == ["88.33", "not run"]
    assert second["SCN"] == ["88.14", ""]
    assert len(first) == 1 + len(TABLE_1.rows)
    assert len(second) == 1 + len(TABLE_2.rows)
    page = Page(tmp_path / "tables.html")
    assert "not run" in page.source


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """CK+ by two methods and two seeds, an unfinished MMI, RAF-DB, one failure and one stray."""
    kept = tmp_path / "results"
    random = np.random.default_rng(0)
    for method, shift in (("ifgan", 0.2), ("resnet101", 0.1), ("center_loss", 0.0)):
        for seed in (0, 1):
            for fold in range(10):
                accuracy = float(np.round(random.uniform(0.5, 0.7) + shift, 1))
                keep(kept, config_of("ck_plus", method, seed, fold), method, accuracy)
            raf_db = config_of("raf_db/72_given", method, seed)
            keep(kept, raf_db, method, round(0.6 + shift + 0.1 * seed, 1))
    for fold in range(3):
        keep(kept, config_of("mmi", "ifgan", fold=fold), "ifgan", 0.4)
    keep(kept, config_of("ck_plus", "ifgan", loss__l1_weight=20.0), "ifgan", 0.0)
    failed = config_of("mmi", "ifgan", fold=3)
    results.write_failure(kept, "ifgan", failed, FloatingPointError("l1 is <nan>"))
    grid = kept / f"{results.run_name(config_of('ck_plus', 'ifgan'), 'ifgan')}.transfer_grid.png"
    Image.new("L", (4, 4)).save(grid)
    return kept


def test_every_figure_is_in_its_cell(made: Path, tmp_path: Path):
    write_tables([made], tmp_path / "out")
    first, second = (cells_of(tmp_path / "out" / f"table_{i}.csv") for i in (1, 2))
    known = results.cells(results.collect([made])[0])
    for row, method in (
        ("IF-GAN", "ifgan"),
        ("ResNet-101", "resnet101"),
        ("Island Loss", "resnet101"),
        ("Center Loss", "center_loss"),
    ):
        runs = np.array(list(known["ck_plus", method].by_seed().items()), dtype=object)
        means = [100 * np.mean(list(folds.values())) for _, folds in runs]
        assert first[row][3] == f"{np.mean(means):.2f} ± {np.std(means, ddof=1):.2f}"
    assert first["IF-GAN"][1] == "not run"
    assert first["IF-GAN"][5] == "40.00 (3 of 10 folds)"
    assert first["ResNet-101"][5] == first["IF-GAN w/o attention"][3] == "not run"
    assert second["IF-GAN"] == ["88.33", "85.00 ± 7.07"]
    assert second["Center Loss"] == ["83.68", "65.00 ± 7.07"]
    runs_table = cells_of(tmp_path / "out" / "runs.csv")
    assert runs_table["CK+, IF-GAN"][4:7] == ["20", "10", "200"]
    tests = cells_of(tmp_path / "out" / "paired_tests.csv")
    assert tests["RAF-DB, IF-GAN − ResNet, island loss"] == ["+10.00", "0.5000", "2 seeds"]
    assert tests["CK+, IF-GAN − ResNet, center loss"][2] == "10 folds"
    assert not any("CK+" in name and "MMI" in name for name in tests)


def test_what_is_no_picture_is_not_shown(made: Path, tmp_path: Path):
    (grid,) = made.glob("*.transfer_grid.png")
    (secret := tmp_path / "secret.png").write_bytes(grid.read_bytes())
    grid.write_bytes(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(ValueError, match=r"transfer_grid\.png is no PNG: delete it"):
        write_tables([made], tmp_path / "out")
    grid.unlink()
    grid.symlink_to(secret)
    with pytest.raises(ValueError, match=r"transfer_grid\.png is a link"):
        write_tables([made], tmp_path / "out")


def test_the_page_lists_what_was_not_averaged(made: Path, tmp_path: Path):
    write_tables([made], tmp_path / "out")
    page = Page(tmp_path / "out" / "tables.html")
    assert "l1 is &lt;nan&gt;" in page.source
    assert re.search(r"of another config: ck_plus-ifgan-.*loss.l1_weight 20.0 instead", page.source)
    pictures = [dict(attributes)["alt"] for tag, attributes in page.elements if tag == "img"]
    assert "CK+ transfer grid" in pictures
    assert "RAF-DB, IF-GAN confusion" in pictures
    assert "MMI transfer grid" not in pictures
    assert (tmp_path / "out" / "ck_transfer_grid.png").exists()
    for fetched in ("http:", "https:"):
        assert fetched not in page.source


@pytest.mark.parametrize(
    ("methods", "configs", "named"),
    [
        (
            ("ifgan", "resnet101"),
            ("ifgan", "resnet101"),
            "IF-GAN and ResNet, island loss: epochs 3 instead of 4",
        ),
        (("my_gan", "my_net"), ("ifgan", "ifgan"), "my_net and my_gan: epochs 4 instead of 3"),
    ],
)
def test_methods_run_with_unlike_configs_are_named(
    methods: tuple, configs: tuple, named: str, tmp_path: Path
):
    for method, like, epochs in zip(methods, configs, (3, 4), strict=True):
        keep(tmp_path, config_of("mmi", like, epochs=epochs), method, 0.5)
    write_tables([tmp_path], tmp_path / "out")
    text = (tmp_path / "out" / "tables.html").read_text()
    assert f"not alike: MMI, {named}" in text
