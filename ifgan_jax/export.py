"""A trained run as one file that programs without this package run, and its model card.

The file has G and E with their weights and the preparation of images, for any batch size: StableHLO
by `jax.export`, lowered for CPU, GPU and TPU (run on CPUs only), or ONNX by jax2onnx, for
onnxruntime.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict

from ifgan_jax import step
from ifgan_jax.augment import prepare
from ifgan_jax.data.align import GIVEN, alignment_of
from ifgan_jax.predict import Predictor
from ifgan_jax.tables import Table, markdown

PLATFORMS = ("cpu", "cuda", "tpu")
OUTPUTS = ["probabilities", "generated"]

CARD = """# Model card

{method}, trained on {data} with seed {seed}, {cut}, by ifgan_jax {version} (commit {commit}).

## Use

```python
{call}
```

`images`: uint8, shape (n, {side}, {side}, {channels}), 0 black to 255 white, n from 1 on; faces aligned
{aligned}. `answers["probabilities"]`: (n, {classes}), in the order {names}.
`answers["generated"]`: (n, {crop}, {crop}, {channels}), -1 black to 1 white{generated}.{drawn}

## Data

Trained on {train}; {selected}; tested on {test} ({images} images).
Additional training data: {additional}. Who was in the data:

{people}

These are not the people of the world: what the model does on groups that are few or absent there is not measured here.

## Results on the test part

{table}

Accuracy {accuracy:.3f}, balanced {balanced:.3f}.

## Intended use, and misuse

For research on facial expression recognition. The classes name how a face is shown, posed for most of
these data; an expression is not an emotion, and nobody's feelings, intentions or character follow from it. Not for
surveillance, hiring, school, police, border or insurance, nor for any decision about a person.{generates}
"""  # noqa: E501

GENERATES = """ Generated faces are averages, of nobody; what
they still tell of the person is measured by scripts/probe_identity.py."""

# Who was recorded, as the owners say.
PEOPLE = {
    "bu3dfe": "BU-3DFE: 100 adults of 18 to 70 years, 56 women; White, Black, East-Asian, "
    "Middle-East Asian, Indian and Hispanic Latino (Yin et al., FG 2006)",
    "ck_plus": "CK+: of the adults recorded for it, of 18 to 50 years, 69 % women; "
    "81 % Euro-American, 13 % Afro-American, 6 % others (Lucey et al., CVPR workshops 2010)",
    "mmi": "MMI, its first 19 people: students and staff of 19 to 62 years, 44 % women; European, "
    "Asian and South American (Pantic et al., ICME 2005)",
    "raf_db": "RAF-DB: pictures of the internet, of people of 0 to 70 years, 52 % female, "
    "43 % male, 5 % unsure; 77 % Caucasian, 8 % African-American, 15 % Asian (Li et al., 2017)",
    "synthetic_faces": "rendered faces: nobody; the heads are drawn by ifgan_jax",
    "fake_faces": "patterns: nobody",
}

CALL = {
    "stablehlo": """from jax import export
model = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
answers = model.call(images)""",
    "onnx": """import onnxruntime
model = onnxruntime.InferenceSession("model.onnx")
given = {"images": images}
names = [output.name for output in model.get_outputs()]
answers = dict(zip(names, model.run(names, given)))""",
}
# The package draws the noise from the pixels by threefry, which the converter cannot write down.
NOISE = """given["noise"] = numpy.random.standard_normal((len(images), {crop}, {crop}, {channels})).astype("f4")
"""  # noqa: E501
DRAWN = """
`noise`: what the generated faces carry, standard normal numbers. Others may give another class to
a face between two, the same ones the same; the package draws them from the image's own pixels."""


def stablehlo(predictor: Predictor) -> bytes:
    """What `jax.export.deserialize` reads: uint8 images → {"probabilities", "generated"}."""
    networks = predictor.compiled.networks
    state, data = jax.device_get(predictor.state), predictor.config.data

    def answers(images: UInt8[Array, "b h w c"]) -> dict[str, jax.Array]:
        # Or XLA computes beforehand with what is constant here, and rounds otherwise than the run
        # does. A barrier for each: weights that are not used are left out.
        weights = jax.tree.map(jax.lax.optimization_barrier, state)
        said = step.eval_step(weights, images, networks=networks, crop=data.crop)
        return {"probabilities": said.probabilities, "generated": said.generated}

    shape = (*export.symbolic_shape("b"), data.image_size, data.image_size, data.channels)
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    return bytes(export.export(jax.jit(answers), platforms=PLATFORMS)(images).serialize())


def onnx(predictor: Predictor) -> bytes:
    """An ONNX model: uint8 images → "probabilities" and "generated".

    Where faces carry noise it has another input, "noise" (n, crop, crop, channels), float32:
    standard normal numbers in place of those that `AttentionUNet.observed` draws.
    Raises ImportError without the extra `onnx`, ValueError for a run that is not in float32.
    """
    try:
        import jax2onnx
    except ImportError as error:
        raise ImportError(f"{error}: make install EXTRAS=onnx") from error
    networks, config = predictor.compiled.networks, predictor.config
    if config.dtype != "float32":
        raise ValueError(f"dtype {config.dtype}: ONNX is written of float32 runs; use StableHLO")
    state, data, generator = jax.device_get(predictor.state), config.data, networks.generator

    def answers(images: jax.Array, *noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        source = prepare(images, data.crop)
        generated: Any = source
        if generator is not None:
            generated = generator.apply(step.variables(state.generator), source, train=False)
            generated = jnp.clip(generated + sum(generator.output_noise * z for z in noise), -1, 1)
        return step.classify(state, source, generated, networks=networks), generated

    given = {"images": jax.ShapeDtypeStruct(("n", *2 * (data.image_size,), data.channels), "u1")}
    if generator is not None and generator.output_noise:
        given["noise"] = jax.ShapeDtypeStruct(("n", *2 * (data.crop,), data.channels), "f4")
    model = jax2onnx.to_onnx(
        answers, list(given.values()), input_names=list(given), output_names=OUTPUTS
    )
    return model.SerializeToString()


def model_card(
    predictor: Predictor, metrics: Mapping[str, Any], folds: Mapping[str, Any], kind: str
) -> str:
    """Markdown, of a run's metrics.json and folds.json, for the file of a kind ("onnx")."""
    config = predictor.config
    call = CALL[kind]
    drawn = kind == "onnx" and config.method == "ifgan" and config.generator.output_noise > 0
    if drawn:
        noise = NOISE.format(crop=config.data.crop, channels=config.data.channels)
        call = "import numpy\n" + call.replace("names =", f"{noise}names =")
    alignment = alignment_of(config.data.name)
    named = any(folds["test"])  # else "", RAF-DB's people, among whom no folds are cut
    recalls = metrics["per_class_recall"].items()
    rows = tuple((name, "no images" if x is None else f"{x:.3f}") for name, x in recalls)
    return CARD.format(
        call=call,
        drawn=DRAWN if drawn else "",
        method=config.method,
        data=config.data.name,
        seed=config.seed,
        cut=f"fold {config.data.fold} of {config.data.num_folds}" if named else "its owner's parts",
        version=metrics["versions"]["ifgan_jax"],
        commit=metrics["commit"],
        side=config.data.image_size,
        aligned="as their owner aligned them"
        if alignment == GIVEN
        else f"as {alignment!r} of scripts/predict.py does",
        crop=config.data.crop,
        channels=config.data.channels,
        classes=config.data.num_classes,
        names=", ".join(predictor.class_names),
        generated="" if config.method == "ifgan" else "; a baseline's is the input itself",
        generates=GENERATES if config.method == "ifgan" else "",
        train=_people(folds["train"]),
        selected="the last checkpoint, as none was selected"
        if metrics["validation_accuracy"] is None
        else f"selected by validation accuracy on {_people(folds['validation'])}",
        test=_people(folds["test"]),
        images=metrics["num_test_images"],
        additional=", ".join(config.data.additional) or "none",
        people="\n".join(f"- {who}" for who in _recorded(config.data)),
        table=markdown(Table("Recall of each class", ("class", "recall"), rows)),
        accuracy=metrics["test_accuracy"],
        balanced=metrics["test_balanced_accuracy"],
    )


def _people(ids: Sequence[str]) -> str:
    """How many; "" stands for people whom a data set does not name."""
    named = set(ids) - {""}
    told = [f"{len(named)} people"] if named else []
    return " and ".join([*told, "people who are not named"] if "" in ids else told)


def _recorded(data: ConfigDict) -> Iterator[str]:
    for name in (data.name, *data.additional):
        which = name.partition("/")[0]
        yield PEOPLE.get(which, f"{which}: its owner has to tell")
