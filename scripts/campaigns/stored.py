"""Targets: checkpoints, weights that others made, and data sets as they were prepared."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ifgan_jax.checkpoint import (
    MANIFEST,
    METADATA,
    Checkpoints,
    check_metadata,
    folder_of,
    restore_tree,
    save_tree,
    write_manifest,
)
from ifgan_jax.data.faces import load_prepared
from ifgan_jax.models import pretrained
from ifgan_jax.models.classifier import BasicBlock, ResNet
from scripts.campaigns.deliveries import FACE
from scripts.campaigns.mutations import Random, bad_json, below, mutate, one_of
from scripts.campaigns.runs import Runs
from scripts.campaigns.tries import Attempt, Target
from scripts.read_weights import read_weights


def checkpoints(folder: Path) -> Attempt:
    """A checkpoint of which one file is mutated."""
    state = {"weights": jnp.arange(6.0).reshape(2, 3), "count": jnp.int32(3)}
    metadata = {name: kind() for name, kind in METADATA.items()} | {"versions": {"commit": "a"}}
    run = Checkpoints(folder)
    run.save(state, metadata, step=1, best_step=1)
    run.wait()
    path = folder_of(folder, 1)

    def read() -> object:
        restored, told = run.restore(state, step=1)
        check_metadata(path, told)
        return as_lists(restored), told

    return _one_file_mutated(path, read)


def as_lists(tree: object) -> object:
    return jax.tree.map(lambda x: np.asarray(x).tolist(), tree)


def weight_folders(folder: Path) -> Attempt:
    """What `classifier.pretrained` names."""
    tree, path = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(3)}, folder / "weights"
    save_tree(path, tree)
    return _one_file_mutated(path, lambda: as_lists(restore_tree(path, tree)))


def _one_file_mutated(path: Path, read: Callable[[], object]) -> Attempt:
    """Every second folder has a manifest that says what is in it; the others read as they were."""
    whole = read()
    files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    odd = [*files.values(), pickle.dumps(Runs(path.parent.parent))]

    def attempt(rng: Random) -> None:
        shutil.rmtree(path)
        for file, content in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        file = one_of(rng, list(files))
        file.write_bytes(mutate(rng, files[file], odd))
        if below(rng, 2):
            (path / MANIFEST).unlink(missing_ok=True)
            write_manifest(path)
            read()
        else:
            assert read() == whole

    return attempt


def tiny_resnet() -> ResNet:
    """Of the architecture that is converted, and of few weights."""
    return ResNet(
        stage_sizes=(1,), block=BasicBlock, width=2, num_classes=3, inputs="source", remat="none",
        dtype=jnp.dtype("float32"),
    )  # fmt: skip


def state_dict() -> dict[str, np.ndarray]:
    """Weights of `tiny_resnet` under torchvision's names."""
    shapes = jax.eval_shape(
        partial(tiny_resnet().init, train=False), jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    made = {}
    for name, path in pretrained.torchvision_names(tiny_resnet()).items():
        shape = shapes
        for key in path:
            shape = shape[key]
        axes = (3, 2, 0, 1) if len(shape.shape) == 4 else range(len(shape.shape))[::-1]
        made[name] = np.ones([shape.shape[axis] for axis in axes], np.float32)
    return made


def safetensors(folder: Path) -> Attempt:
    from safetensors.numpy import save

    whole, path = save(state_dict()), folder / "weights.safetensors"
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])

    def attempt(rng: Random) -> None:
        content = mutate(rng, whole, [whole])
        if below(rng, 2):
            text = bad_json(rng, header)
            content = len(text).to_bytes(8, "little") + text + whole[8 + size :]
        elif below(rng, 8) == 0:
            content = (2 ** below(rng, 64)).to_bytes(8, "little") + whole[8:]
        _convert(path, content)

    return attempt


def torch_files(folder: Path) -> Attempt:
    """As torch.save has written them since 1.6, and before; and pickles of something else."""
    import torch

    path, tensors = folder / "weights.pth", {k: torch.tensor(x) for k, x in state_dict().items()}
    samples = []
    odd = ({"a": Runs(folder.parent)}, [1], tensors["fc.bias"])
    for content in (tensors, tensors, tensors, *odd):
        for zipped in (True, False):
            stream = io.BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=zipped)
            samples.append(stream.getvalue())
    with zipfile.ZipFile(io.BytesIO(samples[0])) as archive:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in archive.namelist():
                packed.writestr(name, archive.read(name))
    samples += [stream.getvalue(), pickle.dumps(Runs(folder.parent))]

    def attempt(rng: Random) -> None:
        content = one_of(rng, samples)
        _convert(path, mutate(rng, content, samples) if below(rng, 10) else content)

    return attempt


def _convert(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    arrays = read_weights(path)
    try:
        pretrained.convert(arrays, tiny_resnet(), channels=3)
    except ValueError as error:  # as scripts/convert_resnet.py says it
        raise ValueError(f"{path} as ResNet: {error}") from error


def prepared_sets(folder: Path) -> Attempt:
    """A data set as TFDS has written it, of which one file is mutated."""
    from ifgan_jax.data import builder as builders

    name, source = "bu3dfe/72_given", folder / "source"
    for i in range(1, 4):
        (source / f"F{i:04d}").mkdir(parents=True)
        for code in ("AN03", "HA04", "NE00"):
            FACE.save(source / f"F{i:04d}" / f"F{i:04d}_{code}WH_F2D.bmp")
    data = folder / "data"
    builders.prepare(builders.open_builder(data, name), source)
    whole = {file: file.read_bytes() for file in data.rglob("*") if file.is_file()}
    read = [file for file in whole if file.parent.name == "1.0.0"]
    odd = list(whole.values())

    def attempt(rng: Random) -> None:
        for file in read:
            file.write_bytes(whole[file])
        chosen = one_of(rng, read)
        content = whole[chosen]
        chosen.write_bytes(
            bad_json(rng, json.loads(content))
            if chosen.suffix == ".json" and below(rng, 2)
            else mutate(rng, content, odd)
        )
        assert len(load_prepared(data, name).splits["faces"]) == 9

    return attempt


TARGETS: dict[str, Target] = {
    "checkpoints": Target(checkpoints, ("00000001",), 2_000),
    "weight_folders": Target(weight_folders, ("weights",), 2_000),
    "safetensors": Target(safetensors, ("weights.safetensors",), 2_000),
    "torch_files": Target(torch_files, ("weights.pth",), 2_000),
    "prepared_sets": Target(prepared_sets, ("bu3dfe",), 2_000),
}
