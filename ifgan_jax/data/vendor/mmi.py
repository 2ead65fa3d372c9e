"""MMI (Pantic et al. 2005): three frames in the middle of frontal six-class videos, and frame 0.

`Sessions/<n>/` holds `session.xml` (`<track view="0">`: 0 frontal, 1 profile, 2 both side by side),
the video `S001-002.avi` of subject S001, and `S001-002.xml` with `<Metatag Name="Emotion"
Value="3">` (1 to 6 are ours; other values are other displays). Videos run from neutral over the
peak back to neutral. Sec. 4.1 counts 208 frontal sequences of 31 subjects; their list was never
published.
"""

import collections
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from ifgan_jax.data.protocol import Expression
from ifgan_jax.data.vendor.example import Example, Found, ordered
from ifgan_jax.data.vendor.pictures import VIDEOS, UnreadablePictureError, count_frames
from ifgan_jax.data.vendor.tree import LayoutError, Tree

CLIP = rf"(S\d+)-(\d+)({'|'.join(map(re.escape, VIDEOS))})"
CODES = {
    "1": Expression.ANGER,
    "2": Expression.DISGUST,
    "3": Expression.FEAR,
    "4": Expression.HAPPINESS,
    "5": Expression.SADNESS,
    "6": Expression.SURPRISE,
}
FRONTAL, PROFILE, DUAL = "0", "1", "2"
LARGEST_XML = 2**20  # bytes; entities make at most a hundred times as much of them
SEQUENCES, SUBJECTS = 208, 31
EXPECTED = {"faces/neutral": SEQUENCES}  # no count by expression is published


def find(tree: Tree, sessions: frozenset[str] | None = None) -> Found:
    """Peaks and first frame of the frontal and dual clips; with `sessions`, of those alone.

    Args:
      sessions: numbers of session folders, or names of clips such as "S001-002".

    Raises:
      LayoutError: XML that cannot be parsed, two emotions for one clip, a view that does not exist,
        a session that is asked for and absent.
    """
    files = {file.lower(): file for file in tree.files}
    examples: list[Example] = []
    remarks: list[str] = []
    left_out: collections.Counter[str] = collections.Counter()
    asked = set(sessions or ())
    for name, file in _clips(tree).items():
        folder = file.rpartition("/")[0]
        own = {name, folder.rpartition("/")[2].upper()}
        if sessions is not None and not own & sessions:
            continue
        asked -= own
        label = _emotion(tree, files.get(f"{folder}/{name}.xml".lower().lstrip("/")))
        view = _view(tree, files.get(f"{folder}/session.xml".lower().lstrip("/")), file)
        if label is None:
            left_out["clips without one of the six emotions"] += 1
        elif view == PROFILE or (view is None and sessions is None):
            left_out["clips in profile, or without a session.xml that gives the view"] += 1
        else:
            try:
                examples += _peaks(name, file, label, count_frames(tree, file), view == DUAL)
            except UnreadablePictureError as error:
                remarks.append(f"{error}; left out")
    if asked:
        raise LayoutError(f"{tree.root}: has no session {', '.join(sorted(asked))}")
    notes = [f"{count} {what}: left out" for what, count in left_out.items()]
    subjects = sorted({example.subject for example in examples})
    sequences = len({example.sequence for example in examples})
    if (sequences, len(subjects)) != (SEQUENCES, SUBJECTS):
        remarks.append(
            f"{sequences} frontal sequences of {len(subjects)} subjects; the paper has {SEQUENCES} "
            f"of {SUBJECTS}, whose list is not published: give yours with --sessions"
        )
    return Found(ordered(examples), subjects, remarks, notes)


def read_sessions(path: Path) -> frozenset[str]:
    """A session list: numbers or clip names, one a line; "#" begins a comment.

    Raises OSError, or ValueError for what is no text; both name the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error})") from error
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return frozenset(line.upper() for line in lines if line)


def _clips(tree: Tree) -> dict[str, str]:
    """Name of each clip → file."""
    clips: dict[str, str] = {}
    for file, match in tree.named(CLIP).items():
        name = f"{match[1]}-{match[2]}".upper()
        clips[name] = tree.one_of(clips[name], file) if name in clips else file
    return clips


def _peaks(name: str, file: str, label: Expression, count: int, dual: bool) -> list[Example]:
    """Frame 0 and "three peak frames in the middle" (Sec. 4.1) of a video of `count` frames."""
    middle = count // 2
    if middle < 2:
        raise UnreadablePictureError(f"{name}: {count} frames, a peak needs 4")
    return [
        Example(
            file=file,
            label=label if frame else Expression.NEUTRAL,
            subject=name.partition("-")[0],
            sequence=name,
            frame=frame,
            intensity=1.0 if frame else 0.0,
            dual=dual,
        )
        for frame in (0, middle - 1, middle, middle + 1)
    ]


def _emotion(tree: Tree, file: str | None) -> Expression | None:
    """One of our six, or None; a clip without XML has none."""
    if file is None:
        return None
    values = {
        tag.get("Value", "")
        for tag in _parse(tree, file).findall(".//{*}Metatag")
        if tag.get("Name") == "Emotion"
    }
    if len(values) > 1:
        raise LayoutError(f"{tree.root / file}: has {len(values)} emotions, {sorted(values)}")
    return CODES.get(values.pop()) if values else None


def _view(tree: Tree, file: str | None, clip: str) -> str | None:
    """The view of a clip's track; of the only one when the tracks name no files."""
    if file is None:
        return None
    tracks = [
        track for track in _parse(tree, file).findall(".//{*}track") if "view" in track.attrib
    ]
    name = clip.rpartition("/")[2].lower()
    ours = [track for track in tracks if track.get("filename", "").lower() == name] or tracks
    views = {track.get("view", "") for track in ours}
    if len(views) > 1 or not views <= {FRONTAL, PROFILE, DUAL}:
        raise LayoutError(
            f"{tree.root / file}: the view of {name} is {sorted(views)}, needs one of 0, 1, 2"
        )
    return views.pop() if views else None


def _parse(tree: Tree, file: str) -> ET.Element:
    content = tree.read(file)
    if len(content) > LARGEST_XML:
        raise LayoutError(f"{tree.root / file}: {len(content)} bytes are no session's XML")
    try:
        return ET.fromstring(content)
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise LayoutError(f"{tree.root / file}: no readable XML ({error})") from error
