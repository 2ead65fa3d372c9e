"""Decoding: pictures by Pillow, videos by PyAV (extra `align`); gray uint8, 0 black, 255 white."""

import importlib.util
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from ifgan_jax.data.vendor.bombs import refuse_bombs
from ifgan_jax.data.vendor.example import Example
from ifgan_jax.data.vendor.tree import LayoutError, Tree

Picture = UInt8[np.ndarray, "h w"]

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
# What data sets, cameras and browsers write; the content decides, not the name. Pillow reads many
# more formats, and starts another program for one of them (EPS).
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MOST_PIXELS = 2**26  # of a picture or frame, 8192 × 8192: in colour 0.27 GB, several times over
UPRIGHT_HEIGHT = 480  # MMI's other recordings (720 x 576) lie on their side


class UnreadablePictureError(LayoutError):
    """A file that is no picture or video, or a frame that cannot be decoded."""


def read_pictures(
    tree: Tree, examples: Sequence[Example]
) -> Iterator[tuple[Example, Picture | UnreadablePictureError]]:
    """Each example with its whole picture, in order, or with the error that says why not.

    Examples of one video that stand together are decoded in one pass.
    """
    for file, group in itertools.groupby(examples, key=lambda example: example.file):
        wanted = list(group)
        try:
            if PurePath(file).suffix.lower() in VIDEOS:
                frames = _frames(tree, file, {example.frame for example in wanted})
                pictures = [frames[example.frame] for example in wanted]
            else:
                pictures = [decode(tree.read(file), str(tree.root / file))] * len(wanted)
        except LayoutError as error:
            yield from ((example, UnreadablePictureError(str(error))) for example in wanted)
        else:
            yield from zip(wanted, pictures, strict=True)


def decode(content: bytes, name: str) -> Picture:
    """A picture file's content in gray, turned as its EXIF says; `name` is for the error.

    Of several pictures in one file (pages of a TIFF, an animation) the first.
    """
    try:
        refuse_bombs(content)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            refuse_large(*image.size)
            tags = getattr(image, "tag_v2", {})  # of a TIFF
            return _gray(ImageOps.exif_transpose(image), tags)
    except UnidentifiedImageError as error:  # its text names an object in memory
        raise UnreadablePictureError(f"{name}: no readable picture (unknown format)") from error
    except Exception as error:  # Pillow's plugins raise whatever they meet
        raise UnreadablePictureError(f"{name}: no readable picture ({error})") from error


def _gray(image: Image.Image, tags: Mapping[int, Any]) -> Picture:
    """Of 12 or 16 bits the upper eight, where Pillow's `convert` takes all above 255 for white."""
    if image.mode.startswith("I;16"):
        (bits, *_), white_is_zero = tags.get(258, (16,)), tags.get(262) == 0
        gray = (np.asarray(image) >> bits - 8).astype(np.uint8)
        return 255 - gray if white_is_zero else gray  # of 8 bits Pillow does it
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of Pillow's mode {image.mode}: save it with 8 bits a channel")
    return np.asarray(image.convert("L"))


def refuse_large(width: int, height: int) -> None:
    """ValueError for a size that would take the memory of a decompression bomb."""
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{width} × {height} pixels are more than {MOST_PIXELS / 1e6:.0f} million: shrink it"
        )


def count_frames(tree: Tree, file: str) -> int:
    """Frames of a video, counted by their packets, without decoding."""
    with open_video(io.BytesIO(tree.read(file)), str(tree.root / file)) as container:
        try:
            return sum(1 for packet in container.demux(video=0) if packet.size)
        except Exception as error:
            raise UnreadablePictureError(f"{tree.root / file}: damaged video ({error})") from error


def _frames(tree: Tree, file: str, numbers: set[int]) -> dict[int, Picture]:
    """The frames of these numbers, upright."""
    frames: dict[int, Picture] = {}
    with open_video(io.BytesIO(tree.read(file)), str(tree.root / file)) as container:
        try:
            stream = container.streams.video[0]
            for number, frame in enumerate(container.decode(stream)):
                if number in numbers:
                    picture, lying = square_pixels(frame, stream), frame.height != UPRIGHT_HEIGHT
                    frames[number] = np.rot90(picture, -1) if lying else picture  # clockwise
                if len(frames) == len(numbers):
                    break
        except Exception as error:
            raise UnreadablePictureError(f"{tree.root / file}: damaged video ({error})") from error
    if missing := sorted(numbers - frames.keys()):
        raise UnreadablePictureError(f"{tree.root / file}: has no frame {missing[0]}")
    return frames


def square_pixels(frame: Any, stream: Any) -> Picture:
    """PyAV's frame in gray, stretched until pixels are square where its file says they are not.

    Raises ValueError for a size beyond reason.
    """
    picture = frame.to_ndarray(format="gray")
    aspect = float(stream.sample_aspect_ratio or 0)  # a pixel's width by its height, 0: unknown
    if aspect <= 0 or aspect == 1:
        return picture
    height, width = picture.shape
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    refuse_large(*size)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


# Containers of one file. Playlists and session descriptions FFmpeg would follow to other files, or
# wait for them at a socket, whatever a file is called.
FFMPEG = {
    "format_whitelist": "avi,matroska,mov,mpeg,mpegvideo,mpegts",
    "protocol_whitelist": "file",
}


def check_pyav() -> None:
    """LayoutError where PyAV is not installed, which reads videos."""
    if importlib.util.find_spec("av") is None:
        raise LayoutError("videos need PyAV: make install EXTRAS=align")


def open_video(source: str | io.BytesIO, name: str) -> Any:
    """PyAV's container of a file, by its path or content; `name` is for the error.

    Raises LayoutError without PyAV, UnreadablePictureError for what is no video.
    """
    check_pyav()
    import av

    # Titles in other encodings: PyAV 19 reads them as they are, and has the argument no more.
    lenient: dict[str, Any] = (
        {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
    )
    try:
        container = av.open(source, options=dict(FFMPEG), **lenient)
    except Exception as error:  # PyAV raises whatever it meets
        raise UnreadablePictureError(f"{name}: no readable video ({error})") from error
    if not container.streams.video:
        raise UnreadablePictureError(f"{name}: has no video stream")
    codec = container.streams.video[0].codec_context
    if codec is None:
        raise UnreadablePictureError(f"{name}: its video is of no kind that FFmpeg reads")
    codec.options = {"max_pixels": str(MOST_PIXELS)}  # FFmpeg's own bound, also on each frame
    return container
