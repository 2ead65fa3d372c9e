"""Faces in photographs, and scripts/predict.py: rows, pictures, and what it leaves alone."""

import csv
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifgan_jax import visualize
from ifgan_jax.attention_maps import attention_maps, draw_attention
from ifgan_jax.data import align, warp
from ifgan_jax.data.builder import BUILDERS
from ifgan_jax.data.detector import Detection
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.predict import Predictor
from ifgan_jax.workdir import lock
from scripts.campaigns.process import ROOT
from tests import runs
from tests.test_photographs import PICTURE


def detection(turned: bool) -> Detection:
    """Two faces, the second larger."""
    boxes = np.array([[4, 4, 12, 14], [10, 10, 26, 36]], np.float32)
    points = np.array(
        [
            [[6, 7], [10, 7], [8, 10], [6, 12], [10, 12]],
            [[14, 16], [22, 16], [18, 24]] + 2 * [[0, 0]],
        ]
    )
    return Detection(boxes, np.array([0.9, 0.99], "f4"), points.astype("f4"), turned)


def test_every_face_has_a_row_the_largest_first():
    faces = align.every_face(PICTURE, detection(turned=False), "similarity", 36)
    assert [box for _, box, _ in faces] == [(10, 10, 26, 36), (4, 4, 12, 14)]
    assert [round(score, 2) for *_, score in faces] == [0.99, 0.9]
    assert [face.status for face, *_ in faces] == ["tiny_face", "tiny_face"]
    assert {face.image.shape for face, *_ in faces} == {(36, 36)}
    turned = align.every_face(PICTURE, detection(turned=True), "similarity", 36)
    assert turned[0][1] == (4, 4, 20, 30)  # in the picture as it was given
    upright = align.every_face(PICTURE[::-1, ::-1], detection(turned=False), "similarity", 36)
    np.testing.assert_array_equal(turned[0][0].image, upright[0][0].image)


# Conjugate of the template's sides: no turn of it comes nearer than its centre.
ACROSS = [[18.9, 20.55], [18.9, 9.45], [7.2, 15]]


@pytest.mark.parametrize(
    ("points", "placed_by"),
    [
        ([[9, 9]] * 3, set()),
        ([[4, 4], [8, 8], [12, 12]], {"similarity"}),
        ([[0, 0], [1e30, 0], [0, 1e30]], set()),
        ([[6, 7], [np.nan, 7], [8, 10]], set()),
        (ACROSS, {"affine"}),
    ],
    ids=["one place", "one line", "endless", "no number", "across"],
)
@pytest.mark.parametrize("alignment", warp.MAPS)
def test_points_of_no_face_cost_no_other_face_its_row(points: list, placed_by: set, alignment: str):
    found = detection(turned=False)
    found.points[1, :3] = points
    with warnings.catch_warnings(action="error"):
        (strange, *_), (usual, *_) = align.every_face(PICTURE, found, alignment, 36)
    assert usual.image.shape == (36, 36)
    assert (strange.image is not None) == (alignment in placed_by)
    if strange.image is None:
        assert strange.status == "no_face"
        assert "its eyes and nose tip lie as no face has them" in strange.reason


def test_the_script_on_aligned_faces(finished: Path, tmp_path: Path):
    """Both files say what Python says; a broken picture has its row; pictures are drawn."""
    photos, output = tmp_path / "photos", tmp_path / "answers"
    predictor = Predictor.load(finished)
    faces = load_run_parts(predictor.config).test.images[:11]
    photos.mkdir()
    for i, image in enumerate(faces):
        Image.fromarray(image[..., 0]).save(photos / f"{i:02d}.png")
    (photos / os.fsdecode(b"05\xe9.png")).write_bytes((photos / "05.png").read_bytes()[:60])
    flags = [f"--workdir={finished}", f"--output={output}", "--aligned", "--pictures", str(photos)]
    status, told = runs.finish("predict", *flags)
    assert status == 0, told
    assert "11 faces in 12 files; 1 pictures without" in told
    lines = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    with (output / "predictions.csv").open() as stream:
        table = list(csv.DictReader(stream))
    broken, said_of_broken = lines.pop(6), table.pop(6)
    assert Path(broken["file"]).name == os.fsdecode(b"05\xe9.png")
    assert Path(said_of_broken["file"]).name == r"05\udce9.png"
    assert [Path(row["file"]).name for row in lines] == [f"{i:02d}.png" for i in range(11)]
    assert [row["file"] for row in table] == [row["file"] for row in lines]
    assert (broken["status"], broken["predicted"]) == ("unreadable", None)
    assert Path(broken["file"]).name in broken["reason"]
    escaped = broken["reason"].encode("utf-8", "backslashreplace").decode()
    assert said_of_broken["reason"] == escaped
    said = predictor(faces).probabilities
    for row, cells, shares in zip(lines, table, said, strict=True):
        assert list(row["probabilities"].values()) == pytest.approx(shares.tolist(), abs=1e-5)
        assert row["predicted"] == predictor.class_names[shares.argmax()] == cells["predicted"]
        assert float(cells["fear"]) == pytest.approx(row["probabilities"]["fear"])
    drawn = sorted((output / "pictures").iterdir())
    assert [path.stem for path in drawn] == [f"{i:06d}" for i in range(1, 12)]
    assert [row["picture"] for row in table] == [row["picture"] for row in lines]
    assert [row["picture"] for row in lines] == [path.stem for path in drawn]
    third = predictor(faces[2:3])
    maps = attention_maps(predictor.compiled.networks, predictor.state.generator, third.source)
    figure = draw_attention(third.source, third.generated, maps, [lines[2]["predicted"]])
    expected = pixels(io.BytesIO(visualize.png_bytes(figure)))
    differences = [float(np.abs(pixels(path) - expected).mean()) for path in drawn]
    assert differences[2] < 0.1 * min(differences[:2] + differences[3:])


def pixels(file: Path | io.BytesIO) -> np.ndarray:
    return np.asarray(Image.open(file).convert("L"), np.float64)


def test_the_class_is_that_of_the_answer_before_it_is_rounded():
    program = """
import numpy as np; from pathlib import Path; from types import SimpleNamespace as Space
from absl import flags; from scripts import predict
from ifgan_jax.data.photographs import FoundFace, Shot
flags.FLAGS(["predict"])
class Predictor:
    config, class_names = Space(evaluation=Space(batch_size=8)), ["first", "second"]
    def __call__(self, images):
        return Space(probabilities=np.array([[0.49999999, 0.50000001]]))
face = FoundFace(Shot("a.png", None), np.zeros((4, 4), np.uint8), "ok", "")
(row,) = predict.rows(Predictor(), iter([face]), Path())
print(row["predicted"], *row["probabilities"].values())
"""
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, env=runs.environment(), capture_output=True, check=True).stdout
    assert said.split() == [b"second", b"0.5", b"0.5"]


def test_wrong_arguments_are_told_before_anything_is_written(tmp_path: Path):
    flags = [f"--workdir={tmp_path / 'none'}", f"--output={tmp_path / 'answers'}"]
    status, told = runs.finish("predict", *flags)
    assert status == 1
    assert "no photograph, video or folder: name at least one" in told
    status, told = runs.finish("predict", *flags, str(tmp_path / "gone.jpg"))
    assert (status, "gone.jpg: no such file or folder" in told) == (1, True)
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    status, told = runs.finish("predict", *flags, str(tmp_path / "a.png"))
    assert status == 1
    assert str(tmp_path / "none") in told
    assert not (tmp_path / "answers").exists()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_its_own_pictures_give_way(finished: Path, tmp_path: Path):
    """Answers go into the user's folder: what an earlier prediction drew goes, and nothing else."""
    for name in ("a.png", "pictures/000002.png", "pictures/mine.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(PICTURE).save(tmp_path / name)
    flags = [f"--workdir={finished}", "--aligned"]
    status, told = runs.finish(
        "predict", *flags, f"--output={tmp_path}", "--pictures", str(tmp_path)
    )
    assert status == 1
    assert f"{tmp_path}/pictures/000002.png is of no earlier prediction" in told
    status, told = runs.finish("predict", *flags, f"--output={tmp_path}", str(tmp_path))
    assert (status, "3 faces in 3 files" in told) == (0, True), told
    table = tmp_path / "predictions.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    of_odd_name = {"file": "a\u2028b.png", "picture": "000002"}
    said = [of_odd_name, {"picture": "../a"}, {"picture": 7}, {}, *rows]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in said]
    table.write_text("no JSON\n" + "".join(lines), encoding="utf-8")
    status, told = runs.finish("predict", *flags, f"--output={tmp_path}", str(tmp_path))
    assert (status, "2 faces in 2 files" in told) == (0, True), told
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert left == ["a.png", "pictures/mine.png"]
    before = contents(finished)
    status, told = runs.finish("predict", *flags, f"--output={finished}", str(tmp_path))
    assert (status, "is a run's folder, with tables of its own" in told) == (1, True)
    assert contents(finished) == before


def test_who_cannot_answer_leaves_the_answers_before(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("predictions.csv", "predictions.jsonl", "pictures/000001.png"):
        path = tmp_path / "answers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"picture": "000001"}) + "\n")
    before = contents(tmp_path / "answers")
    for name in ("torch", "facenet_pytorch"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('no detector here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    for output, cause in {
        "answers": "no detector here",
        "a.png/answers": "Not a directory",
    }.items():
        flags = [f"--workdir={finished}", f"--output={tmp_path / output}", str(tmp_path / "a.png")]
        status, told = runs.finish("predict", *flags)
        assert (status, told.count("error: "), cause in told) == (1, 1, True), told
    assert contents(tmp_path / "answers") == before


def test_one_prediction_at_a_time_writes_in_a_folder(finished: Path, tmp_path: Path):
    output = tmp_path / "answers"
    output.mkdir()
    Image.fromarray(np.resize(PICTURE, (36, 36))).save(tmp_path / "a.png")
    flags = [f"--workdir={finished}", f"--output={output}", "--aligned", str(tmp_path / "a.png")]
    with lock(output):
        status, told = runs.finish("predict", *flags)
        assert (status, f"{output} is in use by another process" in told) == (1, True), told
        assert [path.name for path in output.iterdir()] == [".lock"]
    assert runs.finish("predict", *flags).status == 0


# In a process of its own, as flags of one name are defined by other scripts, too.
WRITING = """
import pathlib, sys
from scripts import predict
def answers(number):
    for _ in range(number):
        yield {"file": "a.png", "box": None, "probabilities": None, "predicted": None}
    if number == 2:
        raise OSError("died")
output = pathlib.Path(sys.argv[1])
print(predict.write(answers(int(sys.argv[2])), ["anger"], output))
predict.take_place(output, {output / "pictures" / "000003.png"})
"""


TABLES = ("predictions.csv", "predictions.jsonl")


def written(output: Path, number: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITING, str(output), str(number)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_table_gets_its_name_when_it_is_whole(tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    earlier = ("pictures.partial/000001.png", "pictures/000003.png", "predictions.jsonl")
    for name in earlier:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "predictions.csv.partial").symlink_to("mine")
    # And not that a file could not be written.
    assert written(tmp_path, 2).stderr.endswith("\nOSError: died\n")
    found = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in contents(tmp_path)}
    assert {name: found.pop(f"{name}.partial").count(b"\n") for name in TABLES} == {
        "predictions.csv": 3, "predictions.jsonl": 2
    }  # fmt: skip
    assert found == {name: name.encode() for name in ("mine", *earlier)}
    assert written(tmp_path, 1).stdout == "(0, 1)\n"
    names = {path.relative_to(tmp_path).as_posix() for path in contents(tmp_path)}
    assert names == {"mine", "pictures/000001.png", *TABLES}


@pytest.mark.parametrize(
    ("data_name", "chosen", "aligned", "expected"),
    [
        ("bu3dfe", None, False, "similarity"),
        ("ck_plus/72_affine", None, False, "affine"),
        ("ck_plus/72_affine", "similarity", False, "similarity"),
        ("raf_db/72_similarity", None, False, "similarity"),
        ("raf_db", "affine", False, "affine"),
        ("raf_db", None, True, "given"),
        ("mmi/256_affine", None, True, "given"),
        ("synthetic_faces/72_200", None, False, "similarity"),
        ("mine", None, False, "similarity"),
    ],
)
def test_pictures_are_aligned_as_the_runs_data(
    data_name: str, chosen: str | None, aligned: bool, expected: str, caplog
):
    assert align.alignment_for(data_name, chosen, aligned) == expected
    other = chosen is not None and f"_{chosen}" not in data_name
    assert (f"the run's data, {data_name}, are" in caplog.text) == other


def test_a_bare_name_is_aligned_as_its_builder_says():
    for name, builder in BUILDERS.items():
        default = builder.DEFAULT_BUILDER_CONFIG_NAME
        assert align.alignment_of(name) == align.alignment_of(f"{name}/{default}"), name


@pytest.mark.parametrize("data_name", ["raf_db", "raf_db/108_given", "ck_plus/72_given"])
def test_the_owners_alignment_is_nobodys_guess(data_name: str):
    with pytest.raises(ValueError, match=r"aligned by their owner: .* --aligned, or choose"):
        align.alignment_for(data_name, None, aligned=False)
