"""Batches that no one would choose stay finite; of a rate that is too high the term is named."""

import dataclasses
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest

from ifgan_jax.arrays import Batch
from ifgan_jax.checkpoint import Checkpoints
from ifgan_jax.data.faces import Faces, Prepared
from ifgan_jax.data.parts import Parts
from ifgan_jax.data.pipeline import fake_faces
from ifgan_jax.loop import Interruption, Run
from ifgan_jax.metric_log import SilentLog
from ifgan_jax.predict import Predictor
from ifgan_jax.step import train_step
from ifgan_jax.train import train
from ifgan_jax.web.answers import attention_vectors
from tests import runs, tiny, tiny_config, untrained
from tests.test_step import compiled

UNCHECKED = True  # as its users run it

SIDE, IMAGES, STEPS = 36, 8, 5
NOISE = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 1)).astype(np.uint8)
MIXED, SAME = np.arange(IMAGES) % tiny.CLASSES, np.full(IMAGES, 3)
BATCHES = {
    "all black": (np.zeros_like(NOISE), MIXED),
    "all white": (np.full_like(NOISE, 255), MIXED),
    "constant, each of its own level": (np.broadcast_to(NOISE[:, :1, :1], NOISE.shape), MIXED),
    "one image": (np.broadcast_to(NOISE[:1], NOISE.shape), MIXED),
    "one class": (NOISE, SAME),
    "black and of one class": (np.zeros_like(NOISE), SAME),
}


@pytest.fixture(scope="module")
def networks():
    """With as many normalisations in a row as are shipped: each divides by a deviation."""
    return tiny.networks(convs_per_stage=2)


@pytest.fixture(scope="module")
def step(networks):
    return compiled(networks, tiny.objective(), tiny.AUGMENTATION, 1, train_step)


@pytest.mark.parametrize("target", ["average faces", "black"])
@pytest.mark.parametrize("name", BATCHES)
def test_the_step_stays_finite(name: str, target: str, networks, step):
    """Metrics, gradients' norms and all of the state, over some steps of the same."""
    images, labels = BATCHES[name]
    batch = Batch(np.ascontiguousarray(images), labels.astype(np.int32))
    state, targets = tiny.state(networks), np.asarray(tiny.targets())
    if target == "black":
        targets = np.full_like(targets, -1)
    for _ in range(STEPS):
        state, metrics = step(state, batch, targets, jax.random.key(0))
        assert all(map(np.isfinite, tiny.floats(metrics).values())), metrics
    for key, leaf in tiny.leaves(state):
        assert np.isfinite(leaf).all(), key


@pytest.mark.parametrize("player", ["generator", "discriminator", "classifier"])
def test_a_rate_that_is_too_high_stops_the_run_and_names_the_term(player: str, tmp_path: Path):
    """Of the terms the losses first: where G's faces are no numbers, G's own."""
    config = tiny_config.get_config()
    config.devices = 1  # compiles in half the time of eight
    config.optimizers[player].learning_rate = 1e30
    named = r"^train/[a-z]+/(?!gradient)\w+ is (nan|-?inf), .* at step \d+: "
    with pytest.raises(FloatingPointError, match=named) as caught:
        train(config, tmp_path / "run")
    assert f"train/{player}/" in str(caught.value)
    assert not list((tmp_path / "run").glob("checkpoints/*/manifest.json"))  # nothing bad is kept


def test_a_rate_that_spoils_all_but_no_number_is_survived(tmp_path: Path):
    """Scores above 1e10 in G's attention: the run is trained, tested and drawn."""
    rate = "--config.optimizers.generator.learning_rate=6"
    deep = "--config.generator.convs_per_stage=2"  # as shipped; with one, 1e8
    status, output = runs.train(tmp_path / "run", rate, deep, "--config.epochs=1")
    assert status == 0, output
    predictor = Predictor.load(tmp_path / "run")
    vectors = attention_vectors(predictor.compiled.networks)
    query, key = vectors(predictor.state.generator, predictor(NOISE).source)
    assert np.abs(np.einsum("bhwe,bije->bhwij", query, key)).max() > 1e10
    assert (tmp_path / "run/pictures/attention_maps.png").exists()


def test_a_state_that_answers_no_numbers_is_told():
    predictor = untrained.predictor(untrained.IFGAN)
    state = jax.tree.map(lambda x: x * 1e38 if x.dtype == np.float32 else x, predictor.state)
    with pytest.raises(FloatingPointError, match="generated of G and E is not finite, for faces 0"):
        dataclasses.replace(predictor, state=state)(NOISE)


def test_a_state_that_is_not_finite_is_not_saved_and_the_array_is_named(tmp_path: Path):
    """Metrics of a step tell of what was before it: an update may spoil what no term has seen."""
    asked = untrained.predictor(untrained.IFGAN)
    checkpoints, parts = mock.Mock(spec=Checkpoints), mock.Mock(spec=Parts)
    given = (asked.config, asked.compiled, checkpoints, parts, 1, {"best_step": 0}, tmp_path)
    run = Run(*given, Interruption())
    player = asked.state.classifier
    head = player.params["head"]
    head = head | {"kernel": head["kernel"].at[0, 0].set(np.inf)}
    spoilt = dataclasses.replace(
        asked.state, classifier=player.replace(params=player.params | {"head": head})
    )
    named = r"^classifier\.params\.head\.kernel is not finite after step 3: the run stops here"
    with pytest.raises(FloatingPointError, match=named):
        run._save(spoilt, 3, SilentLog())
    assert not checkpoints.save.called
    run._save(asked.state, 3, SilentLog())
    assert checkpoints.save.called


def one_person(data_dir: object, name: str) -> Prepared:
    return Prepared({"faces": fake_faces(12, SIDE, 1, seed=0, num_classes=6)}, ["fake0000"])


def one_person_has_it(data_dir: object, name: str) -> Prepared:
    """Happiness of the first of ten people only, whom the first fold tests."""
    faces: Faces = fake_faces(60, SIDE, 10, seed=0, num_classes=6)
    kept = faces.select((faces.labels != 3) | (faces.subjects == "fake0000"))
    return Prepared({"faces": kept}, sorted(set(faces.subjects.tolist())))


@pytest.mark.parametrize(
    ("load", "told"),
    [(one_person, "1 subject"), (one_person_has_it, "happiness")],
)
def test_a_label_or_a_set_of_one_person_is_told_before_training(load, told: str, tmp_path: Path):
    config = tiny_config.get_config()
    config.data.name, config.data.data_dir = "mine", str(tmp_path)
    with pytest.raises(ValueError, match=told):
        train(config, tmp_path / "run", load=load)
