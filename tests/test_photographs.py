"""What is predicted of files: which are read, what each row says, what becomes of the others."""

import csv
import json
import logging
import os
import struct
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifgan_jax.data import align, photographs
from ifgan_jax.data.builder import BUILDERS
from ifgan_jax.data.detector import Detection
from ifgan_jax.data.vendor.pictures import UnreadablePictureError, count_frames
from ifgan_jax.data.vendor.tree import Tree
from ifgan_jax.evaluate import load_run_parts
from ifgan_jax.predict import Predictor
from scripts.campaigns.deliveries import PLAYLISTS
from tests import runs

PICTURE = np.arange(40 * 30, dtype=np.uint32).reshape(40, 30).astype(np.uint8)


def write_video(
    path: Path,
    frames: np.ndarray,
    title: str = "film",
    codec: str = "ffv1",
    aspect: int = 1,
    **options: str,
) -> None:
    """Gray frames, losslessly. aspect: a pixel's width by its height; options: the container's."""
    import av

    with av.open(str(path), "w", options=options) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], "gray"
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def test_folders_are_read_in_order_and_the_rest_is_left(tmp_path: Path, caplog):
    for name in ("b.PNG", "a/c.jpg", "a/film.avi", "a/notes.txt", "a/.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "own").mkdir()
    (tmp_path / "own/000001.png").touch()  # of an earlier prediction
    (tmp_path / "own/mine.png").touch()
    (tmp_path / "z").symlink_to("a")  # each folder once
    (tmp_path / "gone.webp").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a/pipe.jpg")  # who reads it waits
    with caplog.at_level(logging.INFO, "ifgan_jax"):
        listed = photographs.listed([tmp_path], without=[tmp_path / "a/../own/000001.png"])
    names = [path.relative_to(tmp_path).as_posix() for path in listed]
    assert names == ["a/c.jpg", "a/film.avi", "b.PNG", "own/mine.png"]
    assert f"{tmp_path}: 4 other files left out: .jpg, .png, .txt, .webp" in caplog.text
    elsewhere = tmp_path / "album"
    elsewhere.mkdir()
    (elsewhere / "linked").symlink_to(tmp_path / "a")
    listed = photographs.listed([elsewhere])
    assert [path.name for path in listed] == ["c.jpg", "film.avi"]
    assert photographs.listed([tmp_path / "b.PNG", tmp_path / "b.PNG"]) == 2 * [tmp_path / "b.PNG"]
    with pytest.raises(FileNotFoundError, match=r"gone\.png: no such file"):
        photographs.listed([tmp_path / "gone.png"])
    with pytest.raises(ValueError, match=r"notes\.txt: is no picture or video \(\.bmp"):
        photographs.listed([tmp_path / "a" / "notes.txt"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no picture"):
        photographs.listed([tmp_path / "empty"])


def test_photographs_and_frames_are_what_was_written(tmp_path: Path):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    Image.fromarray(PICTURE).save(tmp_path / "b.png", exif=turned)
    frames = np.stack([np.full((32, 48), 10 * i, np.uint8) for i in range(7)])
    write_video(tmp_path / "c.mkv", frames)
    (tmp_path / "d.jpg").write_bytes(b"no picture")
    (tmp_path / "e.avi").write_bytes(b"no film")
    files = photographs.listed([tmp_path])
    found = list(photographs.shots(files, every=3))
    assert [(Path(shot.file).name, shot.frame) for shot, _ in found] == [
        ("a.png", None), ("b.png", None), ("c.mkv", 0), ("c.mkv", 3), ("c.mkv", 6),
        ("d.jpg", None), ("e.avi", None),
    ]  # fmt: skip
    pictures = [picture for _, picture in found]
    np.testing.assert_array_equal(pictures[0], PICTURE)
    np.testing.assert_array_equal(pictures[1], PICTURE[::-1, ::-1])
    np.testing.assert_array_equal(np.stack(pictures[2:5]), frames[::3])
    for error, name in zip(pictures[5:], ("d.jpg", "e.avi"), strict=True):
        assert isinstance(error, UnreadablePictureError)
        assert name in str(error)


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_file_that_names_others_or_a_socket_is_no_video(kind: str, tmp_path: Path):
    write_video(tmp_path / "good.mkv", PICTURE[None])
    (tmp_path / "film.avi").write_bytes(PLAYLISTS[kind])
    start = time.monotonic()
    [(_, error)] = photographs.shots([tmp_path / "film.avi"], every=1)
    assert "film.avi: no readable video" in str(error)
    with pytest.raises(UnreadablePictureError, match=r"film\.avi: no readable video"):
        count_frames(Tree(tmp_path), "film.avi")
    assert time.monotonic() - start < 10  # FFmpeg waits 20 s for a socket


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_video(tmp_path / "12:30.mkv", PICTURE[None])
    monkeypatch.chdir(tmp_path)
    [(_, picture)] = photographs.shots([Path("12:30.mkv")], every=1)
    np.testing.assert_array_equal(picture, PICTURE)


def test_a_video_that_breaks_off_keeps_its_frames(tmp_path: Path):
    path = tmp_path / "film.mkv"
    write_video(path, np.random.default_rng(0).integers(0, 255, (30, 64, 64)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = [picture for _, picture in photographs.shots([path], every=1)]
    assert 5 < len(found) <= 30
    assert all(isinstance(picture, np.ndarray) for picture in found[:5])


def test_a_video_that_lacks_frames_is_told(tmp_path: Path, caplog):
    """Its table of frames stands before them, so that a film can be shown while it is loaded."""
    import av

    path = tmp_path / "film.mov"
    noise = np.random.default_rng(0).integers(0, 255, (9, 64, 64)).astype(np.uint8)
    write_video(path, noise, codec="png", movflags="faststart")
    content = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    path.write_bytes(content[: packets[4].pos])
    with caplog.at_level(logging.WARNING, "ifgan_jax"):
        found = [picture for _, picture in photographs.shots([path], every=1)]
    np.testing.assert_array_equal(np.stack(found), noise[:4])
    assert f"{path}: only 4 of its 9 frames" in caplog.text
    path.write_bytes(content[: packets[4].pos + 100])
    *found, (shot, error) = photographs.shots([path], every=1)
    assert (len(found), shot.frame, "damaged video" in str(error)) == (4, 3, True)
    path.write_bytes(content[: content.index(b"mdat") + 4])
    [(shot, error)] = photographs.shots([path], every=1)
    assert (shot.frame, "it has no frame" in str(error)) == (None, True)


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_film_is_seen_as_it_is_shown(angle: int, tmp_path: Path):
    """Turned, clockwise, by the matrix of its header, as telephones write it."""
    path = tmp_path / "film.mov"
    write_video(path, PICTURE[None], codec="png")
    content = path.read_bytes()
    place = content.index(b"tkhd") + 44
    one = 1 << 16
    a, b, c, d = {
        90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)
    }[angle]  # fmt: skip
    matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:place] + matrix + content[place + len(matrix) :])
    [(_, picture)] = photographs.shots([path], every=1)
    np.testing.assert_array_equal(picture, np.rot90(PICTURE, -angle // 90))


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path):
    write_video(tmp_path / "film.mov", PICTURE[None], codec="png", aspect=2)
    [(_, picture)] = photographs.shots([tmp_path / "film.mov"], every=1)
    wide = Image.fromarray(PICTURE).resize((60, 40), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(picture, wide)


@pytest.mark.parametrize(("bits", "inverted"), [(12, False), (16, False), (16, True)])
def test_tiffs_of_many_bits(bits: int, inverted: bool, tmp_path: Path):
    """Inverted: white is 0. Written by hand, as Pillow writes neither these nor 12 bits."""
    shades = PICTURE.astype(np.uint16) << bits - 8
    if inverted:
        shades = (1 << bits) - 1 - shades
    if bits == 16:
        pixels = shades.astype("<u2").tobytes()
    else:  # two of them in three bytes, the upper bits first
        left, right = shades.reshape(-1, 2).T
        three = (left >> 4, (left & 15) << 4 | right >> 8, right & 255)
        pixels = np.stack(three, axis=-1).astype(np.uint8).tobytes()
    tags = [
        (256, 30), (257, 40), (258, bits), (259, 1), (262, 0 if inverted else 1), (273, 134),
        (277, 1), (278, 40), (279, len(pixels)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries
    content = header.ljust(134, b"\0") + pixels
    (tmp_path / "a.tif").write_bytes(content)
    [(_, picture)] = photographs.shots([tmp_path / "a.tif"], every=1)
    np.testing.assert_array_equal(picture, PICTURE)


def test_of_sixteen_bits_the_upper_eight_are_taken(tmp_path: Path):
    Image.fromarray(PICTURE.astype(np.uint16) * 257).save(tmp_path / "a.png")
    Image.fromarray(PICTURE.astype(np.float32)).save(tmp_path / "b.tif")
    (_, picture), (_, error) = photographs.shots(photographs.listed([tmp_path]), every=1)
    np.testing.assert_array_equal(picture, PICTURE)
    assert "b.tif: no readable picture (pixels of Pillow's mode F" in str(error)


def test_a_title_in_another_encoding_does_no_harm(tmp_path: Path):
    path = tmp_path / "film.avi"
    write_video(path, PICTURE[None], title="Gesicht")
    content = path.read_bytes()
    assert b"Gesicht" in content
    path.write_bytes(content.replace(b"Gesicht", b"Ges\xefcht"))
    [(_, picture)] = photographs.shots([path], every=1)
    np.testing.assert_array_equal(picture, PICTURE)


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
    assert Image.open(drawn[0]).size[0] > 300


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
    said = [{"picture": "000002"}, {"picture": "../a"}, {"picture": 7}, {}, *rows]
    table.write_text("no JSON\n" + "".join(json.dumps(row) + "\n" for row in said))
    status, told = runs.finish("predict", *flags, f"--output={tmp_path}", str(tmp_path))
    assert (status, "2 faces in 2 files" in told) == (0, True), told
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert left == ["a.png", "pictures/mine.png"]
    before = contents(finished)
    status, told = runs.finish("predict", *flags, f"--output={finished}", str(tmp_path))
    assert (status, "is a run's folder, with tables of its own" in told) == (1, True)
    assert contents(finished) == before


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
