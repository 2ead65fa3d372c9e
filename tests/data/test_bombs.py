"""Small files that Pillow would take hours or gigabytes for are told; the like of them are read."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from ifgan_jax.data.vendor.bombs import MOST_SCANS, MOST_STRIPS, refuse_bombs
from ifgan_jax.data.vendor.pictures import UnreadablePictureError, decode

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00"  # of the first component, all blocks zero
END = b"\xff\xd9"


def progressive() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", progressive=True, quality=95)
    return stream.getvalue()


def tiff(strips: int, order: str = "<") -> bytes:
    """Gray, a pixel wide, a row a strip, all of which lie in one place."""
    tags = {256: 1, 257: strips, 258: 8, 259: 1, 262: 1, 278: 1}
    after = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = [(tag, 4, 1, value) for tag, value in tags.items()]
    entries += [(273, 3, strips, after), (279, 3, strips, after + 2 * strips)]
    directory = b"".join(struct.pack(f"{order}HHII", *each) for each in sorted(entries))
    header = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    ones = struct.pack(f"{order}H", 1) * strips
    return header + directory + bytes(4) + struct.pack(f"{order}H", 8) * strips + ones


def refused(content: bytes, message: str) -> None:
    with pytest.raises(UnreadablePictureError, match=rf"photo: .*{message}"):
        decode(content, "photo")


def test_scans_are_counted_up_to_the_end_of_the_first_image():
    jpeg = progressive()
    assert 5 < jpeg.count(b"\xff\xda") < MOST_SCANS
    expected = decode(jpeg, "photo")
    more = SCAN * (MOST_SCANS - jpeg.count(b"\xff\xda"))
    body = jpeg.removesuffix(END)
    assert decode(body + more + END, "photo").shape == (8, 8)
    refused(body + more + SCAN + END, "more than 100 scans")
    # a segment that is skipped by its length, and a film behind the picture, hold none
    hidden = SCAN * 200
    comment = b"\xff\xfe" + (2 + len(hidden)).to_bytes(2, "big") + hidden
    np.testing.assert_array_equal(decode(jpeg[:2] + comment + jpeg[2:], "photo"), expected)
    np.testing.assert_array_equal(decode(jpeg + hidden, "photo"), expected)


@pytest.mark.parametrize("between", [b"\xff\x01", b"\xff\xd0", b"\xff\xff", b"\x00", b"\xff\x00"])
def test_no_scan_hides_behind_a_marker_without_length(between: bytes):
    refused(progressive().removesuffix(END) + (between + SCAN) * 200 + END, "more than 100 scans")


@pytest.mark.timeout(60)
def test_counting_takes_no_time_itself():
    """Marker after marker, and a marker that may begin at any of a million bytes."""
    refused(b"\xff\xd8" + 2**20 * b"\xff\x01", "more than 10000 segments")
    refuse_bombs(b"\xff\xd8" + 2**20 * b"\xff")
    refuse_bombs(b"\xff\xd8" + 2**20 * b"\xff\xd0")


@pytest.mark.parametrize("order", ["<", ">"])
def test_strips_are_counted_before_they_are_made(order: str):
    assert decode(tiff(300, order), "photo").shape == (300, 1)
    refused(tiff(MOST_STRIPS + 1, order), f"a TIFF of {MOST_STRIPS + 1} strips")


@pytest.mark.parametrize("mark", [b"II\x2b\x00", b"MM\x00\x2b"])
def test_what_versions_of_pillow_read_in_two_ways_is_refused(mark: bytes):
    refused(mark + tiff(300)[4:], "a BigTIFF: save it as TIFF")


def test_a_tiff_that_ends_early_is_told():
    for length in (3, 7, 9, 30):
        refused(tiff(300)[:length], "no readable picture")


def bmp(width: int, header: int, compression: int, content: bytes) -> bytes:
    """One row of indices into a gray palette; header: bytes of it, 40 by Windows, 12 by OS/2."""
    if header == 12:
        fields, palette = struct.pack("<IHHHH", 12, width, 1, 1, 8), np.zeros((256, 3), np.uint8)
        palette[1, 1] = 1  # 1, 0, 0, 0 in the file, where others say how it is compressed
    else:
        fields = struct.pack("<IiiHHIIiiII", 40, width, 1, 1, 8, compression, 0, 0, 0, 256, 0)
        palette = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 4))
    start = 14 + header + palette.nbytes
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, start) + fields + palette.tobytes() + content


def test_run_lengths_of_a_bmp_are_refused():
    """A jump of 255 rows, 17 GB, in four bytes; a palette that looks like it is none."""
    jump = b"\0\2\xff\xff\0\1"
    assert decode(bmp(4, 40, 0, b"\1\2\3\4"), "photo").tolist() == [[1, 2, 3, 4]]
    assert decode(bmp(4, 12, 0, b"\0\0\0\0"), "photo").shape == (1, 4)
    for compression in (1, 2):
        refused(bmp(2**26, 40, compression, jump), "a run-length encoded BMP")
