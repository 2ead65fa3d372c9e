"""Planning, sharing, killing and going on; the tables that come of it."""

import csv
import json
import shutil
import signal
from pathlib import Path

import jax
import pytest

from configs import default, overlays
from ifgan_jax import train as train_module
from ifgan_jax.results import collect
from ifgan_jax.workdir import config_hash
from scripts import command_line, cross_validate
from tests import runs, tiny_config

DATA_SETS = list(overlays.DATA_SETS)
METHODS = ["resnet101", "no_attention", "ifgan"]


def test_the_papers_tables_need_93_runs_a_seed():
    plan = cross_validate.plan(default.get_config(), DATA_SETS, METHODS, ["all"], ["0", "5"])
    assert len(plan) == 2 * 3 * (3 * 10 + 1)
    ck_plus = [run.config for run in plan if run.name.startswith("ck_plus-ifgan-seed5")]
    assert [config.data.fold for config in ck_plus] == list(range(10))
    assert {config.seed for config in ck_plus} == {5}
    assert ck_plus[0].data.additional == ("bu3dfe", "mmi", "raf_db")
    (raf_db,) = (run.config for run in plan if run.name.startswith("raf_db-no_attention-seed0"))
    assert (raf_db.data.num_classes, raf_db.generator.attention) == (7, False)


def test_shards_share_every_run_once():
    plan = cross_validate.plan(default.get_config(), DATA_SETS, METHODS, ["0", "3"], ["0", "1"])
    shards = [command_line.shard(plan, f"{i}/4") for i in range(4)]
    assert sorted(run.name for runs in shards for run in runs) == sorted(run.name for run in plan)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["afew"], METHODS, ["all"], ["0"]), "data set 'afew' is unknown"),
        (([], ["resnet50"], ["all"], ["0"]), "method 'resnet50' is unknown"),
        (([], METHODS, ["10"], ["0"]), "--folds: '10' is not a number from 0 to 9"),
        (([], METHODS, ["-1"], ["0"]), "--folds: '-1'"),
        (([], METHODS, ["all"], ["x"]), "--seeds: 'x'"),
        (([], METHODS, ["all"], ["1", "1"]), "twice"),
    ],
)
def test_wrong_flags_are_named(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        cross_validate.plan(default.get_config(), *arguments)


@pytest.mark.parametrize("text", ["4/4", "0", "0/0", "a/b", "-1/3"])
def test_wrong_shards_are_named(text: str):
    with pytest.raises(ValueError, match="--shard"):
        command_line.shard([], text)


def test_only_an_if_gan_config_can_be_varied():
    with pytest.raises(ValueError, match="must be IF-GAN's"):
        overlays.with_method(overlays.with_method(default.get_config(), "resnet101"), "ifgan")


def test_sets_that_are_not_trained_together_stay_alone():
    config = default.get_config()
    config.data.name, config.data.additional = "bu3dfe/72_given", ()
    raf_db = overlays.with_data(config, "raf_db").data
    assert (raf_db.name, raf_db.additional) == ("raf_db/72_given", ())
    assert raf_db.averages_from == ("bu3dfe/72_given", "ck_plus/72_given", "mmi/72_given")
    together = default.get_config()
    together.data.additional = ("mmi/72_given",)
    assert overlays.with_data(together, "mmi").data.name == "mmi/72_given"
    assert overlays.with_data(together, "mmi").data.additional == ("bu3dfe",)


def test_island_and_center_loss_alone_are_values_of_the_baseline():
    alone = [overlays.with_method(default.get_config(), x) for x in ("center_loss", "resnet101")]
    assert [config.loss.island_alpha for config in alone] == [0.0, 0.03]
    assert {(config.method, config.classifier.inputs) for config in alone} == {
        ("baseline", "source")
    }
    assert len({config_hash(config) for config in alone}) == 2


def test_a_failed_run_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = cross_validate.plan(tiny_config.get_config(), [], METHODS, ["0"], ["0"])

    errors = iter([jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9G"), MemoryError("b"),
                   FloatingPointError("generator/l1 is nan at step 3")])  # fmt: skip

    def train(config, workdir):
        if not config.generator.attention:
            raise next(errors)
        if config.method == "baseline":
            raise BlockingIOError("in use by another process")
        metrics = {"test_accuracy": 0.5, "confusion": [[1]], "class_names": ["fear"]}
        return {**metrics, "data_hash": "d", "folds_hash": "f"}

    monkeypatch.setattr(train_module, "train", train)
    for told in ("RESOURCE_EXHAUSTED: 9G", "b"):  # as a smaller device than the others need
        cross_validate.run_all(plan, tmp_path)
        assert [failure.error for failure in collect([tmp_path / "results"])[1]] == [told]
    failed = cross_validate.run_all(plan, tmp_path)
    assert [name.split("-")[1] for name in failed] == ["no_attention"]
    found, failures = collect([tmp_path / "results"])
    assert [result.method for result in found] == ["ifgan"]
    assert [(f.name, f.error) for f in failures] == [(failed[0], "generator/l1 is nan at step 3")]
    errors = iter([RuntimeError("of ours")])
    with pytest.raises(RuntimeError, match="of ours"):
        cross_validate.run_all(plan, tmp_path)


def test_what_is_missing_is_told_before_any_run(tmp_path: Path):
    flags = [f"--config.data.data_dir={tmp_path}", f"--output={tmp_path}", "--datasets=bu3dfe,mmi"]
    command = ["--config=configs/default.py", "--config.data.additional=()", *flags]
    status, output = runs.finish("cross_validate", *command, "--config.classifier.pretrained=")
    assert status == 1
    assert "error: data set 'bu3dfe' is not prepared" in output
    assert not (tmp_path / "runs").exists()


def test_what_devices_cannot_do_is_told_before_any_run():
    """Those of the config, not all that there are: eight here, on which 15 images do not part."""
    config = tiny_config.get_config()
    config.devices, config.batch_size, config.evaluation.batch_size = 1, 15, 5
    (run,) = plan = cross_validate.plan(config, [], ["ifgan"], ["0"], ["0"])
    cross_validate.check(plan)
    run.config.devices = 9
    with pytest.raises(ValueError, match="devices 9"):
        cross_validate.check(plan)


def test_killed_and_started_again_it_loses_nothing_and_makes_the_tables(tmp_path: Path):
    flags = ["--config=tests/tiny_config.py", "--methods=resnet101,ifgan", "--folds=0"]
    flags += [f"--output={tmp_path}"]
    process = runs.start("cross_validate", *flags)
    results = tmp_path / "results"
    saved = "runs/*-ifgan-*-fold0-*/checkpoints/*/manifest.json"
    begun = process.wait_for(lambda: any(tmp_path.glob(saved)))
    process.send(signal.SIGKILL)
    told = process.end().output
    assert begun, told
    (done,) = results.glob("*.json")
    assert "-resnet101-" in done.name
    written = done.stat().st_mtime_ns
    shutil.rmtree(tmp_path / "runs" / done.stem)  # its result is enough
    status, output = runs.finish("cross_validate", *flags)
    assert status == 0, output
    assert "2 runs, 2 in this shard, 1 of them to do" in output
    assert "resuming at step" in output
    assert done.stat().st_mtime_ns == written
    assert not (tmp_path / "runs" / done.stem).exists()
    assert len(list(results.glob("*.json"))) == 2
    status, output = runs.finish("cross_validate", *flags)
    assert status == 0, output
    assert "0 of them to do" in output

    status, output = runs.finish("report", f"--results={results}", f"--output={tmp_path}")
    assert status == 0, output
    rows = {row[0]: row for row in csv.reader((tmp_path / "table_other.csv").open())}
    for method, name in (("ifgan", "IF-GAN"), ("resnet101", "ResNet, island loss")):
        (path,) = results.glob(f"*-{method}-*.json")
        accuracy = json.loads(path.read_text())["metrics"]["test_accuracy"]
        assert rows[name][1] == f"{100 * accuracy:.2f} (1 of 10 folds)"
    assert rows["IF-GAN w/o attention"][1] == "not run"
    for picture in ("transfer_grid", "attention_maps", "if_gan_confusion"):
        assert (tmp_path / f"fake_faces_{picture}.png").read_bytes().startswith(b"\x89PNG")
