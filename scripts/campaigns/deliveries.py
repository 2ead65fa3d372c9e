"""Targets: what owners of data sets and users of pictures hand over."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ifgan_jax.data import photographs
from ifgan_jax.data.vendor import bu3dfe, ck_plus, mmi, raf_db
from ifgan_jax.data.vendor.pictures import MOST_PIXELS, count_frames, decode
from ifgan_jax.data.vendor.tree import Tree
from scripts.campaigns.mutations import DEEP, Random, below, mutate, nearly, one_of
from scripts.campaigns.tries import Attempt, Target

FACE = Image.fromarray(np.arange(24 * 20, dtype=np.uint16).reshape(24, 20).astype(np.uint8))


def samples_of_pictures() -> list[bytes]:
    """One small picture in the ways cameras, scanners and browsers write them."""
    colour, exif = FACE.convert("RGB"), Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [colour.rotate(90), colour.rotate(180)]}
    ways: list[tuple[Image.Image, str, dict]] = [
        (FACE, "PNG", {}), (colour.convert("P"), "PNG", {}), (colour, "PNG", frames),
        (FACE.convert("I;16"), "PNG", {}), (FACE.convert("LA"), "PNG", {}),
        (FACE, "JPEG", {"exif": exif}), (colour, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}), (FACE, "BMP", {}), (colour, "BMP", {}),
        (FACE, "TIFF", {}), (colour, "TIFF", {"compression": "tiff_lzw"}), (colour, "TIFF", frames),
        (colour, "TIFF", {"compression": "jpeg"}), (colour, "WEBP", {}),
        (colour, "WEBP", {"lossless": True}), (colour, "WEBP", frames), (colour, "GIF", frames),
        (FACE, "PPM", {}), (colour, "ICO", {"sizes": [(16, 16)]}), (FACE, "EPS", {}),
        (colour, "PDF", {}), (colour, "MPO", frames), (colour, "AVIF", {}),
        (colour, "JPEG2000", {}),
    ]  # fmt: skip
    samples = []
    for image, kind, options in ways:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        samples.append(stream.getvalue())
    progressive = next(x for x in samples if x.startswith(b"\xff\xd8") and x.count(b"\xff\xda") > 1)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    return [*samples, progressive[:-2] + 150 * scan + progressive[-2:]]


def pictures(folder: Path) -> Attempt:
    samples = samples_of_pictures()

    def attempt(rng: Random) -> None:
        picture = decode(mutate(rng, one_of(rng, samples), samples), "face.png")
        assert picture.dtype == np.uint8
        assert picture.ndim == 2
        assert 0 < picture.size <= MOST_PIXELS

    return attempt


# They name other files, or a socket at which FFmpeg would wait.
PLAYLISTS = {
    "session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    b"m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "concat": b"ffconcat version 1.0\nfile good.mkv\n",
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ngood.mkv\n#EXT-X-ENDLIST\n",
}


def samples_of_videos(folder: Path) -> list[bytes]:
    """Some frames in the containers that are read."""
    import av

    samples = []
    for name, codec in (("a.avi", "mpeg4"), ("a.mkv", "ffv1"), ("a.mpg", "mpeg1video"),
                        ("a.mp4", "mpeg4"), ("a.mov", "mjpeg")):  # fmt: skip
        with av.open(str(folder / name), "w") as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height = 48, 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for i in range(4):
                pixels = np.full((32, 48), 40 * i, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="gray")
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode())
        samples.append((folder / name).read_bytes())
        (folder / name).unlink()
    return samples


def videos(folder: Path) -> Attempt:
    films = samples_of_videos(folder)
    samples, path = [*films, *PLAYLISTS.values()], folder / "film.avi"
    (folder / "good.mkv").write_bytes(films[1])  # what the playlists name
    whole = PLAYLISTS["concat"]

    def attempt(rng: Random) -> None:
        content = mutate(rng, one_of(rng, samples), samples) if below(rng, 9) else whole
        path.write_bytes(content)
        for _, picture in photographs.shots([path], every=2):
            if isinstance(picture, Exception):
                raise picture
            assert 0 < picture.size <= MOST_PIXELS
        count_frames(Tree(folder), path.name)
        assert content not in PLAYLISTS.values()

    return attempt


LABELS = (
    b"   3.0000000e+00\n", b"3", b"7.0", b"\xef\xbb\xbf1\n", "5".encode("utf-16"), b"", b"\n",
    b"1,0", b"1e400", b"nan", b"-0", b"1_0", "٣".encode(), b"\0", b"0" * 300,
)  # fmt: skip


def ck_plus_labels(folder: Path) -> Attempt:
    for i in range(1, 6):
        (folder / f"S005_001_{i:08d}.png").touch()
    path = folder / "S005_001_00000005_emotion.txt"

    def attempt(rng: Random) -> None:
        path.write_bytes(mutate(rng, one_of(rng, LABELS), LABELS) if below(rng, 3) else
                         nearly(rng, LABELS, 3))  # fmt: skip
        ck_plus.find(Tree(folder))

    return attempt


LINES = (
    *(b"train_00001.jpg 5\n", b"test_0001.jpg 1\r\n", b"train_00002.jpg 7\n") * 5,
    *(b"image,label\r\n", b"train_00001_aligned.jpg,5\n", b"test_0001_aligned.jpg,1\r\n") * 5,
    b'"', b" ", b"\n", b"\r", b"\x85", b"train_1.jpg 8\n", b"train_00001.jpg", b"\t3\n", b"\0",
    "train_٣.jpg 3\n".encode(), b"x" * 140_000 + b",", b"../train_3.jpg 3\n",
)  # fmt: skip


def raf_db_lists(folder: Path) -> Attempt:
    for name in ("train_00001", "train_00002", "test_0001"):
        (folder / f"{name}_aligned.jpg").touch()
    paths = [folder / "list_patition_label.txt", folder / "train_labels.csv"]

    def attempt(rng: Random) -> None:
        one_of(rng, paths).write_bytes(nearly(rng, LINES, 8))
        raf_db.find(Tree(folder))

    return attempt


WORDS = (
    b'<?xml version="1.0" encoding="ISO-8859-1"?>\n', b'<?xml version="1.0" encoding="UTF-16"?>',
    b'<?xml version="1.0" encoding="x-none"?>', b"<Metadata>", b"</Metadata>", b"<session>",
    b"</session>", b'<Metatag Name="Emotion" Value="3"/>', b'<Metatag Name="Emotion" Value="&e;"/>',
    b"<!-- -->", b'<track filename="S001-002.avi" view="0"/>', b'<track view="9"/>', b"<![CDATA[",
    b"]]>", b"&lt;", b"\0", b"&e;", b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
    b'<!DOCTYPE x [<!ENTITY e "3"><!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;">]>',
    b'<!DOCTYPE x [<!ENTITY e SYSTEM "/etc/passwd">]>',
    b'<Metatag xmlns="urn:x" Name="Emotion" Value="1"/>', b"<a " + b'b="c" ' * 400 + b"/>",
)  # fmt: skip


def mmi_xml(folder: Path) -> Attempt:
    (folder / "S001-002.avi").write_bytes(b"no video")
    paths = [folder / "session.xml", folder / "S001-002.xml"]
    whole = [
        b'<session><track filename="S001-002.avi" view="0"/></session>',
        b'<Metadata><Metatag Name="Emotion" Value="3"/></Metadata>',
    ]

    def attempt(rng: Random) -> None:
        for path, content in zip(paths, whole, strict=True):
            path.write_bytes(content)
        which = below(rng, 2)
        if below(rng, 2):
            content = mutate(rng, whole[which], WORDS)
        elif below(rng, 500):
            content = nearly(rng, WORDS, 12)
        else:
            content = b"<Metadata>" * DEEP
        paths[which].write_bytes(content)
        mmi.find(Tree(folder))

    return attempt


def mmi_sessions(folder: Path) -> Attempt:
    words = (b"12\n", b"S001-002", b"# no\n", b"\r\n", b"\xff\xfe", b"\0", "é".encode(), b" ")
    path = folder / "sessions.txt"

    def attempt(rng: Random) -> None:
        path.write_bytes(nearly(rng, words, 9))
        mmi.read_sessions(path)

    return attempt


NAMES = (
    "F0001", "_", "AN", "03", "WH", "_F2D", ".bmp", "M0044", "NE", "00", "ZZ", "99", "٣٣", ".", " ",
    "S005", "001", "00000011", ".png", "train", "aligned", "list_patition_label.txt", "-", ".avi",
    "S1", "\n", "ä", "\u202e", "_emotion.txt", ".zip", ".rar", ".7z", "'", "$(touch x)", "*",
)  # fmt: skip


def names(folder: Path) -> Attempt:
    """File names of any kind before all four parsers."""

    def attempt(rng: Random) -> None:
        made = []
        try:
            for _ in range(1 + below(rng, 3)):
                if below(rng, 2):
                    name = "F0001_AN03WH_F2D.bmp"
                    at = below(rng, len(name))
                    name = name[:at] + one_of(rng, NAMES) + name[at + below(rng, 4) :]
                else:
                    name = "".join(one_of(rng, NAMES) for _ in range(1 + below(rng, 8)))
                if name not in (".", ".."):
                    made.append(folder / name)
                    made[-1].write_bytes(b"x" * below(rng, 2))
            tree = Tree(folder)
            for parser in (bu3dfe, ck_plus, mmi, raf_db):
                parser.find(tree)
        finally:
            for path in made:
                path.unlink(missing_ok=True)

    return attempt


def odd_zips() -> list[bytes]:
    """Archives whose members lead out, are links, are many, have one name, or are bombs."""
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    members: list[list[tuple[str | zipfile.ZipInfo, bytes]]] = [
        [("S005/a_emotion.txt", b"3"), ("b.png", bytes(200))], [("../out.txt", b"x")],
        [("/tmp/out.txt", b"x")], [("a\\..\\..\\out.txt", b"x")], [("C:\\out.txt", b"x")],
        [(link, b"/etc/passwd")], [(f"{i}.txt", b"") for i in range(40)], [("bomb", bytes(2**17))],
        [("a/", b""), ("a/b", b"x"), ("a", b"x")], [("inner.zip", b"PK\5\6" + bytes(18))],
    ]  # fmt: skip
    samples = []
    for content in members:
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w", method) as archive:
                for name, data in content:
                    archive.writestr(name, data)
            samples.append(stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.txt", bytes(2**25))
    return [*samples, stream.getvalue()]


def zips(folder: Path) -> Attempt:
    samples, path = odd_zips(), folder / "part.zip"

    def attempt(rng: Random) -> None:
        path.write_bytes(mutate(rng, one_of(rng, samples), samples))
        _read_all(folder)

    return attempt


def stored_rar(members: dict[bytes, bytes]) -> bytes:
    """A RAR 3 archive that keeps its members as they are (method 0x30), by name."""

    def checked(body: bytes) -> bytes:
        return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body

    made = b"Rar!\x1a\x07\0" + checked(struct.pack("<BHHHI", 0x73, 0, 13, 0, 0))
    for name, content in members.items():
        size = len(content)
        entry = struct.pack(
            "<BHHIIBIIBBHI", 0x74, 0x8000, 32 + len(name), size, size, 2, zlib.crc32(content),
            0x5A000000, 29, 0x30, len(name), 0x20,
        )  # fmt: skip
        made += checked(entry + name) + content
    return made + checked(struct.pack("<BHH", 0x7B, 0x4000, 7))


def rars(folder: Path) -> Attempt:
    path = folder / "part.rar"
    samples = [
        stored_rar({name: b"3" * 50})
        for name in (b"S005\\a.txt", b"..\\out.txt", b"\\out.txt", b"C:\\out.txt", b"x" * 300)
    ]

    def attempt(rng: Random) -> None:
        path.write_bytes(mutate(rng, one_of(rng, samples), samples))
        _read_all(folder)

    return attempt


def _read_all(folder: Path) -> None:
    """Every file of a delivered folder; none may lie outside."""
    tree = Tree(folder)
    for file in tree.files:
        assert ".." not in file.split("/")
        assert not file.startswith("/")
        tree.read(file)


TARGETS = {
    "pictures": Target(pictures, ("face.png",), 420_000),
    "videos": Target(videos, ("film.avi",), 6_000),
    "ck_plus_labels": Target(ck_plus_labels, ("S005_001_00000005_emotion.txt",), 100_000),
    "raf_db_lists": Target(
        raf_db_lists, ("list_patition_label.txt", "train_labels.csv", "train_00"), 80_000
    ),
    "mmi_xml": Target(mmi_xml, ("session.xml", "S001-002.xml"), 100_000),
    "mmi_sessions": Target(mmi_sessions, ("sessions.txt",), 30_000),
    "names": Target(names, ("/inside/",), 60_000),
    "zips": Target(zips, ("part.zip",), 60_000),
    "rars": Target(rars, ("part.rar",), 30_000),
}
