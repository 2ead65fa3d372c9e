"""A user's photographs and films: which files are read, and as what pictures."""

import logging
import os
import struct
import time
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from ifgan_jax.data import align, photographs
from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.vendor.example import Example
from ifgan_jax.data.vendor.pictures import UnreadablePictureError, count_frames, read_pictures
from ifgan_jax.data.vendor.tree import Tree
from scripts.campaigns.deliveries import PLAYLISTS

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


def test_the_picture_at_which_the_detector_dies_is_named(monkeypatch: pytest.MonkeyPatch):
    detector = mock.Mock()
    detector.detect.side_effect = OSError("the process that finds faces died")
    monkeypatch.setattr(align, "Detector", mock.Mock(return_value=detector))
    shots = [(photographs.Shot("large.jpg", None), PICTURE)]
    with pytest.raises(OSError, match=r"^large\.jpg: the process that finds faces died$"):
        next(photographs.find_faces(iter(shots), "similarity", 36))
    detector.close.assert_called_once()


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


def test_a_film_without_its_reader_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.mp4").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="videos need PyAV: make install EXTRAS=align"):
        photographs.listed([tmp_path])


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
    clip = Example("film.mov", Expression.ANGER, "S001", "S001-001", 0, 1.0)  # of MMI, on its side
    [(_, picture)] = read_pictures(Tree(tmp_path), [clip])
    np.testing.assert_array_equal(picture, np.rot90(wide, -1))


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
