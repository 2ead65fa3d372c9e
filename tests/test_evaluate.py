"""Evaluation: independent of batching and order; its figures against what they mean."""

import csv
import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path
from unittest import mock

import dm_pix as pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifgan_jax import build, sharding
from ifgan_jax.attention_maps import attention_maps
from ifgan_jax.augment import prepare
from ifgan_jax.checkpoint import Checkpoints
from ifgan_jax.data.faces import Faces
from ifgan_jax.data.parts import Parts
from ifgan_jax.data.protocol import Expression, class_names
from ifgan_jax.evaluate import (
    evaluate_run,
    generation_metrics,
    load_run_parts,
)
from ifgan_jax.loop import Interruption, Run
from ifgan_jax.metrics import confusion_matrix
from ifgan_jax.models.attention import attention_rows as plain_rows
from ifgan_jax.predict import (
    HostPrediction,
    Restored,
    open_run,
    predict_all,
    predict_faces,
    restore,
)
from ifgan_jax.state import GanState
from ifgan_jax.train import train
from ifgan_jax.workdir import read_metrics
from tests import runs, tiny_config


@pytest.fixture(scope="module")
def tested() -> tuple[build.Compiled, GanState, Parts]:
    """A model on one device that tells some faces apart, and the parts of the tiny data set."""
    config = tiny_config.get_config()
    mesh = sharding.make_mesh(jax.devices()[:1])
    compiled = build.compile_steps(config, build.build(config, 1), mesh)
    state, parts = compiled.create_state(build.state_key(config)), load_run_parts(config)
    # The untrained E calls all faces the same: centre its logits on those of these faces.
    head = state.classifier.params["head"]
    logits = np.log(predict_all(compiled, state, parts.test, 12).probabilities)
    centred = {"kernel": 20 * head["kernel"], "bias": -20 * jnp.asarray(logits.mean(0))}
    params = {**state.classifier.params, "head": centred}
    state = state.replace(classifier=state.classifier.replace(params=params))
    predicted = predict_all(compiled, state, parts.test, 12).probabilities.argmax(-1)
    assert len(set(predicted.tolist())) >= 3
    return compiled, state, parts


@pytest.mark.parametrize("batch_size", [1, 5])
def test_batch_size_changes_nothing(batch_size: int, tested):
    compiled, state, parts = tested
    whole = predict_all(compiled, state, parts.test, len(parts.test))
    cut = predict_all(compiled, state, parts.test, batch_size)
    assert len(cut.probabilities) == len(parts.test) == 12
    np.testing.assert_array_equal(cut.probabilities.argmax(-1), whole.probabilities.argmax(-1))
    np.testing.assert_allclose(cut.probabilities, whole.probabilities, atol=1e-5)
    np.testing.assert_allclose(cut.generated, whole.generated, atol=1e-5)


def test_order_changes_nothing(tested):
    compiled, state, parts = tested
    order = np.random.default_rng(0).permutation(len(parts.test))
    whole = predict_all(compiled, state, parts.test, 5)
    test = parts.test.select(order)
    shuffled = predict_all(compiled, state, test, 5)
    counts = [
        confusion_matrix(faces.labels, prediction.probabilities.argmax(-1), 6)
        for faces, prediction in ((parts.test, whole), (test, shuffled))
    ]
    np.testing.assert_array_equal(*counts)
    np.testing.assert_allclose(shuffled.probabilities, whole.probabilities[order], atol=1e-5)


def test_tail_is_kept_and_compiled_once(tested):
    compiled, state, parts = tested
    before = compiled.eval_step._cache_size()
    rows = [rows for rows, _ in predict_faces(compiled, state, parts.test, 7)]
    assert [row.tolist() for row in rows] == [list(range(7)), list(range(7, 12))]
    assert compiled.eval_step._cache_size() == before + 1


def oracle(parts: Parts, generated: np.ndarray) -> HostPrediction:
    source = np.asarray(prepare(parts.test.images, 32))
    return HostPrediction(
        source, generated, np.full((len(source), 6), 1 / 6), np.zeros((len(source), 1))
    )


def figures(parts: Parts, generated: np.ndarray, classify) -> dict:
    return generation_metrics(
        oracle(parts, generated), parts.test, parts, classify, tiny_config.get_config()
    )


def test_a_perfect_generator_and_its_readers(tested):
    """The right average face for everyone; E reading one half only is told from the other."""
    _, _, parts = tested
    targets = np.asarray(prepare(parts.averages.images, 32))
    perfect = targets[parts.test.labels]

    def by_nearest(faces: np.ndarray) -> np.ndarray:
        return -np.square(faces[:, None] - targets[None]).sum((2, 3, 4))

    reads_generated = figures(parts, perfect, lambda source, face: by_nearest(np.asarray(face)))
    assert reads_generated["transfer_accuracy"] == 1
    assert reads_generated["identity_variance"] == 0
    assert reads_generated["ssim"] == pytest.approx(1, abs=1e-5)
    off = figures(parts, perfect + np.float32(0.02), lambda source, face: by_nearest(face))
    assert off["psnr"] == pytest.approx(40, abs=1e-3)  # 0.01 of the range everywhere
    others = figures(parts, perfect[::-1].copy(), lambda source, face: by_nearest(face))
    pairs = zip((perfect[::-1] + 1) / 2, (perfect + 1) / 2, strict=True)
    assert others["ssim"] == pytest.approx(np.mean([pix.ssim(*pair) for pair in pairs]), abs=1e-5)
    assert others["ssim"] < 0.9
    assert reads_generated["accuracy_wrong_average"] == 1  # only the source half was replaced
    assert reads_generated["accuracy_generated_shuffled"] < 0.7
    reads_source = figures(parts, perfect, lambda source, face: by_nearest(np.asarray(source)))
    assert reads_source["accuracy_wrong_average"] == 0
    assert set(reads_source["identity_variance_by_class"]) == {
        Expression(k).label for k in range(6)
    }


def test_a_generator_that_copies_keeps_all_identity(tested):
    _, _, parts = tested
    source = np.asarray(prepare(parts.test.images, 32))
    copied = figures(parts, source, lambda source, face: np.asarray(face)[:, :6, 0, 0])
    assert copied["identity_variance"] == pytest.approx(1)


def test_attention_maps_are_rows_of_the_decoders_attention(tested):
    """Fig. 6: each map is a distribution over the 1/4-scale positions, that of its query."""
    _, state, parts = tested
    networks = build.build_networks(tiny_config.get_config())
    source = np.asarray(prepare(parts.test.images[:2], 32))
    maps = attention_maps(networks, state.generator, source)
    assert maps.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(maps.sum((2, 3)), np.ones((2, 3)), rtol=1e-5)
    variables = {"params": state.generator.params, "batch_stats": state.generator.batch_stats}
    _, seen = networks.generator.apply(
        variables,
        jnp.asarray(source),
        train=False,
        capture_intermediates=lambda module, _: module.name == "decoder_2",
        mutable=["intermediates"],
    )
    (features,) = seen["intermediates"]["decoder_2"]["__call__"]
    params = state.generator.params["decoder_attention"]
    flat = features.reshape(2, 64, -1)
    query, key = (flat @ params[n]["kernel"][0, 0] + params[n]["bias"] for n in ("query", "key"))
    eye = int(0.38 * 8) * 8 + int(0.34 * 8)
    np.testing.assert_allclose(maps[:, 0].reshape(2, 64), plain_rows(query, key)[:, eye], rtol=1e-4)


def test_a_run_leaves_everything(finished: Path):
    """Train as a user does: metrics, predictions, pictures and a report, and no error."""
    results = json.loads((finished / "metrics.json").read_text())
    assert results["num_test_images"] == 12
    assert results["num_test_subjects"] == 2
    assert results["last_step"] == 18
    assert {"test_accuracy", "test_accuracy_last", "transfer_accuracy", "commit", "fold"} <= set(
        results
    )
    validated = {
        row["step"]: row["validation/accuracy"]
        for row in read_metrics(finished)
        if "validation/accuracy" in row
    }
    assert list(validated) == [6, 12, 18]
    best = max(validated.values())
    assert results["validation_accuracy"] == best
    assert results["selected_step"] == max(s for s, found in validated.items() if found == best)
    rows = (finished / "predictions.csv").read_text().splitlines()
    assert len(rows) == 13
    assert rows[0].startswith("subject,sequence,frame,label,predicted,anger,disgust")
    names = {path.stem for path in (finished / "pictures").iterdir()}
    assert names == {
        "transfer_grid",
        "attention_maps",
        "average_faces",
        "curves",
        "confusion",
    }
    page = (finished / "report.html").read_text()
    assert page.count("data:image/png;base64") == len(names)
    folds = json.loads((finished / "folds.json").read_text())
    assert not set(folds["train"]) & set(folds["test"])
    assert not set(folds["train"]) & set(folds["validation"])


def labelled(faces: Faces, said: np.ndarray, wrong: int) -> Faces:
    """The faces with labels by which all answers but `wrong` of them are right."""
    labels = said.copy()
    labels[:wrong] = (labels[:wrong] + 1) % 6
    return dataclasses.replace(faces, labels=labels.astype(faces.labels.dtype))


def test_the_validation_part_validates(tested, tmp_path: Path):
    compiled, state, parts = tested
    said = [
        predict_all(compiled, state, faces, 12).probabilities.argmax(-1)
        for faces in (parts.validation, parts.test)
    ]
    parts = dataclasses.replace(
        parts,
        validation=labelled(parts.validation, said[0], wrong=3),
        test=labelled(parts.test, said[1], wrong=7),
    )
    given = (tiny_config.get_config(), compiled, mock.Mock(spec=Checkpoints), parts, 6, {})
    assert Run(*given, tmp_path, Interruption())._validate(state) == 9 / 12


def test_the_selected_checkpoint_is_tested_and_the_last_beside_it(
    tested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two unlike states: accuracies, and each cell of predictions.csv."""
    compiled, selected, parts = tested
    head = jax.tree.map(jnp.negative, selected.classifier.params["head"])
    params = {**selected.classifier.params, "head": head}
    last = selected.replace(classifier=selected.classifier.replace(params=params))
    said, by_last = (
        predict_all(compiled, state, parts.test, 12).probabilities for state in (selected, last)
    )
    test = labelled(parts.test, said.argmax(-1), wrong=4)
    parts = dataclasses.replace(parts, test=test)
    names = class_names(6)
    progress = {"step": 18, "class_names": names, "versions": {"commit": "abc"}}
    progress |= {"data_hash": parts.data_hash, "folds_hash": parts.folds_hash}
    monkeypatch.setattr("ifgan_jax.evaluate._draw", lambda *given: None)
    monkeypatch.setattr("ifgan_jax.report.write_report", lambda workdir: None)
    given = (tiny_config.get_config(), compiled, Restored(selected, last, 0.5, progress), parts)
    found = evaluate_run(tmp_path, *given)
    assert found["test_accuracy"] == 8 / 12
    assert found["test_accuracy_last"] == np.mean(by_last.argmax(-1) == test.labels) < 8 / 12
    with (tmp_path / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for row, who, label, shares in zip(rows, test.subjects, test.labels, said, strict=True):
        told = row["subject"], row["label"], row["predicted"]
        assert told == (who, names[label], names[shares.argmax()])
        assert [float(row[name]) for name in names] == pytest.approx(shares.tolist(), abs=2e-6)


def test_evaluating_again_gives_the_same_figures(finished: Path, tmp_path: Path):
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    (copy / "metrics.json").unlink()
    status, output = runs.finish("evaluate", f"--workdir={copy}")
    assert status == 0, output
    assert json.loads((copy / "metrics.json").read_text()) == json.loads(
        (finished / "metrics.json").read_text()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.name": "fake_faces/36_21"}, "36_20 is not the one this run began with"),
        ({"data.num_folds": 5}, "the folds of fake_faces/36_20 are not those this run began with"),
    ],
)
def test_other_data_or_folds_than_the_runs_are_refused(
    change: dict, message: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Trained subjects would be tested as unseen ones: at an evaluation, and at a resume."""
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    config, compiled = open_run(copy)
    other = config.copy_and_resolve_references()
    other.update_from_flattened_dict(change)
    parts = load_run_parts(other)
    with pytest.raises(ValueError, match=message):
        evaluate_run(copy, config, compiled, restore(copy, config, compiled), parts)
    monkeypatch.setattr("ifgan_jax.train.load_run_parts", lambda config, load: parts)
    config.epochs = 4
    with pytest.raises(ValueError, match=message):
        train(config, copy)
    for name in ("metrics.json", "metrics.jsonl"):
        assert (copy / name).read_bytes() == (finished / name).read_bytes()


def test_evaluating_nothing_says_so(tmp_path: Path):
    status, output = runs.finish("evaluate", f"--workdir={tmp_path}")
    assert status == 1
    assert "is no run's folder" in output
    assert "Traceback" not in output


def test_without_a_checkpoint_no_data_are_rendered(finished: Path, tmp_path: Path):
    """A config that somebody gave away says where to, and of how many people."""
    config = json.loads((finished / "config.json").read_text())
    config["data"] |= {"name": "synthetic_faces/72_2", "data_dir": str(tmp_path / "elsewhere")}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    status, output = runs.finish("evaluate", f"--workdir={tmp_path / 'run'}")
    assert status == 1
    assert f"{tmp_path / 'run'} has no checkpoint: train it first" in output
    assert not (tmp_path / "elsewhere").exists()


def test_neutral_is_the_seventh_class():
    """One class more, in parts, averages, logits and the figures of the generated faces."""
    config = tiny_config.get_config()
    config.data.num_classes = 7
    parts = load_run_parts(config)
    assert set(parts.test.labels.tolist()) == set(range(7))
    assert len(parts.averages.images) == 7
    mesh = sharding.make_mesh(jax.devices()[:1])
    compiled = build.compile_steps(config, build.build(config, 1), mesh)
    state = compiled.create_state(build.state_key(config))
    prediction = predict_all(compiled, state, parts.test, len(parts.test))
    assert prediction.probabilities.shape == (14, 7)
    classify = partial(compiled.classify, state)
    found = generation_metrics(prediction, parts.test, parts, classify, config)
    assert 0 <= found["transfer_accuracy"] <= 1
    assert "neutral" in found["identity_variance_by_class"]
