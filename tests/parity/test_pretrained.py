"""ImageNet weights from files: what comes in is torchvision's network, nothing else does."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ifgan_jax.checkpoint import restore_tree
from ifgan_jax.models.classifier import RESNETS
from ifgan_jax.models.pretrained import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    fit_stem,
)
from scripts.convert_resnet import convert_file
from tests import runs
from tests.parity.test_networks import torchvision_resnet
from tests.tiny import assert_trees_close, relative_error

pytestmark = pytest.mark.parity

Weights = dict[str, torch.Tensor]
NET = RESNETS[18](width=64, num_classes=6, inputs="source", remat="none", dtype=jnp.float32)


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    return torchvision_resnet(18, seed=0).float().eval()


def restored(folder: Path) -> Any:
    """The folder's tree, by the structure that an RGB network has."""
    image = jnp.zeros((1, 32, 32, 3))
    variables = jax.eval_shape(lambda: NET.init(jax.random.key(0), image, train=False))
    template = {
        "params": {k: v for k, v in variables["params"].items() if k != "head"},
        "batch_stats": variables["batch_stats"],
    }
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), template
    )
    return restore_tree(folder, placed)


def face() -> np.ndarray:
    """A gray 224×224 image that uses all of [-1, 1]."""
    rows, columns = np.mgrid[0:224, 0:224] / 224
    wave = np.sin(9 * rows + 4 * columns**2) * np.cos(30 * columns * rows)
    noise = np.random.default_rng(0).normal(size=(224, 224)) * 0.2
    return np.clip(wave + noise, -1, 1).astype(np.float32)


def activations_of_theirs(model: torch.nn.Module, gray: np.ndarray) -> dict[str, np.ndarray]:
    """Of the same face as RGB, normalised as torchvision's weights expect it."""
    rgb = ((gray[..., None] + 1) / 2 - IMAGENET_MEAN) / IMAGENET_DEVIATION
    x = torch.from_numpy(rgb.transpose(2, 0, 1)[None]).float()
    with torch.no_grad():
        stem = model.bn1(model.conv1(x))
        stage = model.layer1(model.maxpool(stem.relu()))
    return {name: y[0].permute(1, 2, 0).numpy() for name, y in (("stem", stem), ("stage", stage))}


@pytest.mark.parametrize("faces", [1, 2])
def test_a_gray_face_gives_torchvisions_activations(
    faces: int, theirs: torch.nn.Module, tmp_path: Path
):
    """Alone, and as a pair with itself: to 1e-4, where no padding is seen."""
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    convert_file(tmp_path / "resnet18.pth", tmp_path / "weights", 18)
    variables = restored(tmp_path / "weights")
    params = variables["params"]
    kernel = fit_stem(params["stem"]["kernel"], faces, channels=1)
    params |= {"stem": {"kernel": kernel}, "head": NET_HEAD}
    x = jnp.stack([face()] * faces, axis=-1)[None]
    _, seen = NET.apply(
        variables, x, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    expected = activations_of_theirs(theirs, face())
    for name, module, margin in (("stem", "stem_norm", 2), ("stage", "stage_0_block_1", 6)):
        (ours,) = seen["intermediates"][module]["__call__"]
        inner = slice(margin, -margin)
        assert relative_error(ours[0][inner, inner], expected[name][inner, inner]) < 1e-4
        assert relative_error(ours[0], expected[name]) > 1e-3  # the border does differ


NET_HEAD = {"kernel": jnp.zeros((512, 6)), "bias": jnp.zeros(6)}


def timm_weights(model: torch.nn.Module) -> Weights:
    """timm's files hold no counters."""
    return {k: v for k, v in model.state_dict().items() if "num_batches" not in k}


def test_both_kinds_of_file_give_one_tree(theirs: torch.nn.Module, tmp_path: Path):
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    save_file(theirs.state_dict(), tmp_path / "b.safetensors")
    save_file(timm_weights(theirs), tmp_path / "c.safetensors")
    trees = []
    for name in ("a.pth", "b.safetensors", "c.safetensors"):
        digest = convert_file(tmp_path / name, tmp_path / f"{name}_tree", 18)
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        trees.append(restored(tmp_path / f"{name}_tree"))
    assert_trees_close(trees[1], trees[0], 0)
    assert_trees_close(trees[2], trees[0], 0)


def changed(name: str) -> Any:
    """Wrong files: what is done to a ResNet-18's weights, and what the error must name."""
    return {
        "missing": lambda w: w.pop("layer3.0.conv2.weight"),
        "foreign": lambda w: w.update({"layer4.2.conv1.weight": torch.zeros(512, 512, 3, 3)}),
        "shape": lambda w: w.update({"layer2.0.conv1.weight": torch.zeros(128, 64, 1, 1)}),
        "not finite": lambda w: w["bn1.running_var"].fill_(torch.nan),
        "prefixed": lambda w: [w.update({f"module.{k}": w.pop(k)}) for k in list(w)],
    }[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"ResNet-18: 'layer3\.0\.conv2\.weight' is missing"),
        ("foreign", r"'layer4\.2\.conv1\.weight' has no place"),
        ("shape", r"'layer2\.0\.conv1\.weight' has shape \(128, 64, 1, 1\).*\(3, 3, 64, 128\)"),
        ("not finite", r"'bn1\.running_var' holds numbers that are not finite"),
        ("prefixed", r"'conv1\.weight' is missing"),
    ],
)
def test_the_first_bad_array_is_named(name: str, message: str, tmp_path: Path):
    weights = torchvision_resnet(18, seed=1).state_dict()
    changed(name)(weights)
    torch.save(weights, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=f"bad.pth as {message}" if name == "missing" else message):
        convert_file(tmp_path / "bad.pth", tmp_path / "tree", 18)
    assert not (tmp_path / "tree").exists()


def test_another_depth_is_named(theirs: torch.nn.Module, tmp_path: Path):
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(ValueError, match=r"as ResNet-34: 'layer1\.2\.conv1\.weight' is missing"):
        convert_file(tmp_path / "resnet18.pth", tmp_path / "tree", 34)
    with pytest.raises(ValueError, match=r"as ResNet-101: 'layer1\.0\.conv3\.weight' is missing"):
        convert_file(tmp_path / "resnet18.pth", tmp_path / "tree", 101)


def test_files_that_are_no_weights(theirs: torch.nn.Module, tmp_path: Path):
    whole = tmp_path / "whole.pth"
    torch.save(theirs.state_dict(), whole)
    save_file(timm_weights(theirs), tmp_path / "whole.safetensors")
    for source in (whole, tmp_path / "whole.safetensors"):
        cut = source.with_stem("cut")
        cut.write_bytes(source.read_bytes()[:-5000])
        with pytest.raises(ValueError, match=r"cut\.\w+ is damaged"):
            convert_file(cut, tmp_path / "tree", 18)
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"text\.pth"):
        convert_file(tmp_path / "text.pth", tmp_path / "tree", 18)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth"):
        convert_file(tmp_path / "list.pth", tmp_path / "tree", 18)
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        convert_file(tmp_path / "absent.pth", tmp_path / "tree", 18)
    whole.rename(tmp_path / "resnet18-f37072fd.pth")
    with pytest.raises(ValueError, match=r"does not begin with f37072fd"):
        convert_file(tmp_path / "resnet18-f37072fd.pth", tmp_path / "tree", 18)
    (tmp_path / "tree").mkdir()
    with pytest.raises(FileExistsError, match="--output"):
        convert_file(tmp_path / "resnet18-f37072fd.pth", tmp_path / "tree", 18)


class Malicious:
    """Unpickled, it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_pickle_is_executed(zipped: bool, tmp_path: Path):
    """In today's file format and in the one before 1.6."""
    target = tmp_path / "executed"
    weights = {"conv1.weight": Malicious(target)}
    torch.save(weights, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    told = (
        r"evil\.pth holds more than tensors, and is not run \(Unsupported global: [^\n]+ default\)"
    )
    with pytest.raises(ValueError, match=told) as refused:
        convert_file(tmp_path / "evil.pth", tmp_path / "tree", 18)
    assert "weights_only" not in str(refused.value)  # PyTorch's advice is to run it
    assert not target.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert target.exists()  # it would have been


def test_the_command_tells_digest_and_flag(theirs: torch.nn.Module, tmp_path: Path):
    weights = tmp_path / "resnet18.pth"
    torch.save(theirs.state_dict(), weights)
    flags = ["--depth=18", f"--weights={weights}", f"--output={tmp_path / 'imagenet'}"]
    status, output = runs.finish("convert_resnet", *flags)
    assert status == 0, output
    assert f"SHA-256 {hashlib.sha256(weights.read_bytes()).hexdigest()}" in output
    assert f"--config.classifier.pretrained={tmp_path / 'imagenet'}" in output
    weights.write_bytes(weights.read_bytes()[:1000])
    status, output = runs.finish("convert_resnet", *flags[:2], f"--output={tmp_path / 'again'}")
    assert status == 1
    assert output.startswith("error: ")
    assert "Traceback" not in output
