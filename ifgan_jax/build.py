"""From a config to the objects of a run: its networks, optimizers, objective and jitted steps.

Every key of configs/default.py is read here or in `train`, `loop` and `evaluate`, by name and
without defaults: a missing key is an error, a test finds unused ones (tests/test_whole_run.py).
"""

import dataclasses
from collections.abc import Callable, Collection
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from ifgan_jax import sharding
from ifgan_jax.augment import Augmentation
from ifgan_jax.data.protocol import Expression
from ifgan_jax.island import REDUCTIONS
from ifgan_jax.limits import check_numbers
from ifgan_jax.models.classifier import INPUTS, RESNETS
from ifgan_jax.models.discriminator import PatchGAN
from ifgan_jax.models.generator import AttentionUNet
from ifgan_jax.models.layers import REMAT
from ifgan_jax.objective import Objective
from ifgan_jax.optimizers import adam_l2, steps_schedule
from ifgan_jax.state import GanState, Networks, Optimizers, create_state
from ifgan_jax.step import baseline_step, classify, eval_step, train_step

METHODS = {"ifgan": train_step, "baseline": baseline_step}
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a config stands for, once the number of steps an epoch has is known.

    `dataclasses.replace` puts something of one's own in place of a part (docs/extending.md).
    """

    networks: Networks
    optimizers: Optimizers
    objective: Objective
    augmentation: Augmentation
    step: Callable
    create_state: Callable[[jax.Array], GanState]


Make = Callable[[ConfigDict, int], Experiment]  # as `build` below


def build(config: ConfigDict, steps_per_epoch: int) -> Experiment:
    """Networks, optimizers and pure functions of `config`; allocates nothing.

    Raises ValueError naming the key for values that no network or method has.
    """
    networks = build_networks(config)
    optimizers = Optimizers(
        *(build_optimizer(config.optimizers[name], steps_per_epoch) for name in Optimizers._fields)
    )
    return Experiment(
        networks=networks,
        optimizers=optimizers,
        objective=Objective(**config.loss),
        augmentation=Augmentation(crop=config.data.crop, **config.augmentation),
        step=METHODS[config.method],
        create_state=partial(
            create_state,
            networks=networks,
            optimizers=optimizers,
            crop=config.data.crop,
            channels=config.data.channels,
            centre_deviation=config.centre_deviation,
        ),
    )


def build_networks(config: ConfigDict) -> Networks:
    """G, D and E of `config`, or E alone for the baseline."""
    _choose("method", config.method, METHODS)
    _choose("dtype", config.dtype, DTYPES)
    _choose("remat", config.remat, REMAT)
    _choose("classifier.depth", config.classifier.depth, RESNETS)
    _choose("classifier.inputs", config.classifier.inputs, INPUTS)
    _choose("loss.island_reduction", config.loss.island_reduction, REDUCTIONS)
    if config.data.crop > config.data.image_size:
        raise ValueError(
            f"data.crop {config.data.crop} is larger than data.image_size {config.data.image_size}"
        )
    dtype = jnp.dtype(config.dtype)
    classifier = RESNETS[config.classifier.depth](
        width=config.classifier.width,
        num_classes=config.data.num_classes,
        inputs=config.classifier.inputs,
        remat=config.remat,
        dtype=dtype,
    )
    # widths are a list once the config was read from JSON
    generator = AttentionUNet(
        channels=config.data.channels,
        remat=config.remat,
        dtype=dtype,
        **{**config.generator, "widths": tuple(config.generator.widths)},
    )
    discriminator = PatchGAN(dtype=dtype, **config.discriminator)
    if config.method == "ifgan" and config.classifier.inputs == "source":
        raise ValueError(
            "method ifgan with classifier.inputs 'source' would not look at the generated face: "
            "choose 'pair' or 'generated', or method 'baseline'"
        )
    if config.method == "baseline":
        if config.classifier.inputs != "source":
            raise ValueError(
                "method baseline has no generated face: set classifier.inputs to 'source'"
            )
        return Networks(None, None, classifier)
    generator.check_size(config.data.crop, config.data.crop)
    return Networks(generator, discriminator, classifier)


def build_optimizer(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """Adam with its step-wise decay, from one of `config.optimizers`."""
    schedule = steps_schedule(
        config.learning_rate,
        decay=config.decay,
        decay_every_epochs=config.decay_every_epochs,
        steps_per_epoch=steps_per_epoch,
    )
    return adam_l2(
        schedule, beta1=config.beta1, beta2=config.beta2, weight_decay=config.weight_decay
    )


class Compiled(NamedTuple):
    """The jitted functions of a run over its mesh; the state given to `train_step` is used up."""

    networks: Networks
    mesh: Mesh
    create_state: Callable
    finite: Callable  # state → of each of its arrays whether no number is NaN or infinite
    whole: Callable  # any tree of arrays → the same on every device
    train_step: Callable  # state, batch, targets, key → state, metrics
    eval_step: Callable  # state, uint8 images → Prediction on every device
    classify: Callable  # state, source, face → probabilities on every device


def compile_steps(config: ConfigDict, experiment: Experiment, mesh: Mesh) -> Compiled:
    """Jit everything over `mesh`: batches split, the rest on every device. Compiles when called.

    With `shard_parameters` the state is split, too. G, D and E are put together where a step
    begins, so that devices exchange parameters and not activations; moments stay in parts.
    """
    everywhere, split = sharding.replicated(mesh), sharding.split(mesh)
    placed = _split_state(config, experiment, mesh) if config.shard_parameters else everywhere
    networks = experiment.networks

    def on_whole_players(function: Callable, **keywords: Any) -> Callable:
        @wraps(function)
        def joined(state: GanState, *inputs: Any) -> Any:
            return function(_with_whole_players(state, everywhere), *inputs, **keywords)

        return joined

    return Compiled(
        networks=networks,
        mesh=mesh,
        create_state=jax.jit(
            experiment.create_state,
            out_shardings=placed,
            compiler_options=run_once_options(mesh.devices.flat[0].platform),
        ),
        finite=jax.jit(_finite, out_shardings=everywhere),
        whole=jax.jit(lambda tree: tree, out_shardings=everywhere),
        train_step=jax.jit(
            on_whole_players(
                experiment.step,
                networks=networks,
                optimizers=experiment.optimizers,
                objective=experiment.objective,
                augmentation=experiment.augmentation,
            ),
            in_shardings=(placed, split, everywhere, everywhere),
            out_shardings=(placed, everywhere),
            donate_argnums=0,
        ),
        eval_step=jax.jit(
            on_whole_players(eval_step, networks=networks, crop=config.data.crop),
            in_shardings=(placed, split),
            out_shardings=everywhere,
        ),
        classify=jax.jit(
            on_whole_players(classify, networks=networks),
            in_shardings=(placed, split, split),
            out_shardings=everywhere,
        ),
    )


def run_once_options(platform: str) -> dict[str, int]:
    """XLA's options for a program that runs once: on a CPU its machine code stays unoptimised.

    There random numbers are drawn in loops, at which LLVM is slow: up to a second for each shape of
    array, so that the demo's first weights took more processor time to compile than its step.
    """
    return {"xla_backend_optimization_level": 0} if platform == "cpu" else {}


def _split_state(config: ConfigDict, experiment: Experiment, mesh: Mesh) -> GanState:
    """The placement of each array of the state."""
    shapes = jax.eval_shape(experiment.create_state, state_key(config))
    return jax.tree.map(lambda x: sharding.large_split(mesh, x.shape), shapes)


def _with_whole_players(state: GanState, everywhere: NamedSharding) -> GanState:
    """The state with all parameters on every device."""
    players = {name: getattr(state, name) for name in Optimizers._fields}
    whole = {
        name: player.replace(params=jax.lax.with_sharding_constraint(player.params, everywhere))
        for name, player in players.items()
        if player is not None
    }
    return dataclasses.replace(state, **whole)


def abstract_state(compiled: Compiled, config: ConfigDict) -> GanState:
    """Shapes, types and placement of the state, for restoring."""
    return jax.eval_shape(compiled.create_state, state_key(config))


def check_config(config: ConfigDict, num_devices: int) -> None:
    """Refuse what cannot run, naming the key, before any data is read."""
    check_evaluation(config, num_devices)
    sharding.check_batch_size("batch_size", config.batch_size, num_devices)


def check_evaluation(config: ConfigDict, num_devices: int) -> None:
    """Refuse what cannot be tested, naming the key."""
    check_numbers(config)
    sharding.check_batch_size("evaluation.batch_size", config.evaluation.batch_size, num_devices)
    _choose("data.num_classes", config.data.num_classes, range(2, len(Expression) + 1))
    build_networks(config)


def check_pretrained(config: ConfigDict) -> Path | None:
    """The folder of pretrained weights, None if the config asks for none; must exist."""
    if not config.classifier.pretrained:
        return None
    path = Path(config.classifier.pretrained)
    if not path.is_dir():
        raise FileNotFoundError(
            f"classifier.pretrained: no weights at {path}; put ImageNet weights of ResNet-"
            f"{config.classifier.depth} there, or set classifier.pretrained to '' to start from "
            f"random ones. {config.data.name} must lie in {config.data.data_dir}, too"
        )
    return path


def train_key(config: ConfigDict) -> jax.Array:
    """The key that every step's key is folded from."""
    return jax.random.fold_in(jax.random.key(config.seed), 1)


def state_key(config: ConfigDict) -> jax.Array:
    """The key of the initial weights and centres."""
    return jax.random.fold_in(jax.random.key(config.seed), 0)


def _finite(state: GanState) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state)])


def _choose(key: str, value: Any, choices: Collection[Any]) -> None:
    if value not in choices:
        raise ValueError(f"{key} {value!r}: choose one of {', '.join(map(str, choices))}")
