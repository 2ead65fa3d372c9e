"""The study: what is run, and the statistic against closed forms and by brute force."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs import study as config
from ifgan_jax import study
from ifgan_jax.data.faces import population
from ifgan_jax.study import Run, by_person, collect, difference, mean, table
from ifgan_jax.tables import markdown
from tests import runs


def result(
    method: str, seed: int, right: np.ndarray, images: int = 12, setting: str = "hard"
) -> Run:
    people = tuple(f"s{i}" for i in range(len(right)))
    return Run(setting, method, seed, right, np.full(len(right), images), ("faces", *people))


def test_of_one_seed_the_interval_is_the_means():
    """With one seed only people are drawn: mean ± 1.96 σ/√n."""
    right = np.random.default_rng(0).integers(4, 13, 300)
    found = mean([result("ifgan", 0, right)])
    half = 1.96 * right.std() / 12 / np.sqrt(300)
    assert found.value == pytest.approx(right.mean() / 12)
    assert found.low == pytest.approx(found.value - half, abs=0.05 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.05 * half)


def test_of_many_seeds_alike_within_the_interval_is_that_of_the_seeds():
    """Nobody differs within a seed: the bootstrap of 12 means."""
    levels = np.random.default_rng(0).integers(4, 13, 12)
    found = mean([result("ifgan", i, np.full(40, level)) for i, level in enumerate(levels)])
    half = 1.96 * levels.std() / 12 / np.sqrt(12)
    assert found.low == pytest.approx(found.value - half, abs=0.06 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.06 * half)


def test_both_sources_add_up():
    """Variance of the seeds' means, and of people within each."""
    rng = np.random.default_rng(1)
    runs = [
        result("ifgan", s, np.clip(rng.normal(7 + rng.normal(), 2, 100), 0, 12)) for s in range(10)
    ]
    found = mean(runs)
    means = np.array([r.right.mean() / 12 for r in runs])
    within = np.mean([r.right.var() / 144 / 100 for r in runs])
    half = 1.96 * np.sqrt((means.var() + within) / 10)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)


def test_pairing_takes_out_what_people_share():
    rng = np.random.default_rng(2)
    easy = rng.integers(2, 11, 200)
    first, second = (
        [result(name, s, np.clip(easy + plus + rng.integers(0, 2, 200), 0, 12)) for s in (0, 1)]
        for name, plus in (("ifgan", 1), ("resnet101", 0))
    )
    paired = difference(first, second)
    assert paired.value == pytest.approx(mean(first).value - mean(second).value)
    assert paired.high - paired.low < 0.5 * (mean(first).high - mean(first).low)
    assert difference(first, first) == (0, 0, 0)
    assert difference(first, []) is None


def test_other_people_are_not_compared():
    first = [result("ifgan", 0, np.array([3, 4]))]
    other = [first[0]._replace(method="resnet101", tested_on=("faces", "s0", "s7"))]
    with pytest.raises(ValueError, match="ifgan and resnet101 were not tested on the same images"):
        difference(first, other)


def test_results_by_way_of_files(tmp_path: Path):
    right = np.array([True, False, True, True])
    people = by_person(right, np.array(["b", "b", "a", "b"]))
    assert people == {"a": (1, 1), "b": (2, 3)}
    for seed in (1, 0):
        content = {"setting": "hard", "method": "ifgan", "seed": seed, "data": "faces"}
        (tmp_path / f"{seed}.json").write_text(json.dumps(content | {"people": people}))
    runs = collect(tmp_path)
    assert [r.seed for r in runs] == [0, 1]
    assert runs[0].accuracy == 0.75
    text = markdown(table(runs))
    assert "| hard: IF-GAN | 75.0 (" in text
    (tmp_path / "2.json").write_text('{"setting": "hard"}')
    with pytest.raises(ValueError, match=r"2\.json is no result of scripts/study\.py"):
        collect(tmp_path)


def test_all_are_compared_with_the_baseline_that_is_tuned_best():
    people = np.full(60, 6)
    runs = [
        result("ifgan", 0, people + 3),
        result("resnet101_rate10", 0, people),
        result("resnet101", 0, people - 3),
        result("resnet101_rate5", 0, people + 2),
        result("no_attention_noise4_rate0.3", 0, people + 2, setting="easy"),
    ]
    assert [row[::2] for row in table(runs).rows] == [
        ("easy: IF-GAN w/o attention, noise 4, rate × 0.3", "", "720"),
        ("hard: ResNet, island loss", "-41.7 (-41.7 to -41.7)", "720"),
        ("hard: ResNet, island loss, rate × 5", "", "720"),
        ("hard: ResNet, island loss, rate × 10", "-16.7 (-16.7 to -16.7)", "720"),
        ("hard: IF-GAN", "+8.3 (+8.3 to +8.3)", "720"),
    ]


def probe(folder: Path, method: str, seed: int, value: float, *more: str) -> None:
    measure = [value, value - 0.05, value + 0.05, 0.01]
    rows = {name: {"rank_1": measure, "expression": measure} for name in ("input", *more)}
    content = {"setting": "hard", "method": method, "seed": seed, "data": f"set{seed}"}
    content |= {"people": {"train": 160, "validation": 40, "gallery": 100}, "representations": rows}
    (folder / f"hard-{method}-seed{seed}.json").write_text(json.dumps(content))


def test_probes_of_several_seeds_are_one(tmp_path: Path):
    """Mean ± Student's t σ/√n by its table, within 0 and 1; of one seed its own interval."""
    for seed, value in enumerate((0.2, 0.3, 0.6)):
        probe(tmp_path, "ifgan", seed, value, *["features"] * (seed < 2))
    probe(tmp_path, "no_attention", 0, 0.5)
    found = study.probes(tmp_path)
    assert found["hard-no_attention"]["representations"]["input"]["rank_1"] == pytest.approx(
        [0.5, 0.45, 0.55, 0.01]
    )
    merged = found["hard-ifgan"]
    assert merged["data"] == "set0, set1, set2"
    assert set(merged["representations"]) == {"input"}  # the last seed has no other
    half = 4.3027 * np.std([0.2, 0.3, 0.6], ddof=1) / np.sqrt(3)
    assert half > 0.4
    assert merged["representations"]["input"]["expression"] == pytest.approx(
        [1.1 / 3, 0, 1.1 / 3 + half, 0.01], rel=1e-4
    )
    (tmp_path / "hard-ifgan-seed3.json").write_text('{"setting": "hard"}')
    with pytest.raises(ValueError, match=r"hard-ifgan-seed3\.json is no leak probe, or damaged"):
        study.probes(tmp_path)


def test_documents_show_the_tables_of_the_committed_results(tmp_path: Path):
    """Byte for byte, as `scripts/report.py --study` writes them."""
    documents = {"README.md": ("final/study",), "docs/study.md": (
        "final/probe-easy-ifgan_noise4", "final/probe-hard-ifgan_noise4", "development/study",
    )}  # fmt: skip
    for part in ("final", "development"):
        study.write(Path("docs/study") / part, tmp_path / part)
    for document, names in documents.items():
        text = Path(document).read_text()
        for name in names:
            assert (tmp_path / f"{name}.md").read_text() in text, f"{document}: {name}"


def test_nobody_is_trained_on_and_tested():
    """Renderer seeds of training and test do not meet, nor those of two parts of the study."""
    used: dict[str, set[str]] = {}
    for name in config.PARTS:
        part = config.get_config(name)
        jobs = config.jobs(part)
        assert {*part.probed, part.baseline} <= set(part.methods)
        tested = {population(config.tested_on(part, job.setting, job.seed)) for job in jobs}
        trained = {population(config.run_config(part, *job).data.name) for job in jobs}
        assert not tested & trained
        probed = {population(config.probed_on(part, job.setting, job.seed)) for job in jobs}
        assert not probed & (tested | trained)
        used[name] = tested | trained | probed
    development = used.pop("development")
    assert all(int(who.rpartition(" ")[2]) < 100 for who in development)
    for people in used.values():
        assert all(int(who.rpartition(" ")[2]) >= 100 for who in people)


def test_methods_of_a_setting_have_one_budget():
    part = config.get_config("development")
    for setting in config.SETTINGS:
        folds = config.SETTINGS[setting]["folds"]
        people = int(config.SETTINGS[setting]["people"].split("_")[1])
        budgets = set()
        for method in config.METHODS:
            made = config.run_config(part, setting, method, 0)
            assert made.epochs == made.checkpoint_every_epochs
            images = people * (folds - 2) // folds * 12
            budgets.add((images // made.batch_size * made.epochs, made.batch_size))
        assert budgets == {(960, 32)}


def test_a_study_has_whole_comparisons_first():
    jobs = config.jobs(config.get_config("development"))
    assert len(jobs) == len(set(jobs)) == len({job.name for job in jobs})
    assert {job.seed for job in jobs[: len(jobs) // 2]} == {0}
    assert jobs[0].method.startswith(study.BASELINE)


def test_the_script_runs_what_is_left_and_report_makes_the_table(tmp_path: Path):
    results, made = tmp_path / "development", tmp_path / "made"
    flags = ["--config=configs/study.py:development", f"--output={results}", "--seeds=1"]
    flags += [f"--runs={tmp_path}", "--settings=hard"]
    methods = "--methods=resnet101_rate5,ifgan"
    status, output = runs.finish("tests.study_process", *flags, methods, "--shard=0/2")
    assert status == 0, output
    assert "1 runs, 1 of them to do" in output
    status, output = runs.finish("tests.study_process", *flags, methods)
    assert status == 0, output
    assert "2 runs, 1 of them to do" in output
    result = json.loads((results / "hard-ifgan-seed1.json").read_text())
    assert result["data"] == "synthetic_faces/72_200_hard_seed51"
    assert len(result["people"]) == 10
    assert sum(images for _, images in result["people"].values()) == 60
    assert result["config"]["seed"] == 1
    assert {"validation_accuracy", "transfer_accuracy", "seconds", "versions"} <= set(result)
    probed = results / "probes" / "hard-ifgan-seed1.json"
    found = json.loads(probed.read_text())
    assert (found["data"], found["people"]["gallery"]) == ("synthetic_faces/72_300_hard_seed61", 8)
    assert "baseline's features" in found["representations"]
    probed.unlink()  # killed in between: only the probe is made again
    status, output = runs.finish("tests.study_process", *flags, methods)
    assert (status, "2 runs, 1 of them to do" in output) == (0, True), output
    assert "training images" not in output
    assert json.loads(probed.read_text()) == found
    status, output = runs.finish("report", f"--study={results}", f"--output={made}")
    assert status == 0, output
    assert output.startswith((made / "study.md").read_text().split("\n\n")[0])
    assert output.count("| hard: ") == 2


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--methods=ifgan,resnet", "--methods: resnet: not in this part"),
        ("--seeds=7", "--seeds: 7: not in this part"),
        ("--config=configs/study.py:fnal", "part 'fnal' is unknown: choose one of development"),
    ],
)
def test_wrong_flags_of_the_script_are_named(tmp_path: Path, flag: str, message: str):
    flags = ["--config=configs/study.py:development", f"--output={tmp_path / 'out'}", flag]
    status, output = runs.finish("study", *flags)
    assert status == 1
    assert message in output
    assert not (tmp_path / "out").exists()


def test_a_folder_without_results_is_told(tmp_path: Path):
    status, output = runs.finish("report", f"--study={tmp_path}", f"--output={tmp_path / 'made'}")
    assert (status, "holds no result of scripts/study.py" in output) == (1, True)
    assert not (tmp_path / "made").exists()
