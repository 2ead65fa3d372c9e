# %% [markdown]
"""A tour of a run that was trained, in cells: run it whole, or open it as a notebook in an editor.

    python scripts/tour.py --workdir=runs/demo --output=tour

From the checkpoint to the terms of eq. 1 and their gradients; the pictures go to --output.
"""

# %% The folder of the run, and where the pictures go
import argparse
import dataclasses
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ifgan_jax import build, metrics, visualize
from ifgan_jax.attention_maps import attention_maps, draw_attention
from ifgan_jax.augment import prepare
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.predict import Predictor
from ifgan_jax.state import GanState
from ifgan_jax.step import Gradients, gan_gradients
from scripts import command_line

parser = argparse.ArgumentParser(description="A tour of a run that was trained.")
parser.add_argument("--workdir", type=Path, default=Path("runs/demo"), help="of an IF-GAN run")
parser.add_argument("--output", type=Path, default=Path("tour"), help="of the pictures")
arguments, others = parser.parse_known_args()
if others and "ipykernel" not in sys.modules:  # a notebook's kernel has arguments of its own
    parser.error(f"unknown: {' '.join(others)}")
command_line.choose_kernels()
command_line.keep_compiled()


def draw(name: str, figure: visualize.Figure) -> None:
    """Write a picture."""
    path = arguments.output / f"{name}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(visualize.png_bytes(figure))
    except OSError as error:
        raise SystemExit(f"error: {path} could not be written: {error}") from error
    print(f"picture: {path}")


# %% 1. A run: its config, its networks, the checkpoint that validation selected, its data
try:
    predictor = Predictor.load(arguments.workdir)
    parts = load_run_parts(predictor.config)
except (ValueError, OSError) as error:
    raise SystemExit(f"error: {error}") from error
config, state, names = predictor.config, predictor.state, predictor.class_names
networks = predictor.compiled.networks
if networks.generator is None:
    raise SystemExit(f"error: {arguments.workdir} is a baseline's run: the tour is of an IF-GAN's")
print(f"{arguments.workdir}: {config.method} on {config.data.name}, step {int(state.step)}")
for part in ("train", "validation", "test"):
    faces = getattr(parts, part)
    print(f"  {part:10} {len(faces):5} images of {len(set(faces.subjects.tolist()))} people")
for player in ("generator", "discriminator", "classifier"):
    size = sum(x.size for x in jax.tree.leaves(getattr(state, player).params))
    print(f"  {player:13} {size:10,} parameters")

# %% 2. Predict: faces of people never seen in training
said = predictor(parts.test.images)
print("\nsix of their faces, and what E says of them:")
seen = np.linspace(0, len(parts.test) - 1, 6).astype(int)
for i in seen:
    chosen = said.probabilities[i].argmax()
    told = f"{names[chosen]} ({said.probabilities[i, chosen]:.2f})"
    print(f"  {parts.test.subjects[i]:10} shows {names[parts.test.labels[i]]:10} E says {told}")

# %% 3. One generated face, beside the person and the average face that G is to make of it
targets = prepare(parts.averages.images, config.data.crop)
one = seen[1:2]
shown = parts.test.labels[one]
label_names = [names[label] for label in shown]
people = parts.test.subjects[one].tolist()
aims = np.asarray(targets)[shown]
draw(
    "face",
    visualize.transfer_grid(
        said.source[one], said.generated[one], aims, label_names, people, across=1
    ),
)
print(f"mean difference to the average face: {np.abs(said.generated[one] - aims).mean():.3f} of 2")

# %% 4. Where three points of the decoder look (Fig. 6): one softmax row each, over all positions
if networks.generator.attention:
    maps = attention_maps(networks, state.generator, said.source[one])
    draw("attention", draw_attention(said.source[one], said.generated[one], maps, label_names))
    for name, row in zip(("eye", "lip", "cheek"), maps[0], strict=True):
        print(f"  the {name} point: the map sums to {row.sum():.3f}, its peak is {row.max():.4f}")
for name in (name for name in state.generator.params if "attention" in name):
    print(f"  γ of {name}: {float(state.generator.params[name]['gamma']):+.4f}")

# %% 5. The losses of one training batch, term by term, as eq. 1 adds them (weights included)
objective = build.build(config, steps_per_epoch=1).objective
rows = np.arange(min(config.batch_size, len(parts.train)))
batch = prepare(parts.train.images[rows], config.data.crop)  # without augmentation
label = jnp.asarray(parts.train.labels[rows])


Inputs = tuple[GanState, jax.Array, jax.Array, jax.Array]  # state, source, target, label


@jax.jit
def gradients_of(l1_weight: float, inputs: Inputs) -> Gradients:
    """Every player's gradient for any λ2; arrays as arguments, for XLA computes with constants."""
    changed = dataclasses.replace(objective, l1_weight=l1_weight)
    return gan_gradients(*inputs, networks, changed)


inputs = (state, batch, targets[label], label)
usual = gradients_of(objective.l1_weight, inputs)
TERMS = (
    ("eq. 2", "D, real pairs", "discriminator/real", objective.adversarial_weight),
    ("eq. 2", "D, fake pairs", "discriminator/fake", objective.adversarial_weight),
    ("eq. 2", "G", "generator/adversarial", objective.adversarial_weight),
    ("eq. 3", "G", "generator/l1", objective.l1_weight),
    ("eq. 4", "E, real pairs", "classifier/softmax_real", objective.softmax_weight),
    ("eq. 4", "E, fake pairs", "classifier/softmax_fake", objective.softmax_weight),
    ("eq. 5", "E, to its centre", "classifier/island", objective.island_weight),
)
print("\n          term               weight    in eq. 1")
for equation, who, key, weight in TERMS:
    print(f"  {equation}   {who:18} {weight:6g}  {float(usual.metrics[key]):10.4f}")
pair_term = float(objective.pair_term(state.centres))
print(f"  eq. 5   centres apart (α)  {objective.island_alpha:6g}  {pair_term:10.4f}")

# %% 6. Gradients: of each player, and of G's three teachers at the generated face
print("\nnorm of the gradient")
for player in ("generator", "discriminator", "classifier"):
    print(f"  of the {player:14} {float(optax.tree.norm(getattr(usual, player))):10.4f}")
TEACHERS = [key for key in usual.metrics if key.startswith("generator/") and "_gradient" in key]
for key in TEACHERS:
    print(f"  at the face, {key.partition('/')[2]:21} {float(usual.metrics[key]):10.6f}")

# %% 7. An edit: λ2 a tenth of what it was. Who feels it?
edited = gradients_of(objective.l1_weight / 10, inputs)
print(f"\nλ2 from {objective.l1_weight:g} to {objective.l1_weight / 10:g}: norm of the gradient")
for player in ("generator", "discriminator", "classifier"):
    before, after = (float(optax.tree.norm(getattr(side, player))) for side in (usual, edited))
    print(f"  of the {player:14} {before:10.4f} → {after:10.4f}")
for key in TEACHERS:
    before, after = (float(side.metrics[key]) for side in (usual, edited))
    print(f"  at the face, {key.partition('/')[2]:21} {before:10.6f} → {after:10.6f}")

# %% 8. Tested on the people never seen: as metrics.json has it
confusion = metrics.confusion_matrix(parts.test.labels, said.probabilities.argmax(-1), len(names))
transfer = metrics.transfer_accuracy(said.generated, np.asarray(targets), parts.test.labels)
remaining, _ = metrics.identity_variance(
    said.source, said.generated, parts.test.labels, parts.test.subjects
)
draw("confusion", visualize.confusion_figure(confusion, names))
print(f"accuracy on {len(parts.test)} images of unseen people: {metrics.accuracy(confusion):.4f}")
print(f"generated face nearest to the right average: {transfer:.4f}")
share = "undefined of fewer than two people" if remaining is None else f"{remaining:.4f}"
print(f"between-subject variance that remains: {share}")
