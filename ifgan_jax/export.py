"""A trained run as one file that programs without this package run, and its model card.

The file is StableHLO by `jax.export`: G and E with their weights and the preparation of images, for
any batch size, on CPU, GPU and TPU.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import export
from jaxtyping import Array, UInt8

from ifgan_jax import step
from ifgan_jax.predict import Predictor
from ifgan_jax.tables import Table, markdown

PLATFORMS = ("cpu", "cuda", "tpu")

CARD = """# Model card

{method}, trained on {data} with seed {seed}, fold {fold} of {folds}, by ifgan_jax {version} (commit {commit}).

## Use

```python
from jax import export
model = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
answers = model.call(images)
```

`images`: uint8, shape (n, {side}, {side}, {channels}), 0 black to 255 white, any n; faces aligned as
scripts/predict.py does. `answers["probabilities"]`: (n, {classes}), in the order {names}.
`answers["generated"]`: (n, {crop}, {crop}, {channels}), -1 black to 1 white{generated}.

## Data

Trained on {train} people, selected on {validation} others by validation accuracy, tested on {subjects} others
({images} images). Additional training data: {additional}. The people in a data set are not those of the world: its own card tells
who is in it, and groups that it lacks are not measured here.

## Results on the test part

{table}

Accuracy {accuracy:.3f}, balanced {balanced:.3f}.

## Intended use, and misuse

For research on facial expression recognition. The classes name how a face is shown, posed for most of
these data; an expression is not an emotion, and nobody's feelings, intentions or character follow from it. Not for
surveillance, hiring, school, police, border or insurance, nor for any decision about a person. Generated faces are averages, of nobody; what
they still tell of the person is measured by scripts/probe_identity.py.
"""  # noqa: E501


def stablehlo(predictor: Predictor) -> bytes:
    """What `jax.export.deserialize` reads: uint8 images → {"probabilities", "generated"}."""
    networks = predictor.compiled.networks
    state, data = jax.device_get(predictor.state), predictor.config.data

    def answers(images: UInt8[Array, "b h w c"]) -> dict[str, jax.Array]:
        said = step.eval_step(state, images, networks=networks, crop=data.crop)
        return {"probabilities": said.probabilities, "generated": said.generated}

    shape = (*export.symbolic_shape("b"), data.image_size, data.image_size, data.channels)
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    return bytes(export.export(jax.jit(answers), platforms=PLATFORMS)(images).serialize())


def model_card(predictor: Predictor, metrics: Mapping[str, Any], folds: Mapping[str, Any]) -> str:
    """Markdown, of a run's metrics.json and folds.json."""
    config = predictor.config
    recalls = metrics["per_class_recall"].items()
    rows = tuple((name, f"{recall:.3f}") for name, recall in recalls)
    return CARD.format(
        method=config.method,
        data=config.data.name,
        seed=config.seed,
        fold=config.data.fold,
        folds=config.data.num_folds,
        version=metrics["versions"]["ifgan_jax"],
        commit=metrics["commit"],
        side=config.data.image_size,
        crop=config.data.crop,
        channels=config.data.channels,
        classes=config.data.num_classes,
        names=", ".join(predictor.class_names),
        generated="" if config.method == "ifgan" else "; a baseline's is the input itself",
        train=len(folds["train"]),
        validation=len(folds["validation"]),
        subjects=metrics["num_test_subjects"],
        images=metrics["num_test_images"],
        additional=", ".join(config.data.additional) or "none",
        table=markdown(Table("Recall of each class", ("class", "recall"), rows)),
        accuracy=metrics["test_accuracy"],
        balanced=metrics["test_balanced_accuracy"],
    )
