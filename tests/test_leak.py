"""What is probed: people no run has seen, their groups, the representations, table and figure."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ifgan_jax import leak, leak_report, probe_network, visualize
from ifgan_jax.data.averages import average_faces
from ifgan_jax.data.faces import Prepared, population
from ifgan_jax.data.pipeline import fake_faces
from ifgan_jax.models.classifier import BasicBlock, ResNet
from ifgan_jax.predict import HostPrediction, Predictor
from ifgan_jax.tables import markdown
from tests import runs, tiny_config

UNCHECKED = True  # as its users run it

NAME = "synthetic_faces/72_20_seed5"  # never rendered: patterns stand for it


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> leak.Unseen:
    faces = fake_faces(240, 36, 40, seed=0, num_classes=6)
    monkeypatch.setattr(leak, "load_prepared", lambda *_: Prepared({"faces": faces}, []))
    gender = np.arange(240) // 6 % 2
    monkeypatch.setattr(leak, "rendered_attributes", lambda *_: {"gender": gender})
    run = a_run(tmp_path, train=["fake0003"], validation=["fake0004"])
    (tmp_path / "baseline").mkdir()
    baseline = a_run(tmp_path / "baseline", train=["fake0005"])
    return leak.unseen([run, baseline], NAME, tmp_path, gallery=12)


class Stub(Predictor):
    """A run of which only folder and config exist, and what it says."""

    def __init__(self, workdir: Path, said: HostPrediction | None = None) -> None:
        config = tiny_config.get_config()
        config.data.name = NAME
        for name, value in {"workdir": workdir, "config": config, "said": said}.items():
            object.__setattr__(self, name, value)

    def __call__(self, images: np.ndarray) -> HostPrediction:
        return self.said


def a_run(workdir: Path, **folds: list[str]) -> Stub:
    (workdir / "folds.json").write_text(
        json.dumps({"train": [], "validation": [], "test": []} | folds)
    )
    return Stub(workdir)


def test_nobody_seen_is_probed_and_groups_share_nobody(found: leak.Unseen):
    groups = [set(found.faces.subjects[found.groups == k].tolist()) for k in range(3)]
    assert [len(group) for group in groups] == [20, 5, 12]
    everyone = set.union(*groups)
    assert len(everyone) == 37
    assert not everyone & {"fake0003", "fake0004", "fake0005"}
    rows = np.array([int(who[4:]) % 2 for who in found.faces.subjects])
    assert (found.attributes["gender"] == rows).all()


def test_people_of_an_added_set_have_its_name_before_them(tmp_path: Path):
    run = a_run(tmp_path, train=["S001", "ck_plus:S005", "mmi:S005"], validation=["S002"])
    run.config.data.name = "bu3dfe"
    run.config.data.additional = ("ck_plus/72_given", "mmi")
    assert leak.seen_people(tmp_path, run.config, "bu3dfe") == {
        "S001", "ck_plus:S005", "mmi:S005", "S002",
    }  # fmt: skip
    assert leak.seen_people(tmp_path, run.config, "ck_plus") == {"S005"}
    assert leak.seen_people(tmp_path, run.config, "raf_db") == set()


def test_rendered_people_are_the_same_in_every_config_of_a_seed():
    assert population("synthetic_faces/72") == population("synthetic_faces/108_1000_hard")
    assert population("synthetic_faces/72") != population("synthetic_faces/72_seed1")
    assert population("ck_plus/72_given") == population("ck_plus")


def test_too_few_people_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    faces = fake_faces(240, 36, 40, seed=0, num_classes=6)
    monkeypatch.setattr(leak, "load_prepared", lambda *_: Prepared({"faces": faces}, []))
    run = a_run(tmp_path)
    with pytest.raises(ValueError, match="40 people whom no run has seen; a gallery of 31"):
        leak.unseen([run], NAME, tmp_path, gallery=31)
    run.config.data.image_size = 72
    with pytest.raises(ValueError, match="images of 36 px, the run 72 px"):
        leak.unseen([run], NAME, tmp_path, gallery=12)
    unnamed = dataclasses.replace(faces, subjects=np.full(240, ""))
    monkeypatch.setattr(leak, "load_prepared", lambda *_: Prepared({"faces": unnamed}, []))
    with pytest.raises(ValueError, match="does not say who"):
        leak.unseen([run], NAME, tmp_path, gallery=12)


def test_controls_tell_nothing_and_inputs_tell_who(
    found: leak.Unseen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A generator that gives the class's mean tells nobody; planted features do."""
    monkeypatch.setattr("ifgan_jax.probe_network.EPOCHS", 1)
    averages = average_faces(found.faces, 6)
    averages.save(tmp_path / "averages.npz")
    source = found.faces.images[:, 2:34, 2:34].astype(np.float32) / 127.5 - 1
    ideal = averages.images[found.faces.labels][:, 2:34, 2:34].astype(np.float32) / 127.5 - 1
    person = np.unique(found.faces.subjects, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, len(person), 16)).astype(np.float32)
    features = rng.normal(size=(37, 16)).astype(np.float32)[person] + 0.3 * noise[0]

    said = HostPrediction(source, ideal, np.zeros((len(source), 6)), features)
    blind = said._replace(features=noise[1])
    made = leak.representations(Stub(tmp_path, said), Stub(tmp_path, blind), found)
    leaks = {name: leak.measure(features, found) for name, features in made.items()}
    chance = 1 / 12
    for name in ("control: one image for all", "generated"):
        assert leaks[name].identity.rank_1.value == pytest.approx(chance, abs=0.02), name
        assert leaks[name].identity.auc.value == pytest.approx(0.5, abs=0.02), name
    random = leaks["control: average face of a random class"]
    assert random.identity.rank_1.low < chance < random.identity.rank_1.high
    assert random.expression.low < 1 / 6 < random.expression.high
    assert leaks["generated"].expression.value == 1
    assert leaks["input"].identity.auc.low > 0.5
    of_baseline = leaks["baseline's features"].identity.auc
    assert of_baseline.low < 0.5 < of_baseline.high
    features_tell = leaks["IF-GAN's features"].identity
    assert features_tell.rank_1.value > 0.9
    assert features_tell.auc.value > 0.95
    assert len(leaks) == 9

    content = json.loads(json.dumps(leak.as_json(leaks, found, NAME)))
    text = markdown(leak_report.table(content))
    assert "| generated | 8.3 (8.3–8.3) |" in text
    assert text.splitlines()[-1].startswith("| guessing | 8.3 | 50.0 | 8.3 | 16.7 |")
    assert visualize.png_bytes(leak_report.figure(content)).startswith(b"\x89PNG")


def test_the_probes_network_learns(monkeypatch: pytest.MonkeyPatch):
    """People whose patterns lie below noise: after an epoch it finds half of them again."""
    short = partial(ResNet, stage_sizes=(1,), block=BasicBlock)
    monkeypatch.setitem(probe_network.RESNETS, probe_network.DEPTH, short)
    rng = np.random.default_rng(0)
    person = np.arange(320) % 4
    symmetric = rng.normal(size=(4, 16, 8, 1))  # as images are flipped while it learns
    patterns = np.concatenate([symmetric, symmetric[:, :, ::-1]], axis=2)
    noise = rng.normal(size=(320, 16, 16, 1))
    images = np.clip(0.2 * patterns[person] + 0.3 * noise, -1, 1).astype(np.float32)
    monkeypatch.setattr(probe_network, "EPOCHS", 150)
    given = images[:192], person[:192], np.zeros(192, np.int64), images[192:]
    features = probe_network.learned_features(*given, seed=0)
    known, asked = features[:64], features[64:]
    means = np.stack([known[person[192:256] == k].mean(0) for k in range(4)])
    nearest = np.square(asked[:, None] - means).sum(-1).argmin(-1)
    assert np.mean(nearest == person[256:]) > 0.8


def test_a_real_run_is_probed(tmp_path: Path):
    """The script on a tiny run and a few rendered people."""
    data = [f"--config.data.data_dir={tmp_path}", "--config.data.name=synthetic_faces/72_4_seed3"]
    data += ["--config.data.num_folds=4", "--config.epochs=1", "--config.batch_size=8"]
    data += ["--config.data.image_size=72", "--config.evaluation.batch_size=8"]
    workdir = tmp_path / "run"
    status, output = runs.train(workdir, *data)
    assert status == 0, output
    rendered = f"--data_dir={tmp_path}", "--data=synthetic_faces/72_16_seed4"
    status, output = runs.finish("probe_identity", f"--workdir={workdir}", *rendered, "--gallery=6")
    assert status == 0, output
    assert "6 people of synthetic_faces/72_16_seed4" in output
    kept = json.loads((workdir / "probe.json").read_text())
    assert kept["people"] == {"train": 8, "validation": 2, "gallery": 6}
    assert set(kept["representations"]["generated"]) >= {"rank_1", "gender", "race", "age"}
    assert leak_report.HEADING in (workdir / "report.html").read_text()
    status, output = runs.finish("probe_identity", f"--workdir={workdir}", *rendered)
    assert status == 1
    assert "16 people whom no run has seen; a gallery of 100" in output
