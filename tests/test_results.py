"""What is averaged, and how: closed forms and brute force on made-up results."""

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import overlays
from ifgan_jax import results
from ifgan_jax.results import Cell, cells, collect, paired_test, run_name, write_result
from tests import tiny_config

NAMES = ["anger", "fear"]


def config_of(data_set: str, method: str, seed: int = 0, fold: int = 0, **changes: Any):
    config = overlays.with_method(tiny_config.get_config(), method)
    config.data.name, config.seed, config.data.fold = data_set, seed, fold
    config.update_from_flattened_dict({key.replace("__", "."): v for key, v in changes.items()})
    return config


def keep(folder: Path, config: ConfigDict, method: str, accuracy: float, **hashes: str) -> Path:
    """A result of ten test images."""
    right = round(10 * accuracy)
    metrics = {
        "test_accuracy": accuracy,
        "confusion": [[right, 10 - right], [0, 0]],
        "class_names": NAMES,
        "data_hash": "d",
        "folds_hash": "f",
        **hashes,
    }
    return write_result(folder, method, config, metrics, folder / "no_pictures")


def grid(folder: Path, method: str, accuracies: np.ndarray, data_set: str = "ck_plus") -> Cell:
    """A cell of accuracies (seed, fold)."""
    for (seed, fold), accuracy in np.ndenumerate(accuracies):
        if not np.isnan(accuracy):
            keep(folder, config_of(data_set, method, seed, fold), method, float(accuracy))
    return cells(collect([folder])[0])[data_set, method]


def test_means_and_spreads(tmp_path: Path):
    accuracies = np.random.default_rng(0).uniform(0.2, 0.9, (3, 10))
    cell = grid(tmp_path, "ifgan", accuracies)
    assert cell.mean == pytest.approx(accuracies.mean(1).mean(), abs=1e-12)
    assert cell.deviation == pytest.approx(accuracies.mean(1).std(ddof=1), abs=1e-12)
    assert cell.fold_spread == pytest.approx(accuracies.mean(0).std(ddof=1), abs=1e-12)
    right = round(float(np.rint(10 * accuracies).sum()))
    np.testing.assert_array_equal(cell.confusion, [[right, 300 - right], [0, 0]])


def test_only_complete_seeds_count(tmp_path: Path):
    accuracies = np.random.default_rng(1).uniform(0.2, 0.9, (2, 10))
    accuracies[1, 4] = np.nan
    cell = grid(tmp_path / "one", "ifgan", accuracies)
    assert list(cell.complete_seeds) == [0]
    assert cell.mean == pytest.approx(accuracies[0].mean(), abs=1e-12)
    assert cell.deviation is None
    accuracies[0, 7] = np.nan
    cell = grid(tmp_path / "none", "ifgan", accuracies)
    assert not cell.complete_seeds
    assert cell.mean == pytest.approx(np.nanmean(accuracies, 0).mean(), abs=1e-12)


def test_raf_db_has_one_test_part(tmp_path: Path):
    cell = grid(tmp_path, "ifgan", np.array([[0.5], [0.7]]), data_set="raf_db")
    assert cell.expected_folds == 1
    assert cell.mean == pytest.approx(0.6)
    assert cell.fold_spread is None


def brute_force(differences: np.ndarray) -> float:
    """Share of all sign patterns whose mean is at least as far from 0."""
    signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    means = np.abs((signs * differences).mean(1))
    return float(np.mean(means >= abs(differences.mean()) - 1e-12))


@pytest.mark.parametrize("seed", range(3))
def test_paired_test_is_the_enumeration_over_folds(seed: int, tmp_path: Path):
    random = np.random.default_rng(seed)
    one, two = random.uniform(0.4, 0.9, (2, 2, 8))
    one += 0.04 * seed
    test = paired_test(grid(tmp_path / "a", "ifgan", one), grid(tmp_path / "b", "resnet101", two))
    differences = (one - two).mean(0)
    assert test is not None
    assert (test.pairs, test.unit) == (8, "folds")
    assert test.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert test.p == pytest.approx(brute_force(differences), abs=1e-12)


def test_paired_test_uses_what_both_ran(tmp_path: Path):
    one = np.array([[0.5, 0.6, 0.7, np.nan]])
    two = np.array([[0.4, np.nan, 0.3, 0.9]])
    test = paired_test(grid(tmp_path / "a", "ifgan", one), grid(tmp_path / "b", "resnet101", two))
    assert test is not None
    assert test.pairs == 2
    assert test.difference == pytest.approx((0.1 + 0.4) / 2)
    seeds = np.array([[0.5], [0.6], [0.8]])
    first = grid(tmp_path / "c", "ifgan", seeds, "raf_db")
    test = paired_test(first, grid(tmp_path / "d", "resnet101", seeds - 0.1, "raf_db"))
    assert test is not None
    assert (test.pairs, test.unit) == (3, "seeds")
    assert test.p == pytest.approx(0.25)
    alone = grid(tmp_path / "e", "no_attention", seeds[:1], "raf_db")
    assert paired_test(first, alone) is None
    same = paired_test(first, first)
    assert same is not None
    assert same.p == 1.0


@pytest.mark.parametrize(
    "changes", [{"epochs": 9}, {"loss__l1_weight": 20.0}, {"data__additional": ("mmi",)}]
)
def test_another_config_is_never_averaged_in(changes: dict[str, Any], tmp_path: Path):
    accuracies = np.linspace(0.5, 0.9, 10)[None]
    grid(tmp_path, "ifgan", accuracies)
    stray = config_of("ck_plus", "ifgan", seed=1, **changes)
    keep(tmp_path, stray, "ifgan", 0.0)
    cell = cells(collect([tmp_path])[0])["ck_plus", "ifgan"]
    assert cell.mean == pytest.approx(accuracies.mean())
    assert [run.seed for run in cell.set_aside] == [1]


@pytest.mark.parametrize("hashed", ["data_hash", "folds_hash"])
def test_other_data_or_folds_are_never_averaged_in(hashed: str, tmp_path: Path):
    accuracies = np.linspace(0.5, 0.9, 10)[None]
    grid(tmp_path, "ifgan", accuracies)
    keep(tmp_path, config_of("ck_plus", "ifgan", seed=1), "ifgan", 0.0, **{hashed: "other"})
    cell = cells(collect([tmp_path])[0])["ck_plus", "ifgan"]
    assert (len(cell.runs), len(cell.set_aside)) == (10, 1)


def test_of_equal_numbers_the_newer_config_counts(tmp_path: Path):
    old = keep(tmp_path, config_of("mmi", "ifgan"), "ifgan", 0.1)
    keep(tmp_path, config_of("mmi", "ifgan", epochs=7), "ifgan", 0.2)
    os.utime(old, (1, 1))
    assert cells(collect([tmp_path])[0])["mmi", "ifgan"].mean == 0.2


def test_keys_that_change_no_number_separate_nothing(tmp_path: Path):
    accuracies = np.linspace(0.5, 0.8, 9)[None]
    grid(tmp_path, "ifgan", accuracies)
    last = config_of("ck_plus", "ifgan", fold=9, data__data_dir="/elsewhere")
    keep(tmp_path, last, "ifgan", 0.9)
    assert len(cells(collect([tmp_path])[0])["ck_plus", "ifgan"].runs) == 10


def test_a_name_belongs_to_one_run():
    base = config_of("ck_plus", "ifgan")
    others = [
        config_of("mmi", "ifgan"),
        config_of("ck_plus", "no_attention"),
        config_of("ck_plus", "ifgan", seed=1),
        config_of("ck_plus", "ifgan", fold=1),
        config_of("ck_plus", "ifgan", epochs=9),
        config_of("ck_plus", "ifgan", loss__l1_weight=1.0),
    ]
    methods = ["ifgan", "no_attention", *["ifgan"] * 4]
    names = [run_name(config, m) for config, m in zip(others, methods, strict=True)]
    assert len({run_name(base, "ifgan"), *names}) == 7
    free = config_of("ck_plus", "ifgan", data__data_dir="/elsewhere")
    assert run_name(free, "ifgan") == run_name(base, "ifgan")


def test_two_folders_are_one_table_and_no_run_counts_twice(tmp_path: Path):
    for folder, folds in (("a", range(6)), ("b", range(5, 10))):
        for fold in folds:
            keep(tmp_path / folder, config_of("mmi", "ifgan", fold=fold), "ifgan", 0.5)
    found, _ = collect([tmp_path / "a", tmp_path / "b"])
    assert len(found) == 10


def test_failures_are_told_until_the_run_succeeds(tmp_path: Path):
    config = config_of("mmi", "ifgan")
    results.write_failure(tmp_path, "ifgan", config, FloatingPointError("loss is nan"))
    found, failures = collect([tmp_path])
    assert (found, [failure.error for failure in failures]) == ([], ["loss is nan"])
    keep(tmp_path, config, "ifgan", 0.5)
    found, failures = collect([tmp_path])
    assert (len(found), failures) == (1, [])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:50],
        lambda text: "[]",
        lambda text: json.dumps({"test_accuracy": 0.5}),
        lambda text: text.replace('"test_accuracy": 0.5', '"test_accuracy": 50.0'),
        lambda text: text.replace('"test_accuracy": 0.5', '"test_accuracy": null'),
        lambda text: text.replace('"fear"', '"fear", "joy"'),
        lambda text: re.sub(r'(?s)("confusion": \[\s*\[\s*)(\d+)', r'\1"\2"', text),
    ],
)
def test_a_damaged_result_is_named(damage, tmp_path: Path):
    path = keep(tmp_path, config_of("mmi", "ifgan"), "ifgan", 0.5)
    text = path.read_text()
    path.write_text(damage(text))
    assert path.read_text() != text
    with pytest.raises(ValueError, match=f"{path.name} is no result.*or damaged"):
        collect([tmp_path])
    with pytest.raises(FileNotFoundError, match="absent"):
        collect([tmp_path / "absent"])
