"""What G and E still tell of a person: every representation of unseen people's faces, probed.

The faces are of people whom no run in question was trained or selected on. Some of them, the
gallery, are measured; the others fit the probes (`probe`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int
from ml_collections import ConfigDict

from ifgan_jax.augment import prepare
from ifgan_jax.data.averages import Averages
from ifgan_jax.data.faces import Faces, load_prepared, population, rendered_attributes
from ifgan_jax.predict import Predictor
from ifgan_jax.probe import (
    Groups,
    Identity,
    Images,
    Measure,
    principal_components,
    probe_identity,
    probe_labels,
)
from ifgan_jax.probe_network import learned_features
from ifgan_jax.workdir import read_folds

OTHERS = 10  # people beside the gallery, at least
VALIDATE = 5  # every so many-th of them chooses the probes' strength
NETWORK = ", small ResNet"  # after the name of images that it learned from


class Unseen(NamedTuple):
    """Faces of people no run has seen; which group each is in; what is known of them beside."""

    faces: Faces
    groups: Int[np.ndarray, " n"]  # 0 fits the probe, 1 chooses its strength, 2 is the gallery
    attributes: dict[str, Int[np.ndarray, " n"]]


class Leak(NamedTuple):
    """What one representation tells: of the person, of the expression, of who it is."""

    identity: Identity
    expression: Measure
    attributes: dict[str, Measure]


def probe(
    run: Predictor, baseline: Predictor | None, name: str, data_dir: str | Path, gallery: int
) -> dict[str, Any]:
    """All representations of the people of `name` whom neither run has seen, probed: probe.json.

    Raises what `unseen` raises, and ValueError for a run without a generator.
    """
    if run.config.method != "ifgan":
        raise ValueError(f"{run.workdir} is a baseline's folder: give it as --baseline")
    found = unseen([run] if baseline is None else [run, baseline], name, data_dir, gallery)
    leaks = {
        which: measure(features, found)
        for which, features in representations(run, baseline, found).items()
    }
    return as_json(leaks, found, name)


def seen_people(workdir: Path, config: ConfigDict, name: str) -> set[str]:
    """Ids of the data set `name` that a run was trained or selected on."""
    folds = read_folds(workdir)
    seen: set[str] = set()
    if population(config.data.name) == population(name):
        seen |= {*folds["train"], *folds["validation"]}
    for added in config.data.additional:
        if population(added) == population(name):
            prefix = f"{added.partition('/')[0]}:"
            seen |= {who.removeprefix(prefix) for who in folds["train"] if who.startswith(prefix)}
    return seen


def unseen(runs: list[Predictor], name: str, data_dir: str | Path, gallery: int) -> Unseen:
    """The faces of `name` that no run has seen, `gallery` people of them to be measured.

    Expressions and pixels must be those of the first run. Who is where is drawn with one seed.
    Raises ValueError for a set without subjects, or with too few that are unseen.
    """
    config = runs[0].config
    faces = load_prepared(data_dir, name).splits.get("faces")
    if faces is None or "" in set(faces.subjects.tolist()):
        raise ValueError(f"{name} does not say who is in its images: nobody can be found again")
    side = faces.images.shape[1]
    if side != config.data.image_size:
        raise ValueError(f"{name} has images of {side} px, the run {config.data.image_size} px")
    seen = set().union(*(seen_people(run.workdir, run.config, name) for run in runs))
    people = np.array(sorted(set(faces.subjects.tolist()) - seen))
    if len(people) < gallery + OTHERS:
        raise ValueError(
            f"{name}: {len(people)} people whom no run has seen; a gallery of {gallery} and at "
            f"least {OTHERS} others, who fit the probes, are needed: choose a smaller --gallery, "
            "or another data set"
        )
    drawn = people[np.argsort(np.random.PCG64(0).random_raw(len(people)), kind="stable")]
    group_of = {who: 2 if i < gallery else int(i % VALIDATE == 0) for i, who in enumerate(drawn)}
    use = np.isin(faces.subjects, people) & (faces.labels < config.data.num_classes)
    chosen = faces.select(use)
    attributes = rendered_attributes(data_dir, name)
    return Unseen(
        chosen,
        np.array([group_of[who] for who in chosen.subjects]),
        {key: values[use] for key, values in attributes.items()},
    )


def representations(
    run: Predictor, baseline: Predictor | None, found: Unseen
) -> dict[str, Float32[np.ndarray, "n d"]]:
    """By name, one vector for each face: images, features, and what cannot tell anything."""
    prediction = run(found.faces.images)
    images = {"input": prediction.source, "generated": prediction.generated}
    made = {name: _flat(pixels) for name, pixels in images.items()}
    made["generated, 8 bit"] = np.rint(127.5 * (made["generated"] + 1))  # as a file has it
    for name, pixels in images.items():
        made[f"{name}{NETWORK}"] = _learned(pixels, found)
    if baseline is not None:
        made["baseline's features"] = baseline(found.faces.images).features
    made["IF-GAN's features"] = prediction.features
    averages = Averages.load(run.workdir / "averages.npz").images
    targets = _flat(np.asarray(prepare(averages, run.config.data.crop)))
    random = np.random.default_rng(0).integers(0, len(targets), len(found.faces))
    made["control: one image for all"] = np.broadcast_to(targets.mean(0), made["input"].shape)
    made["control: average face of a random class"] = targets[random]
    return made


def _flat(images: Float32[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
    return images.reshape(len(images), -1)


def _learned(images: Float32[np.ndarray, "n h w c"], found: Unseen) -> Float32[np.ndarray, "n d"]:
    fits = found.groups == 0
    return learned_features(
        images[fits], found.faces.subjects[fits], found.faces.labels[fits], images, seed=0
    )


def measure(features: Float32[np.ndarray, "n d"], found: Unseen) -> Leak:
    """A representation's probes."""
    everything = Images(
        features, found.faces.labels, np.unique(found.faces.subjects, return_inverse=True)[1]
    )
    masks = [found.groups == number for number in range(len(Groups._fields))]
    reduced = principal_components(Groups(*(Images(*(x[m] for x in everything)) for m in masks)))

    def of(values: Int[np.ndarray, " n"]) -> Measure:
        parts = zip(reduced, masks, strict=True)
        return probe_labels(Groups(*(images._replace(labels=values[m]) for images, m in parts)))

    return Leak(
        probe_identity(reduced),
        probe_labels(reduced),
        {name: of(values) for name, values in found.attributes.items()},
    )


def as_json(leaks: Mapping[str, Leak], found: Unseen, name: str) -> dict[str, Any]:
    """probe.json: by representation and figure: value, low, high, chance."""
    people = [len(set(found.faces.subjects[found.groups == k].tolist())) for k in range(3)]
    return {
        "data": name,
        "people": dict(zip(Groups._fields, people, strict=True)),
        "representations": {
            which: {
                **leak.identity._asdict(),
                "expression": leak.expression,
                **leak.attributes,
            }
            for which, leak in leaks.items()
        },
    }
