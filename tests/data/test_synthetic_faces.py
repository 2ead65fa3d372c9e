"""The TFDS builder, its cache and its workers."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ifgan_jax.data import synthetic_faces
from ifgan_jax.data.faces import load_prepared, rendered_attributes
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic import face
from ifgan_jax.data.synthetic.parallel import Request, records
from ifgan_jax.data.synthetic_faces import (
    LEVELS,
    SyntheticFaces,
    SyntheticFacesConfig,
    named,
    prepare,
    read,
)
from scripts.campaigns import faults


def tiny():
    return SyntheticFacesConfig(name="tiny", size=72, subjects=2, levels=(0.5, 1.0), takes=1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return folder, list(read(prepare(folder, tiny(), processes=1)))


def record_file(folder):
    return next(pathlib.Path(folder).rglob("*.array_record*"))


def test_examples_and_features(prepared):
    _, rows = prepared
    assert len(rows) == 2 * (6 * 2 + 1)
    labels = [row["label"] for row in rows]
    assert labels == 2 * ([e for e in range(6) for _ in range(2)] + [6])
    assert [row["frame"] for row in rows[:13]] == 6 * [1, 2] + [0]
    assert [float(row["intensity"]) for row in rows[:13]] == 6 * [0.5, 1.0] + [0.0]
    assert {row["subject"] for row in rows} == {b"s0000", b"s0001"}
    assert rows[3]["sequence"] == b"s0000_disgust_0"
    first = rows[0]
    assert first["image"].shape == (72, 72, 1)
    assert first["image"].dtype == np.uint8
    assert first["landmarks"].shape == (5, 2)
    assert first["attributes"]["race"].sum() == pytest.approx(1.0)
    assert set(first["attributes"]) == {"race", "gender", "age", "pose", "light", "key", "ambient"}


@pytest.mark.parametrize("when", ["before the first face", "after the last"])
def test_what_another_process_has_written_meanwhile_is_taken(when, prepared, tmp_path, monkeypatch):
    generate = SyntheticFaces._generate_examples
    other = prepared[0] / "synthetic_faces"

    def written_by_another():
        shutil.copytree(other, tmp_path / "synthetic_faces", dirs_exist_ok=True)

    def interrupted(builder):
        yield from generate(builder)
        written_by_another()

    if when == "after the last":
        monkeypatch.setattr(SyntheticFaces, "_generate_examples", interrupted)
    else:
        write = synthetic_faces.write_records
        monkeypatch.setattr(
            synthetic_faces, "write_records", lambda builder: (written_by_another(), write(builder))
        )
    found = list(read(prepare(tmp_path, tiny(), processes=1)))
    assert [row["sequence"] for row in found] == [row["sequence"] for row in prepared[1]]
    (folder,) = (tmp_path / "synthetic_faces" / "tiny").iterdir()
    assert folder.name == "1.0.0"  # no unfinished one beside it


def test_attributes_are_those_of_each_face(tmp_path):
    """By name of the set, in the order of its faces, as records have them; none for photographs."""
    name = "72_3_seed4"
    faces = load_prepared(tmp_path, f"synthetic_faces/{name}", processes=1).splits["faces"]
    found = rendered_attributes(tmp_path, f"synthetic_faces/{name}")
    assert set(found) == {"gender", "race", "age"}
    rows = list(read(prepare(tmp_path, name)))
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row["image"], faces.images[i])
        attributes = row["attributes"]
        assert found["age"][i] == attributes["age"]
        assert abs(found["gender"][i] - attributes["gender"]) <= 0.5
        assert attributes["race"][found["race"][i]] == attributes["race"].max()
    for values in found.values():  # of a person, not of a picture
        for who in set(faces.subjects.tolist()):
            assert len(set(values[faces.subjects == who].tolist())) == 1
    assert rendered_attributes(tmp_path, "ck_plus/72_given") == {}


def test_disk_holds_what_face_makes(prepared):
    _, rows = prepared
    made = face(0, 1, Expression.DISGUST, 1.0, 0, size=72, difficulty="mild")
    row = rows[13 + 3]
    np.testing.assert_array_equal(row["image"][..., 0], made.image)
    np.testing.assert_array_equal(row["landmarks"], made.landmarks)
    assert row["attributes"]["pose"] == pytest.approx(made.scene.pose)


def test_same_bytes_with_one_and_two_processes(prepared):
    """Also in another order, so that no picture depends on the one before."""
    requests = tiny().requests()[::-3]
    one, two = list(records(requests, 1)), list(records(requests, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["landmarks"], b["landmarks"])
    _, rows = prepared
    for a, row in zip(one, rows[::-3], strict=True):
        np.testing.assert_array_equal(a["image"], row["image"][..., 0])


def test_second_start_reads_the_cache(prepared, monkeypatch):
    folder, rows = prepared

    def refuse(*_):
        raise AssertionError("rendered again")

    monkeypatch.setattr(synthetic_faces, "records", refuse)
    again = list(read(prepare(folder, tiny())))
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(rows, again, strict=True))


def test_a_disk_without_room_for_the_faces_is_named(small_disk, prepared):
    """What fits is gone, so that the same command renders anew once there is room."""
    size = record_file(prepared[0]).stat().st_size
    filler = small_disk / "filler"
    filler.write_bytes(bytes(6 * 2**20 - size // 2))
    with pytest.raises(
        OSError, match=rf"{small_disk}/.*/tiny/1\.0\.0 could not be written .*Make room"
    ):
        prepare(small_disk, tiny(), processes=1)
    assert not list(small_disk.rglob("*.array_record*"))
    filler.unlink()
    assert len(list(read(prepare(small_disk, tiny(), processes=1)))) == len(prepared[1])


def test_a_read_only_disk_is_named_before_anything_is_rendered(small_disk, monkeypatch):
    monkeypatch.setattr(synthetic_faces, "records", None)
    with (
        faults.read_only(small_disk),
        pytest.raises(
            OSError, match=rf"{small_disk}/.*/tiny/1\.0\.0 could not be written .*Read-only"
        ),
    ):
        prepare(small_disk, tiny(), processes=1)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damaged_records_are_named_with_the_remedy(tmp_path, prepared, damage):
    config = SyntheticFacesConfig(name="damaged", size=72, subjects=1, levels=(1.0,))
    builder = prepare(tmp_path, config, processes=1)
    file = record_file(tmp_path)
    raw = bytearray(file.read_bytes())
    raw[5000:5020] = bytes(255 - byte for byte in raw[5000:5020])
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(raw if damage == "flipped" else raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=rf"{builder.data_dir}.*example \d.*delete the folder"):
        list(read(prepare(tmp_path, config, processes=1)))


def test_damaged_description_is_named_with_the_remedy(tmp_path):
    config = SyntheticFacesConfig(name="damaged", size=72, subjects=1, levels=(1.0,))
    builder = prepare(tmp_path, config, processes=1)
    (pathlib.Path(builder.data_dir) / "dataset_info.json").write_text("{ half a")
    with pytest.raises(ValueError, match=r"synthetic_faces/damaged.*cannot be.*delete the folder"):
        list(read(prepare(tmp_path, config, processes=1)))


def test_too_few_examples_are_noticed(prepared):
    folder, _ = prepared
    builder = prepare(folder, tiny())
    builder.builder_config.subjects = 3
    with pytest.raises(ValueError, match="26 examples, expected 39"):
        list(read(builder))


def test_default_config_is_like_bu_3dfe():
    """100 subjects × 6 expressions × 2 levels = 1,200 (Sec. 4.1), and a neutral face of each."""
    requests = SyntheticFaces.builder_configs["72"].requests()
    shown = [r for r in requests if r.expression != Expression.NEUTRAL]
    assert len(shown) == 1200
    assert len(requests) == 1300
    assert len(set(requests)) == 1300
    assert {r.level for r in shown} == {0.7, 1.0}


def test_config_names():
    assert vars(named("72")) == vars(SyntheticFaces.builder_configs["72"])
    hard = named("108_1000_4levels_4takes_hard_seed12")
    assert (hard.size, hard.subjects, hard.levels, hard.takes) == (108, 1000, LEVELS[4], 4)
    assert (hard.difficulty, hard.seed, hard.name) == (
        "hard",
        12,
        "108_1000_4levels_4takes_hard_seed12",
    )
    few = named("72_7_seed3")
    assert (few.subjects, few.seed, few.difficulty) == (7, 3, "mild")
    assert len(few.requests()) == 7 * (6 * 2 + 1)
    assert {request.seed for request in few.requests()} == {3}


@pytest.mark.parametrize(
    "name",
    [
        *("", "73", "72_100", "72_0", "72_07", "72_mild", "72_seed0", "72_3levels"),
        *("72_seed1_hard", "72_99999_2takes", "72_1000000", f"72_seed{10**9}"),
    ],
)
def test_other_names_are_refused(name):
    """Two names of one set would be rendered twice, and not known as the same."""
    with pytest.raises(ValueError, match=r"no config .*SIZE\[_SUBJECTS\]"):
        named(name)


def test_chosen_expressions():
    chosen = (Expression.HAPPINESS, Expression.NEUTRAL)
    config = SyntheticFacesConfig(name="two", subjects=3, expressions=chosen, takes=2)
    requests = config.requests()
    assert [r.expression for r in requests[:6]] == 4 * [chosen[0]] + 2 * [chosen[1]]
    assert [(r.take, r.level) for r in requests[:6]] == [
        (0, 0.7), (0, 1.0), (1, 0.7), (1, 1.0), (0, 0.0), (1, 0.0),
    ]  # fmt: skip
    assert len(requests) == 3 * 6


def test_load_prepared(tmp_path):
    (faces,) = load_prepared(tmp_path, "synthetic_faces/72_2", processes=1).splits.values()
    assert len(faces) == 26
    assert faces.images.shape == (26, 72, 72, 1)
    assert set(faces.subjects) == {"s0000", "s0001"}
    assert faces.intensities[1] == 1.0
    prepared = load_prepared(tmp_path, "synthetic_faces/72_2")
    assert prepared.subjects == ["s0000", "s0001"]
    assert faces.hash() == prepared.splits["faces"].hash()


def test_workers_load_neither_tensorflow_nor_jax():
    code = (
        "import sys, ifgan_jax.data.synthetic.parallel;"
        "print([m for m in ('tensorflow', 'jax', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_workers_do_not_import_the_main_script(tmp_path):
    """A script without a guard renders once, not once in every worker."""
    script = tmp_path / "script.py"
    root = pathlib.Path(__file__).parents[2]
    script.write_text(
        f"import sys; sys.path.insert(0, {str(root)!r}); print('main script runs')\n"
        "from ifgan_jax.data.protocol import Expression\n"
        "from ifgan_jax.data.synthetic.parallel import Request, records\n"
        "r = [Request(0, s, Expression.ANGER, 1.0, 0, 16, 'easy') for s in (0, 1)]\n"
        "print(len(list(records(r, 2))), 'faces')\n"
    )
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, cwd=root, timeout=60
    )
    assert run.stdout.splitlines() == ["main script runs", "2 faces"], run.stderr


def test_request_is_the_signature_of_face():
    request = Request(0, 0, Expression.ANGER, 1.0, 0, 16, "easy")
    assert face(**vars(request)).image.shape == (16, 16)
