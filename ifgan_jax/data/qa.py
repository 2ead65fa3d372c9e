"""The page about a prepared data set: counts, what was odd, failures with reasons, detections.

Written above the records, as <name>/<config>_<split>.html, with the same facts as JSON.
"""

import collections
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ifgan_jax import page
from ifgan_jax.data.align import NO_FACE, UNREADABLE, Aligned
from ifgan_jax.workdir import write_json, write_text

SHOWN = 48  # pictures of detections, spread over the set; failures and oddities are all listed
SIDE = 128  # pixels of a picture on the page
MEASURED = Path(__file__).parent / "detector_error.json"


class Entry(NamedTuple):
    """A line of the report: what became of one example."""

    name: str
    status: str
    reason: str


class Report:
    """Collects what becomes of the examples, then writes the page."""

    def __init__(self, title: str, total: int, remarks: Sequence[str]) -> None:
        """total: examples expected to come; remarks: what the parser found odd."""
        self.title, self.remarks = title, list(remarks)
        self.entries: list[Entry] = []
        self._every = max(1, total // SHOWN)
        self._sheet: list[tuple[str, bytes]] = []

    def add(self, name: str, aligned: Aligned) -> None:
        """Count an example; every odd one, and of the others every so many-th, is shown."""
        odd = bool(aligned.reason)
        if aligned.source is not None and (odd or len(self.entries) % self._every == 0):
            self._sheet.append((f"{aligned.status}: {name}", _drawn(aligned)))
        self.entries.append(Entry(name, aligned.status, aligned.reason))

    @property
    def left_out(self) -> list[Entry]:
        """Examples without a face: they are in no record."""
        return [entry for entry in self.entries if entry.status in (NO_FACE, UNREADABLE)]

    def facts(self) -> dict[str, Any]:
        """Examples by status, the remarks, and what was odd: the content of the JSON file."""
        statuses = collections.Counter(entry.status for entry in self.entries)
        odd = [entry._asdict() for entry in self.entries if entry.reason]
        return {"statuses": dict(statuses), "remarks": self.remarks, "odd": odd}

    def write(self, path: Path) -> None:
        """`path`.html and `path`.json."""
        facts = self.facts()
        counts = [(name, str(count)) for name, count in sorted(facts["statuses"].items())]
        odd = [[html.escape(text) for text in entry] for entry in self.entries if entry.reason]
        listed = page.table("Not as expected", ("picture", "status", "reason"), odd)
        remarks = "".join(f"<li>{html.escape(remark)}</li>" for remark in self.remarks)
        figures = "".join(
            f"<figure>{page.picture(png, name)}"
            f"<figcaption>{html.escape(name)}</figcaption></figure>"
            for name, png in self._sheet
        )
        body = (
            "<h2>Images by status</h2>"
            + page.table("Images by status", ("status", "images"), counts, ("images",))
            + "<h2>Remarks</h2>"
            + (f"<ul>{remarks}</ul>" if remarks else "<p>none</p>")
            + "<h2>Left out, or not as expected</h2>"
            + (listed if odd else "<p>none</p>")
            + f"<h2>Error of the detector</h2>{_detector_table()}"
            + "<h2>Detections</h2><p class='soft'>Left: the source with eyes, nose tip and mouth "
            "corners; right: what is stored. All odd ones, and every "
            f"{self._every}th of the others.</p><div class='columns'>{figures}</div>"
        )
        lead = f"{len(self.entries)} examples, {len(self.left_out)} left out"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path.with_suffix(".html"), page.document(self.title, lead, body))
        write_json(path.with_suffix(".json"), facts)


def _detector_table() -> str:
    """What scripts/measure_alignment.py measured on rendered faces, whose true points are known."""
    measured = json.loads(MEASURED.read_text("utf-8"))
    columns = ("faces", "point", "mean", "95th percentile", "bias right", "bias down", "missed")
    rows = []
    for row in measured["errors"]:
        cells = (row[c] for c in columns)
        rows.append([f"{x:.3f}" if isinstance(x, float) else html.escape(str(x)) for x in cells])
    return (
        page.table("Error of the detector", columns, rows, columns[2:])
        + "<p class='soft'>In units of the distance between the eyes, on "
        + f"{measured['images']} rendered faces of each kind ({html.escape(measured['command'])}, "
        + f"{measured['date']}). Not measured on the owner's photographs.</p>"
    )


def _drawn(aligned: Aligned) -> bytes:
    """The source with its points, and the stored image beside it, as PNG."""
    assert aligned.source is not None
    source = Image.fromarray(np.ascontiguousarray(aligned.source)).convert("RGB")
    scale = SIDE / max(source.size)
    source = source.resize([max(1, round(side * scale)) for side in source.size])
    if aligned.points is not None:
        draw = ImageDraw.Draw(source)
        for x, y in aligned.points * scale:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(255, 90, 0))
    sheet = Image.new("RGB", (2 * SIDE + 4, SIDE), "white")
    sheet.paste(source, (0, 0))
    if aligned.image is not None:
        sheet.paste(Image.fromarray(aligned.image).resize((SIDE, SIDE)), (SIDE + 4, 0))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()
