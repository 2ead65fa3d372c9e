"""docs/extending.md: every recipe is short, runs as printed, and does what its heading says."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import demo
from ifgan_jax import build
from ifgan_jax.data.pipeline import fake_faces, train_epoch
from ifgan_jax.data.protocol import Expression
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.models.classifier import BasicBlock, ResNet
from ifgan_jax.predict import Predictor
from ifgan_jax.step import train_step
from tests import tiny

DOCUMENT = Path(__file__).parent.parent / "docs" / "extending.md"
FOUND = re.findall(r"^## ([^\n]*)\n[^#]*?^```python\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
HEADINGS = ("Another loss", "Another generator", "Another data set", "A further network", "Several")
LONGEST = 30  # lines of a recipe, without the empty ones
PLAYERS = ("generator", "discriminator", "classifier")
UNCHECKED = True  # as its users run it


@pytest.fixture
def on_one_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an empty folder; one device, narrow and short networks: a third of the compilation."""
    get_config = demo.get_config

    def one_device() -> Any:
        config = get_config()
        config.devices, config.discriminator.width, config.classifier.width = 1, 4, 4
        config.generator.widths, config.generator.convs_per_stage = (8, 8, 8, 8), 1
        return config

    monkeypatch.setattr(demo, "get_config", one_device)
    short = partial(ResNet, stage_sizes=(1, 1), block=BasicBlock)
    monkeypatch.setitem(build.RESNETS, demo.get_config().classifier.depth, short)
    monkeypatch.chdir(tmp_path)


def run(heading: str) -> dict[str, Any]:
    """The names that a recipe leaves, run by itself."""
    names: dict[str, Any] = {"__name__": "recipe"}
    (recipe,) = (code for title, code in FOUND if title.startswith(heading))
    exec(compile(recipe, f"{DOCUMENT.name}: {heading}", "exec"), names)
    return names


def test_recipes_are_short():
    assert len(FOUND) == len(HEADINGS) == DOCUMENT.read_text().count("```python")
    for title, recipe in FOUND:
        assert title.startswith(HEADINGS)
        assert len([line for line in recipe.splitlines() if line.strip()]) <= LONGEST, title


@pytest.mark.usefixtures("on_one_device")
def test_hinge_loss_trains_by_its_own_gradient():
    names = run("Another loss")
    assert names["results"]["last_step"] == 3  # 96 images in batches of 32
    changed = names["make"](names["config"], 1).objective

    def gradient(objective: Any, real: list[float], fake: list[float]) -> tuple[Any, Any]:
        def of_d(*logits: jax.Array) -> jax.Array:
            return sum(objective.discriminator_terms(*logits).values())

        logits = [jnp.array(side).reshape(-1, 1, 1, 1) for side in (real, fake)]
        by_d = jax.grad(of_d, (0, 1))(*logits)
        return [g.ravel().tolist() for g in by_d], jax.grad(objective.adversarial)(logits[1])

    # d/dx mean max(0, 1 - x) is -1/n below 1, d/dx mean max(0, 1 + x) is 1/n above -1, else 0
    of_d, of_g = gradient(changed, [-2.0, 0.5, 1.5, 3.0], [-3.0, -1.5, -0.5, 2.0])
    assert of_d == [[-0.25, -0.25, 0, 0], [0, 0, 0.25, 0.25]]
    assert of_g.ravel().tolist() == [-0.25] * 4
    usual, _ = gradient(tiny.objective(), [-2.0, 0.5, 1.5, 3.0], [-3.0, -1.5, -0.5, 2.0])
    assert not np.isclose(usual, of_d).any()


@pytest.mark.usefixtures("on_one_device")
def test_another_generator_is_trained_saved_and_asked():
    names = run("Another generator")
    predictor = Predictor.load("runs/resnet_generator", names["make"])
    before = names["make"](names["config"], 1).create_state(jax.random.key(0)).generator.params
    after = predictor.state.generator.params
    assert {name.partition("_")[0] for name in after} == {"Conv", "GroupNorm"}
    start = jax.tree.map(np.asarray, before)
    assert all(
        not np.array_equal(x, y)
        for (_, x), (_, y) in zip(tiny.leaves(start), tiny.leaves(after), strict=True)
    )
    said = predictor(fake_faces(3, 36, 3, seed=1).images)
    assert said.generated.shape == (3, 32, 32, 1)
    assert names["results"]["transfer_accuracy"] >= 0  # it was tested, too


@pytest.mark.usefixtures("on_one_device")
def test_own_data_is_cut_by_people():
    faces = fake_faces(60, 36, 10, seed=0, num_classes=6)
    for image, label, subject in zip(faces.images, faces.labels, faces.subjects, strict=True):
        folder = Path("data/mine") / Expression(label).label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{subject}_000.png")
    names = run("Another data set")
    parts = load_run_parts(names["config"], names["load"])
    found = [parts.train, parts.validation, parts.test]
    people = [set(part.subjects.tolist()) for part in found]
    assert [len(group) for group in people] == [6, 2, 2]
    assert set.union(*people) == set(faces.subjects.tolist())
    row = np.flatnonzero((faces.subjects == parts.test.subjects[7]) & (faces.labels == 0))
    mine = parts.test.select(parts.test.subjects == parts.test.subjects[7])
    np.testing.assert_array_equal(mine.select(mine.labels == 0).images, faces.images[row])
    assert names["results"]["num_test_subjects"] == 2
    assert Path("data/mine/folds_5.json").exists()


@pytest.mark.usefixtures("on_one_device")
def test_the_adversary_learns_and_moves_the_generator_alone():
    names = run("A further network")
    step = names["train_step"]
    host = next(train_epoch(names["parts"].train, batch_size=32, seed=1, epoch=0))
    inputs = host.image, host.label, names["person"][host.index]
    assert names["metrics"]["generator/identity_gradient"] > 0
    gan, player, losses_seen = names["gan"], names["player"], []
    for _ in range(10):  # one batch, again and again, of a generator that is held
        _, player, metrics = step(gan, player, *inputs)
        losses_seen.append(float(metrics["adversary"]))
    assert losses_seen[-1] < losses_seen[0]

    @jax.jit
    def weighted(weight: jax.Array, *args: Any) -> Any:
        names["weight"] = weight  # the recipe's global, which its step reads as it is traced
        return step.__wrapped__(*args)[0]

    with_it, without = (weighted(weight, gan, player, *inputs) for weight in (1e4, 0.0))
    for name in PLAYERS:  # Adam's first moment: what is added to it is the gradient
        a, b = (tiny.first_moments(getattr(side, name)) for side in (with_it, without))
        apart = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert (apart > 1e-2) if name == "generator" else (apart < 1e-6), (name, apart)
    assert tiny.relative_error(with_it.centres, without.centres) < 1e-6


@pytest.mark.usefixtures("on_one_device")
def test_seeds_together_begin_and_draw_as_runs_of_theirs():
    """Then they move, each its own way; that both move as alone is tested in float64, below."""
    names = run("Several")
    assert names["trained"].keys() == {0, 1}
    config = names["config"]
    for seed in (0, 1):
        config.seed = seed
        for kind in ("state_key", "train_key"):
            mine, alone = names[f"{kind}s"][seed], getattr(build, kind)(config)
            assert jax.random.key_data(mine).tolist() == jax.random.key_data(alone).tolist()
    start, both = (
        jax.jit(jax.vmap(names["usual"].create_state))(names["state_keys"]),
        names["states"],
    )
    assert both is names["trained"][1]
    assert both.step.tolist() == [6, 6]
    for name in PLAYERS:
        before, after = (apart_again(getattr(side, name).params) for side in (start, both))
        moves = [
            tiny.flattened(there) - tiny.flattened(here)
            for here, there in zip(before, after, strict=True)
        ]
        norms = [np.linalg.norm(move) for move in moves]
        assert min(norms) > 0, name
        assert np.linalg.norm(moves[0] - moves[1]) > 0.5 * max(norms), name


def test_seeds_together_are_the_seeds_alone_in_float64(x64):
    """Two states in one step by vmap, through every hand-written gradient."""
    nets, targets = tiny.networks(jnp.float64), tiny.targets(np.float64)
    step = partial(
        train_step,
        networks=nets,
        optimizers=tiny.optimizers(),
        objective=tiny.objective(),
        augmentation=tiny.UNROTATED,
    )
    first = tiny.state(nets)
    states = [first, jax.tree.map(lambda x: x * 1.25 if x.dtype == np.float64 else x, first)]
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    together = jax.jit(jax.vmap(step, in_axes=(0, None, None, 0)))
    both, metrics = together(stacked, tiny.batch(4), targets, keys)
    one = jax.jit(step)
    for i, mine in enumerate(apart_again(both)):
        alone, expected = one(states[i], tiny.batch(4), targets, keys[i])
        for name in PLAYERS:
            ours, theirs = (getattr(side, name).opt_state[1].mu for side in (mine, alone))
            tiny.assert_trees_close(ours, theirs, 1e-9)
        tiny.assert_trees_close(mine.centres, alone.centres, 1e-9)
        assert {k: float(v[i]) for k, v in metrics.items()} == pytest.approx(
            tiny.floats(expected), rel=1e-9
        )


def apart_again(tree: Any) -> tuple[Any, Any]:
    """The first and the second of two seeds that lie along the first axes."""
    return jax.tree.map(lambda x: x[0], tree), jax.tree.map(lambda x: x[1], tree)
