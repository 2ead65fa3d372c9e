"""Every config builds, every key is read, and the decisions are written down."""

import dataclasses
import functools
import importlib
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from configs import default
from ifgan_jax import build, sharding
from ifgan_jax.arrays import Batch
from ifgan_jax.limits import LIMITS, LISTS, check_numbers
from ifgan_jax.models.classifier import BottleneckBlock
from ifgan_jax.workdir import config_hash, flatten

ROOT = Path(__file__).parent.parent
NO_RUNS = ("__init__", "overlays", "study")  # study.py's runs: tests/test_study.py
CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem not in NO_RUNS)


def configs() -> dict[str, ConfigDict]:
    modules = {name: importlib.import_module(f"configs.{name}") for name in CONFIGS}
    found = {name: module.get_config() for name, module in modules.items()}
    return found | {"demo, baseline": modules["demo"].get_baseline_config()}


@pytest.mark.parametrize("name", configs())
def test_config_builds_and_steps(name: str):
    """Shapes only, so the paper's sizes cost nothing: the state, and one step of it."""
    config = configs()[name]
    config.data.name, config.data.additional = "", ()  # which have no part in it: traced once
    before, after = shapes_around_a_step(config.to_json())
    assert before == after


@functools.cache
def shapes_around_a_step(content: str) -> tuple[Any, Any]:
    """Of the state before and after it, by a config's JSON."""
    config = ConfigDict(json.loads(content))
    experiment = build.build(config, steps_per_epoch=10)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(experiment.create_state, key)
    size, crop, channels = (config.data[k] for k in ("image_size", "crop", "channels"))
    batch = Batch(
        jax.ShapeDtypeStruct((config.batch_size, size, size, channels), "uint8"),
        jax.ShapeDtypeStruct((config.batch_size,), "int32"),
    )
    targets = jax.ShapeDtypeStruct((config.data.num_classes, crop, crop, channels), "float32")
    step = partial(
        experiment.step,
        networks=experiment.networks,
        optimizers=experiment.optimizers,
        objective=experiment.objective,
        augmentation=experiment.augmentation,
    )
    after, _ = jax.eval_shape(step, state, batch, targets, key)
    before, after = (jax.tree.map(lambda x: (x.shape, x.dtype), side) for side in (state, after))
    return before, after


def test_cpus_alone_leave_what_runs_once_unoptimised(monkeypatch: pytest.MonkeyPatch):
    """Only the first weights: the steps are what a run waits for, and stay optimised."""
    config = configs()["demo"]
    experiment, mesh = build.build(config, steps_per_epoch=1), sharding.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(jax, "jit", lambda function, **keywords: keywords.get("compiler_options"))
    compiled = build.compile_steps(config, experiment, mesh)
    assert compiled.create_state == {"xla_backend_optimization_level": 0}
    assert compiled.train_step is compiled.eval_step is compiled.classify is None
    assert build.run_once_options("tpu") == build.run_once_options("gpu") == {}


@pytest.mark.parametrize("name", configs())
def test_configs_have_the_defaults_keys_and_are_locked(name: str):
    config = configs()[name]
    assert flatten(config).keys() == flatten(default.get_config()).keys()
    with pytest.raises((AttributeError, KeyError)):
        config.generator.no_such_key = 1


def test_every_number_has_its_limits():
    def is_number(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    flat = flatten(default.get_config())
    numbers = {k for k, v in flat.items() if is_number(v) or (v and k in LISTS)}
    assert numbers == LIMITS.keys()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("generator.output_noise", "a", "generator.output_noise 'a': must be a number"),
        ("epochs", 1.5, "epochs 1.5: must be a whole number"),
        ("seed", True, "seed True: must be a whole number"),
        ("generator.widths", 8, "generator.widths 8: must be several numbers"),
        ("loss.l1_weight", [1], "loss.l1_weight [1]: must be a number"),
    ],
)
def test_a_number_of_another_type_is_named(key: str, value: Any, told: str):
    """As it may stand in a config.json; a command line's types are checked where it is read."""
    config = json.loads(default.get_config().to_json_best_effort())
    *groups, last = key.split(".")
    group = functools.reduce(lambda inside, name: inside[name], groups, config)
    group[last] = value
    with pytest.raises(ValueError, match=re.escape(told)):
        check_numbers(ConfigDict(config))


def test_what_is_built_has_the_values_of_the_config():
    """Each player's own; after one step of a gradient of 1 Adam's moments and step say theirs."""
    config = default.get_config()
    config.dtype, config.remat, config.data.channels = "bfloat16", "blocks", 3
    config.generator.update({"widths": (8, 16, 24, 32, 40), "convs_per_stage": 1})
    config.generator.update({"attention_reduction": 4, "attention_block": 2**10})
    config.generator.output_noise = 0.4
    config.discriminator.width, config.classifier.width = 5, 7
    config.classifier.inputs, config.data.num_classes, config.centre_deviation = "generated", 7, 0.3
    config.loss.update({k: 0.1 * (i + 1) for i, k in enumerate(config.loss) if "weight" in k})
    config.loss.island_alpha, config.loss.classifier_to_generator = 0.04, False
    rates = {"generator": 0.1, "discriminator": 0.2, "classifier": 0.3}
    for name, rate in rates.items():
        changes = {"learning_rate": rate, "beta1": 0.9 - rate, "beta2": 1 - rate}
        config.optimizers[name].update(changes | {"weight_decay": rate / 10})
    built = build.build(config, steps_per_epoch=10)
    generator, discriminator, classifier = built.networks
    dtypes = {generator.dtype, discriminator.dtype, classifier.dtype}
    assert dtypes == {jnp.dtype("bfloat16")}
    assert generator.remat == classifier.remat == "blocks"
    assert generator.channels == 3
    for key, value in config.generator.items():
        assert getattr(generator, key) == value, key
    assert (discriminator.width, classifier.width, classifier.num_classes) == (5, 7, 7)
    assert (classifier.stage_sizes, classifier.block) == ((3, 4, 23, 3), BottleneckBlock)
    assert classifier.inputs == "generated"
    assert dataclasses.asdict(built.objective) == config.loss.to_dict()
    assert dataclasses.asdict(built.augmentation) == {"crop": 224, **config.augmentation}
    for name, rate in rates.items():
        optimizer, one = getattr(built.optimizers, name), jnp.ones(())
        update, state = optimizer.update(one, optimizer.init(one), one)
        gradient = 1 + rate / 10
        assert float(state[1].mu) == pytest.approx((0.1 + rate) * gradient)
        assert float(state[1].nu) == pytest.approx(rate * gradient**2)
        assert float(update) == pytest.approx(-rate, rel=1e-5)


def test_hash_ignores_keys_that_change_no_number():
    """Exactly these; a run goes on with others of them."""
    before, ignored = config_hash(default.get_config()), set()
    for key, value in flatten(default.get_config()).items():
        content = json.loads(default.get_config().to_json_best_effort())
        *groups, last = key.split(".")
        functools.reduce(lambda inside, name: inside[name], groups, content)[last] = [value, 1]
        if config_hash(ConfigDict(content)) == before:
            ignored.add(key)
    assert ignored == {
        "checkpoint_every_epochs",
        "data.data_dir",
        "data.strict_audit",
        "devices",
        "epochs",
        "evaluation.batch_size",
        "generator.attention_block",
        "remat",
        "shard_parameters",
    }


def test_decisions_table_has_every_open_point_and_only_real_keys():
    text = (ROOT / "docs" / "decisions.md").read_text()
    rows = re.findall(r"^\| ([a-z]) \|", text, re.MULTILINE)
    assert rows == [chr(code) for code in range(ord("a"), ord("z") + 1)]
    keys = set(re.findall(r"`((?:[a-z_0-9]+\.)+[a-z_0-9]+)`", text))
    known = flatten(default.get_config()).keys()
    named = {k for k in keys if k.split(".")[0] in default.get_config()}
    assert named <= known, named - known
    assert {"loss.island_reduction", "classifier.inputs", "generator.attention_reduction"} <= named
