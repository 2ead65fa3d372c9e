"""Runs side by side: whose number is whose, what differs, is missing, or is not comparable."""

import json
from pathlib import Path

import numpy as np
import pytest

from ifgan_jax import comparison
from ifgan_jax.comparison import write_comparison
from tests import runs
from tests.test_report import METRICS, Page, write_run


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Two runs of one test part, one with other config keys; and one that was not tested."""
    first = write_run(tmp_path / "a")
    other = METRICS | {"test_accuracy": 0.5, "per_class_recall": {"anger": 0.25, "fear": 1.0}}
    second = write_run(tmp_path / "b_c", other)
    config = {"batch_size": 64, "data": {"fold": 3, "data_dir": "/elsewhere"}, "alpha": 0.1 + 0.2}
    (second / "config.json").write_text(json.dumps(config))
    third = tmp_path / "unfinished"
    third.mkdir()
    return [first, second, third]


def made(folders: list[Path], tmp_path: Path) -> Page:
    write_comparison(folders, tmp_path / "new" / "comparison.html")
    return Page(tmp_path / "new" / "comparison.html")


def test_every_run_has_its_column(three: list[Path], tmp_path: Path):
    page = made(three, tmp_path)
    assert page.after("Results")[:5] == ["measure", "a", "b_", "c", "unfinished"]  # may break at _
    assert page.after("the checkpoint that validation selected")[:3] == [
        "0.912",
        "0.500",
        "not run",
    ]
    assert page.after("fear")[:5] == ["0.333", "of 3", "1.000", "of 3", "not run"]
    assert page.after("sadness")[:3] == ["no images", "absent", "not run"]
    assert page.after("Data hash")[:3] == ["d00d1e", "d00d1e", "not run"]
    assert page.texts.count("not run") == 11 + 2 + 3 + 2 + 12 + 2  # two runs have no "method"


def test_only_keys_that_differ_and_change_numbers_are_listed(three: list[Path], tmp_path: Path):
    texts = made(three, tmp_path).after("Config")[1:]
    assert texts[: texts.index("Recall of each expression")] == [
        *("key", "a", "b_", "c", "unfinished"),
        *("alpha", "absent", "0.300", "not run"),
        *("batch_", "size", "32", "64", "not run"),
    ]
    assert "They differ in none." in made([three[0], write_run(tmp_path / "d")], tmp_path).texts


def test_who_was_tested_is_said(three: list[Path], tmp_path: Path):
    page = made(three, tmp_path)
    assert "Tested on the same 7 images of 4 unseen people." in page.texts
    assert "Not tested: unfinished." in page.texts
    unnamed = [write_run(tmp_path / name, METRICS | {"num_test_subjects": 0}) for name in "xy"]
    said = made(unnamed, tmp_path).texts
    assert "Tested on the same 7 images of people who are not named." in said
    assert "Not comparable as they stand." not in page.texts


@pytest.mark.parametrize("key", comparison.COMPARABLE)
def test_other_people_or_data_is_said(three: list[Path], tmp_path: Path, key: str):
    other = write_run(tmp_path / "other", METRICS | {key: "else"})
    page = made([*three[:2], other], tmp_path)
    what = comparison.COMPARABLE[key]
    assert "Not comparable as they stand." in page.texts
    assert f"{what}: one in a, b_c; another in other" in page.texts
    assert not [text for text in page.texts if text.startswith("Tested on the same")]
    older = write_run(tmp_path / "older", {k: v for k, v in METRICS.items() if k != key})
    page = made([three[0], older], tmp_path)
    assert f"{what}: one in a; not recorded in older" in page.texts


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path: Path):
    folders = [write_run(tmp_path / parent / "demo") for parent in ("x", "y")]
    page = made(folders, tmp_path)
    assert ", ".join(map(str, folders)) in page.texts


def test_nothing_but_folders(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    page = made([tmp_path / "a", tmp_path / "b"], tmp_path)
    assert page.texts.count("not run") == 2 * 11 + 1 + 1 + 1 + 2 + 2 + 2 * 12
    assert "Not tested: a, b." in page.texts


def test_a_line_is_the_mean_of_each_epoch(three: list[Path]):
    found = comparison._read(three)
    figure = comparison.figure(found)
    titles = {axis.get_title(loc="left"): axis for axis in figure.axes}
    assert list(titles) == ["validation accuracy", "G: l1"]
    first, second, third = titles["G: l1"].get_lines()
    np.testing.assert_array_equal(
        first.get_xydata(), [[1, 1.5], [2, 3.5]]
    )  # epochs of steps 1–2, 3–4
    np.testing.assert_array_equal(second.get_xydata(), first.get_xydata())
    assert first.get_color() != second.get_color()
    assert not len(third.get_xydata())
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b_c", "unfinished"]
    assert comparison.figure(found[2:]) is None


def test_bad_input_is_named(three: list[Path], tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no run in .*absent"):
        write_comparison([three[0], tmp_path / "absent"], tmp_path / "x.html")
    for given in (three[:1], [three[0], three[0] / ".." / "a"]):
        with pytest.raises(ValueError, match="two or more runs are compared, each named once"):
            write_comparison(given, tmp_path / "x.html")
    for name in ("config.json", "metrics.jsonl", "pictures"):
        (three[1] / name).rename(tmp_path / "elsewhere")
        (three[1] / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match=f"b_c/{name} is a link"):
            write_comparison(three, tmp_path / "x.html")
        (three[1] / name).unlink()
        (tmp_path / "elsewhere").rename(three[1] / name)
    (three[1] / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"b_c/metrics\.json is damaged"):
        write_comparison(three, tmp_path / "x.html")
    whole = json.loads((three[0] / "metrics.json").read_text())
    for key, value in {
        "data_hash": 5,
        "fold": [1],
        "confusion": [1],
        "class_names": 5,
        "per_class_recall": 5,
    }.items():
        (three[1] / "metrics.json").write_text(json.dumps(whole | {key: value}))
        with pytest.raises(ValueError, match=r"b_c/metrics\.json is damaged"):
            write_comparison(three, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_the_command(three: list[Path], tmp_path: Path):
    named = ",".join(map(str, three))
    status, output = runs.finish("report", f"--compare={named}", f"--output={tmp_path}/c.html")
    assert (status, output) == (0, f"page: {tmp_path}/c.html\n")
    status, output = runs.finish("report", f"--compare={named}", f"--output={tmp_path}")
    assert (status, output) == (
        1,
        f"error: --output={tmp_path} is a folder: name the page's file\n",
    )
    both = (f"--compare={named}", "--study=x", f"--output={tmp_path}/c.html")
    status, output = runs.finish("report", *both)
    assert status == 1
    assert output == "error: --results, --study or --compare: give one of them\n"
