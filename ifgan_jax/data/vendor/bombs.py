"""Pictures of few bytes that would take hours or gigabytes, told before Pillow decodes them."""

import re
import struct

MOST_SCANS = 100  # of a JPEG, each a pass over all of its blocks: encoders make about ten
MOST_SEGMENTS = 10_000  # of a JPEG: metadata have one for each 64 kB
MOST_STRIPS = 2**17  # of a TIFF, or tiles: Pillow makes an object of each
STRIPS = (273, 324)  # TIFF 6.0: where each strip, each tile begins
# A BMP's header of OS/2 has no field for compression; in the others 1 and 2 stand for run lengths.
OS2, RUN_LENGTHS = b"\x0c\0\0\0", (b"\1\0\0\0", b"\2\0\0\0")
# A JPEG's marker: no stuffed zero, and none of those that only restart the decoder.
MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
START_OF_SCAN, END_OF_IMAGE, FIRST_WITH_LENGTH = 0xDA, 0xD9, 0xC0


def refuse_bombs(content: bytes) -> None:
    """ValueError for a JPEG of very many scans, a TIFF of very many strips or for large files, and
    for a BMP of run lengths.

    struct.error for a TIFF whose first page's directory lies outside of the file.
    """
    if content.startswith(b"\xff\xd8"):
        _refuse_scans(content)
    if content.startswith(b"BM") and content[14:18] != OS2 and content[30:34] in RUN_LENGTHS:
        # of four bytes Pillow 11 makes 255 rows, and all fill a row byte by byte
        raise ValueError("a run-length encoded BMP: save it as PNG")
    if content[:2] in (b"II", b"MM"):
        if b"+" in content[2:4]:  # read in two ways by versions of Pillow
            raise ValueError("a BigTIFF: save it as TIFF")
        if b"*" in content[2:4] and (strips := _strips(content)) > MOST_STRIPS:
            raise ValueError(f"a TIFF of {strips} strips or tiles: save it with larger ones")


def _refuse_scans(jpeg: bytes) -> None:
    """Of its first image, marker by marker, as libjpeg meets them."""
    scans, at = 0, 2
    for _ in range(MOST_SEGMENTS):
        found = MARKER.search(jpeg, at)
        if found is None or found[1][0] == END_OF_IMAGE:
            return
        code, at = found[1][0], found.end()
        scans += code == START_OF_SCAN
        if scans > MOST_SCANS:
            raise ValueError(f"a JPEG of more than {MOST_SCANS} scans: save it anew")
        if code >= FIRST_WITH_LENGTH:  # two bytes, which count themselves
            at += int.from_bytes(jpeg[at : at + 2], "big")
    raise ValueError(f"a JPEG of more than {MOST_SEGMENTS} segments: save it anew")


def _strips(tiff: bytes) -> int:
    """Of its first page, from the directory; of equal tags the largest."""
    order = "<" if tiff.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (entries,) = struct.unpack_from(f"{order}H", tiff, at)
    directory = [struct.unpack_from(f"{order}HHI", tiff, at + 2 + 12 * i) for i in range(entries)]
    return max((count for tag, _, count in directory if tag in STRIPS), default=0)
