"""Folders as the four owners deliver them, written from made-up or rendered faces.

Each writer returns its own table of what the protocol should find, made without the parsers.
"""

import functools
import hashlib
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.synthetic.parallel import Request, record
from scripts.campaigns.deliveries import stored_rar

Face = Callable[[str, Expression, float, int], np.ndarray]  # subject, label, intensity, frame
E = Expression


class Row(NamedTuple):
    """One line of the truth."""

    label: Expression
    subject: str
    sequence: str
    frame: int
    split: str = "faces"


def patch(subject: str, label: Expression, intensity: float, frame: int) -> np.ndarray:
    """4×4 grey levels, others for each call with other arguments."""
    key = f"{subject} {int(label)} {intensity} {frame}".encode()
    return np.frombuffer(hashlib.md5(key).digest(), np.uint8).reshape(4, 4)


@functools.cache
def rendered(
    subject: str, label: Expression, intensity: float, frame: int, size: int = 72
) -> np.ndarray:
    """A rendered face; frames are takes of the same person and expression."""
    number = int(hashlib.md5(subject.encode()).hexdigest()[:4], 16)
    level = 0.0 if label == E.NEUTRAL else max(0.5, intensity)
    return record(Request(7, number, label, level, frame, size, "mild"))["image"]


def bu3dfe(root: Path, face: Face = patch, females: int = 56, males: int = 44) -> list[Row]:
    """F0001/F0001_AN03WH_F2D.bmp, all four levels, NE00, and the F3D textures and meshes beside."""
    codes = dict(zip(("AN", "DI", "FE", "HA", "SA", "SU"), list(E)[:6], strict=True))
    truth = []
    for subject in [f"F{i + 1:04d}" for i in range(females)] + [
        f"M{i + 1:04d}" for i in range(males)
    ]:
        folder = root / subject
        folder.mkdir(parents=True)
        race = ("WH", "AE", "AM", "BL", "IN", "LA")[int(subject[1:]) % 6]
        write(folder / f"{subject}_NE00{race}_F2D.bmp", face(subject, E.NEUTRAL, 0.0, 0))
        truth.append(Row(E.NEUTRAL, subject, f"{subject}_NE", 0))
        (folder / f"{subject}_NE00{race}_F3D.wrl").write_text("#VRML V2.0 utf8\n")
        for code, label in codes.items():
            for level in (1, 2, 3, 4):
                picture = face(subject, label, level / 4, 0)
                name = f"{subject}_{code}{level:02d}{race}"
                write(folder / f"{name}_F2D.bmp", picture)
                if level >= 3:
                    truth.append(Row(label, subject, f"{subject}_{code}", level))
            write(folder / f"{subject}_{code}04{race}_F3D.bmp", np.zeros((2, 2), np.uint8))
    return truth


CK_CODES = {
    "anger": 1, "contempt": 2, "disgust": 3, "fear": 4, "happiness": 5, "sadness": 6, "surprise": 7
}  # fmt: skip


def ck_sequences() -> list[tuple[str, str, str]]:
    """(subject, sequence, expression) of the 327 labelled sequences, contempt included."""
    lines = (Path(__file__).parent / "ck_plus_sequences.txt").read_text().split("\n")
    pairs = (line.split() for line in lines if line)
    return [(*path.split("/"), name) for path, name in pairs]


def ck_number(sequence: str, frame: int) -> int:
    """Which of a person's pictures it is: no two sequences, "001" and on, have one in common."""
    return frame if sequence == "001" else 10 * int(sequence) + frame


def ck_plus(
    root: Path,
    face: Face = patch,
    sequences: Iterable[tuple[str, str, str]] | None = None,
    frames: int = 6,
    unlabelled: int = 10,
) -> list[Row]:
    """cohn-kanade-images/S005/001/S005_001_00000011.png and Emotion/…/…_emotion.txt."""
    truth = []
    for subject, sequence, name in ck_sequences() if sequences is None else sequences:
        known = name.upper() in E.__members__
        label = E[name.upper()] if known else E.NEUTRAL
        for i in range(frames):
            at = f"{subject}/{sequence}/{subject}_{sequence}_{i + 3:08d}"
            shown = label if i else E.NEUTRAL
            write(
                root / "cohn-kanade-images" / f"{at}.png",
                face(subject, shown, i / (frames - 1), ck_number(sequence, i)),
            )
            if known and (i == 0 or i >= frames - 3):
                truth.append(Row(shown, subject, f"{subject}_{sequence}", i))
        path = root / "Emotion" / f"{at}_emotion.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"   {CK_CODES[name]:.7e}\n")
    for i in range(unlabelled):  # no label file, and an empty folder where it would be
        at = f"S{600 + i}/001"
        (root / "Emotion" / at).mkdir(parents=True)
        write(
            root / "cohn-kanade-images" / at / f"S{600 + i}_001_00000001.png",
            face(f"S{600 + i}", E.NEUTRAL, 0.0, 0),
        )
    return truth


def mmi(
    root: Path,
    face: Face = patch,
    sequences: int = 208,
    subjects: int = 31,
    frames: int = 7,
    others: int = 6,
) -> list[Row]:
    """Sessions/<n>/ with session.xml, the clip and its XML; every 7th lies on its side, every 11th
    is a dual view; `others` are in profile or show something else.
    """
    truth = []
    for n in range(sequences + others):
        subject = f"S{n % subjects + 1:03d}"
        name = f"{subject}-{n // subjects + 1:03d}"
        folder = root / "Sessions" / str(n + 1)
        folder.mkdir(parents=True)
        wanted = n < sequences
        label = list(E)[(n + n // subjects) % 6]
        emotion = int(label) + 1 if wanted or n % 2 else 9  # 1 anger … 6 surprise: E's own order
        view = (2 if n % 11 == 3 else 0) if wanted else n % 2
        (folder / "session.xml").write_text(
            f'<?xml version="1.0" encoding="ISO-8859-1"?>\n<session sessionId="{n + 1}">\n'
            f'<track trackNumber="1" filename="{name}.avi" view="{view}"/>\n</session>\n'
        )
        (folder / f"{name}.xml").write_text(
            f'<?xml version="1.0"?>\n<Metadata>\n<Metatag Name="Subject" Value="{subject}"/>\n'
            f'<Metatag Name="Emotion" Value="{emotion}"/>\n</Metadata>\n'
        )
        (folder / f"{name}-oao_aucs.xml").write_text("<ActionUnits/>")
        middle = frames // 2
        pictures = []
        for i in range(frames):
            strength = 1 - abs(i - middle) / middle if middle else 0.0
            shown = label if i else E.NEUTRAL
            picture = face(subject, shown, strength, n // subjects * frames + i)
            pictures.append(np.hstack([picture[:, ::-1], picture]) if view == 2 else picture)
            if wanted and i in (0, middle - 1, middle, middle + 1):
                truth.append(Row(shown, subject, name, i))
        video(folder / f"{name}.avi", pictures, lying=n % 7 == 5)
    return truth


RAF_CODES = dict(
    zip((E.SURPRISE, E.FEAR, E.DISGUST, E.HAPPINESS, E.SADNESS, E.ANGER, E.NEUTRAL), range(1, 8),
        strict=True)
)  # fmt: skip
RAF_COUNTS = {
    "train": (1290, 281, 717, 4772, 1982, 705, 2524),
    "test": (329, 74, 160, 1185, 478, 162, 680),
}


def raf_db(
    root: Path,
    face: Face = patch,
    counts: dict[str, tuple[int, ...]] = RAF_COUNTS,
    kaggle: bool = False,
) -> list[Row]:
    """basic/EmoLabel, basic/Image/aligned; or the circulating copy: DATASET/train/5/… and csv."""
    truth, lines = [], {"train": [], "test": []}
    for split, of_class in counts.items():
        labels = [label for label, n in zip(RAF_CODES, of_class, strict=True) for _ in range(n)]
        order = np.random.default_rng(0).permutation(len(labels))
        for i, row in enumerate(order, 1):
            label = labels[row]
            name = f"{split}_{i:05d}"
            folder = (
                root / "DATASET" / split / str(RAF_CODES[label])
                if kaggle
                else root / "basic/Image/aligned"
            )
            write(folder / f"{name}_aligned.jpg", face(name, label, 1.0, 0))
            lines[split].append((name, RAF_CODES[label]))
            truth.append(Row(label, "", name, 0, split))
    if kaggle:
        for split, rows in lines.items():
            table = "".join(f"{name}_aligned.jpg,{code}\r\n" for name, code in rows)
            (root / f"{split}_labels.csv").write_bytes(b"image,label\r\n" + table.encode())
    else:
        (root / "basic/EmoLabel").mkdir(parents=True)
        text = "".join(f"{n}.jpg {c}\n" for split in ("train", "test") for n, c in lines[split])
        (root / "basic/EmoLabel/list_patition_label.txt").write_text(text)
    return truth


def write(path: Path, picture: np.ndarray) -> None:
    """A picture file of the kind its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95} if path.suffix == ".jpg" else {}
    Image.fromarray(picture).save(path, **options)


def video(path: Path, pictures: list[np.ndarray], lying: bool = False) -> None:
    """640×480 with the picture upright; lying: 720×576, turned against the clock. Raw: exact."""
    import av

    width, height = (720, 576) if lying else (640, 480)
    container = av.open(str(path), "w")
    stream = container.add_stream("mpeg4", rate=24)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.bit_rate = 4_000_000
    for picture in pictures:
        canvas = np.asarray(
            Image.fromarray(picture).resize((height, width) if lying else (width, height))
        )
        if lying:
            canvas = np.rot90(canvas)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(canvas), format="gray")
        for packet in stream.encode(frame.reformat(format="yuv420p")):
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)
    container.close()


def zipped(folder: Path) -> Path:
    """The folder as a zip beside it; the folder is removed."""
    shutil.make_archive(str(folder), "zip", folder)
    shutil.rmtree(folder)
    return folder.with_suffix(".zip")


def write_rar(path: Path, files: dict[str, bytes]) -> None:
    """A RAR archive that keeps its members as they are."""
    members = {name.replace("/", "\\").encode(): content for name, content in files.items()}
    path.write_bytes(stored_rar(members))


def locked_zip(name: str, content: bytes, password: bytes) -> bytes:
    """A zip of one stored member, encrypted by PKWARE's first scheme."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def crc(value: int, byte: int) -> int:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
        return value

    def update(byte: int) -> None:
        keys[0] = crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = crc(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    checksum = zlib.crc32(content)
    out = bytearray()
    for byte in bytes(11) + bytes([checksum >> 24]) + content:
        k = keys[2] | 2
        out.append(byte ^ (((k * (k ^ 1)) >> 8) & 0xFF))
        update(byte)
    sizes = (checksum, len(out), len(content), len(name), 0)
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 1, 0, 0, 0x5A21, *sizes) + name.encode()
    entry = struct.pack(
        "<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 1, 0, 0, 0x5A21, *sizes, 0, 0, 0, 0, 0
    ) + name.encode()  # fmt: skip
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry), len(local) + len(out), 0)
    return local + bytes(out) + entry + end
