"""A run's checkpoints on its test part: metrics.json, predictions.csv, pictures, report.html.

Every figure is a sum over images divided once, so batch size changes nothing but rounding.
"""

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dm_pix as pix
import jax
import numpy as np
from ml_collections import ConfigDict

from ifgan_jax import build, hosts, metrics, report, visualize
from ifgan_jax.attention_maps import attention_maps, draw_attention
from ifgan_jax.augment import prepare
from ifgan_jax.data.faces import Faces, Load, load_prepared
from ifgan_jax.data.parts import Parts, load_parts
from ifgan_jax.data.protocol import class_names
from ifgan_jax.files import of_file, read_object
from ifgan_jax.predict import (
    HostPrediction,
    Pixels,
    Probabilities,
    Restored,
    classify_pairs,
    predict_all,
)
from ifgan_jax.state import Networks, Player
from ifgan_jax.workdir import config_hash, read_metrics, told, write_bytes, write_json, write_text

GRID_SUBJECTS = 2  # unseen subjects for each expression, a row of the transfer grid


def load_run_parts(config: ConfigDict, load: Load = load_prepared) -> Parts:
    """The audited parts of the run's fold; takes `load` as, and raises what, `load_parts` does."""
    data = config.data
    return load_parts(
        data.name,
        data.data_dir,
        num_classes=data.num_classes,
        image_size=data.image_size,
        channels=data.channels,
        num_folds=data.num_folds,
        fold=data.fold,
        additional=data.additional,
        averages_from=data.averages_from,
        validation_fraction=data.validation_fraction,
        strict=data.strict_audit,
        load=load,
    )


def evaluate_run(
    workdir: Path, config: ConfigDict, compiled: build.Compiled, restored: Restored, parts: Parts
) -> dict[str, Any]:
    """Test the validation-selected and the last checkpoint; write and return the metrics.

    All processes call this, and the first one writes.

    Raises what `check_data` and `report.check_no_links` raise.
    """
    report.check_no_links(workdir)
    check_data(config, parts, restored.progress)
    selected, last, progress = restored.selected, restored.last, restored.progress
    test, batch_size = parts.test, config.evaluation.batch_size
    prediction = of_last = predict_all(compiled, selected, test, batch_size)
    if selected is not last:
        of_last = predict_all(compiled, last, test, batch_size)
    results = {
        "validation_accuracy": restored.validation_accuracy,
        "selected_step": int(selected.step),
        "last_step": progress["step"],
        **recognition_metrics(prediction, of_last, test, progress["class_names"]),
        **_provenance(config, parts, progress["versions"]),
    }
    if config.method == "ifgan":
        classify = partial(classify_pairs, compiled, selected)
        results |= generation_metrics(prediction, test, parts, classify, config)
    baseline = workdir / "baseline" / "metrics.json"  # as `make demo` trains it
    if baseline.exists():
        beside = read_object(baseline, remedy := "run the baseline's evaluation again")
        with of_file(baseline, remedy):
            if all(beside[key] == results[key] for key in ("data_hash", "fold", "seed")):
                results["baseline_test_accuracy"] = float(beside["test_accuracy"])
    generator = jax.device_get(compiled.whole(selected.generator))
    if hosts.is_first():
        with told(f"a file of {workdir}"):
            _write_predictions(workdir, test, prediction, progress["class_names"])
            _draw(
                workdir,
                config,
                compiled.networks,
                generator,
                parts,
                prediction,
                np.array(results["confusion"]),
            )
            write_json(workdir / "metrics.json", results)
            report.write_report(workdir)
    hosts.barrier("tested")  # at the end JAX waits minutes for the first process, not longer
    return results


def recognition_metrics(
    prediction: HostPrediction, of_last: HostPrediction, test: Faces, class_names: list[str]
) -> dict[str, Any]:
    """Accuracies of the selected checkpoint, and the last one's, on the test part."""

    def confusion_of(predicted: HostPrediction) -> np.ndarray:
        chosen = predicted.probabilities.argmax(-1)
        return metrics.confusion_matrix(test.labels, chosen, len(class_names))

    confusion = confusion_of(prediction)
    recall = metrics.per_class_recall(confusion)
    return {
        "test_accuracy": metrics.accuracy(confusion),
        "test_accuracy_last": metrics.accuracy(confusion_of(of_last)),
        "test_balanced_accuracy": metrics.balanced_accuracy(confusion),
        "per_class_recall": dict(zip(class_names, recall, strict=True)),
        "confusion": confusion.tolist(),
        "class_names": class_names,
        "num_test_images": len(test),
        "num_test_subjects": len(set(test.subjects.tolist()) - {""}),  # "": nobody is named
    }


def check_data(config: ConfigDict, parts: Parts, progress: dict[str, Any]) -> None:
    """ValueError unless `parts` are of the data and folds that the checkpoint's run began with.

    By other folds people it has trained on would be tested.
    """
    if progress["data_hash"] != parts.data_hash:
        raise ValueError(
            f"the data set {config.data.name} is not the one this run began with (SHA-256 "
            f"{parts.data_hash[:12]}, then {progress['data_hash'][:12]}): use a new workdir"
        )
    if progress["folds_hash"] != parts.folds_hash:
        raise ValueError(
            f"the folds of {config.data.name} are not those this run began with (SHA-256 "
            f"{parts.folds_hash[:12]}, then {progress['folds_hash'][:12]}): bring back the "
            f"folds_{config.data.num_folds}.json that it had below {config.data.data_dir}, of this "
            "set and of data.additional, or use a new workdir"
        )


def _provenance(config: ConfigDict, parts: Parts, trained_by: dict[str, str]) -> dict[str, Any]:
    """What made the checkpoints: the versions that trained them, not those that test them."""
    return {
        "method": config.method,
        "commit": trained_by["commit"],
        "config_hash": config_hash(config),
        "data_hash": parts.data_hash,
        "folds_hash": parts.folds_hash,
        "averages_hash": parts.averages.hash,
        "fold": config.data.fold,
        "seed": config.seed,
        "versions": trained_by,
    }


def generation_metrics(
    prediction: HostPrediction, test: Faces, parts: Parts, classify: Callable, config: ConfigDict
) -> dict[str, Any]:
    """How far the generated faces are the average ones, free of identity, and used by E.

    classify: (source, face) → probabilities, for batches of evaluation.batch_size.
    """
    targets = np.asarray(prepare(parts.averages.images, config.data.crop))
    names, wanted = class_names(config.data.num_classes), targets[test.labels]
    transfer = metrics.transfer_accuracy(prediction.generated, targets, test.labels)
    remaining, by_label = metrics.identity_variance(
        prediction.source, prediction.generated, test.labels, test.subjects
    )
    shuffled = np.random.default_rng(config.seed).permutation(len(test))
    other = test.labels + 1 + np.arange(len(test)) % (config.data.num_classes - 1)

    def accuracy_on(source: Pixels, face: Pixels) -> float:
        probabilities = _in_batches(classify, source, face, config.evaluation.batch_size)
        return float(np.mean(probabilities.argmax(-1) == test.labels))

    unit = [(x + 1) / 2 for x in (prediction.generated, wanted)]  # dm-pix: images in [0, 1]
    return {
        "transfer_accuracy": transfer,
        "identity_variance": remaining,
        "identity_variance_by_class": {names[k]: v for k, v in by_label.items()},
        "ssim": float(np.mean(jax.lax.map(lambda ab: pix.ssim(*ab), (unit[0], unit[1])))),
        "psnr": float(np.mean(jax.vmap(pix.psnr)(*unit))),
        "accuracy_generated_shuffled": accuracy_on(
            prediction.source, prediction.generated[shuffled]
        ),
        "accuracy_wrong_average": accuracy_on(
            targets[other % config.data.num_classes], prediction.generated
        ),
    }


def _in_batches(classify: Callable, source: Pixels, face: Pixels, batch_size: int) -> Probabilities:
    """`classify` over any number of pairs, the last batch filled up with its first pair."""
    results = []
    for start in range(0, len(source), batch_size):
        rows = np.arange(start, start + batch_size)
        rows[rows >= len(source)] = start
        results.append(classify(source[rows], face[rows]))
    return np.concatenate(results)[: len(source)]


def _write_predictions(
    workdir: Path, faces: Faces, prediction: HostPrediction, class_names: list[str]
) -> None:
    """predictions.csv: a row an image, probabilities by class name."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["subject", "sequence", "frame", "label", "predicted", *class_names])
    for i, probabilities in enumerate(prediction.probabilities):
        label, predicted = class_names[faces.labels[i]], class_names[probabilities.argmax()]
        named = [faces.subjects[i], faces.sequences[i], faces.frames[i], label, predicted]
        writer.writerow([*named, *(f"{p:.6f}" for p in probabilities)])
    write_text(workdir / "predictions.csv", stream.getvalue())


def _draw(
    workdir: Path,
    config: ConfigDict,
    networks: Networks,
    generator: Player | None,
    parts: Parts,
    prediction: HostPrediction,
    confusion: np.ndarray,
) -> None:
    """pictures/*.png, of unseen subjects."""
    pictures = workdir / "pictures"
    pictures.mkdir(exist_ok=True)
    names = class_names(config.data.num_classes)
    targets = np.asarray(prepare(parts.averages.images, config.data.crop))
    figures = {
        "average_faces": visualize.average_faces(targets, names, parts.averages.counts.tolist()),
        "confusion": visualize.confusion_figure(confusion, names),
        "curves": visualize.curves(read_metrics(workdir)),
    }
    if config.method == "ifgan":
        rows = _examples(parts.test, config.data.num_classes)
        labels = parts.test.labels[rows]
        row_names = [names[label] for label in labels]
        source, generated = prediction.source[rows], prediction.generated[rows]
        figures["transfer_grid"] = visualize.transfer_grid(
            source,
            generated,
            targets[labels],
            row_names,
            parts.test.subjects[rows].tolist(),
            across=GRID_SUBJECTS,
        )
        if config.generator.attention:
            assert generator is not None
            firsts = np.unique(labels, return_index=True)[1]  # one subject for each expression
            maps = attention_maps(networks, generator, source[firsts])
            figures["attention_maps"] = draw_attention(
                source[firsts], generated[firsts], maps, [row_names[i] for i in firsts]
            )
    for name, figure in figures.items():
        write_bytes(pictures / f"{name}.png", visualize.png_bytes(figure))


def _examples(faces: Faces, num_classes: int) -> np.ndarray:
    """For each expression present the last frame of GRID_SUBJECTS people, others for each."""
    rows = []
    for label in range(num_classes):
        of_class = np.flatnonzero(faces.labels == label)
        subjects = sorted(set(faces.subjects[of_class].tolist()))
        for k in range(GRID_SUBJECTS if subjects else 0):
            subject = subjects[(label * GRID_SUBJECTS + k) % len(subjects)]
            theirs = of_class[faces.subjects[of_class] == subject]
            rows.append(theirs[-1 - k // len(subjects) % len(theirs)])  # too few people: others
    return np.array(rows)
