"""The tables of docs/reliability.md from the committed results, the same bytes each time.

    python scripts/campaign.py document

The text of the page is written by hand; what stands between two marks, `<!-- crashes -->` and
`<!-- end of crashes -->`, is replaced by the tables of the JSON files of that name in
docs/reliability: crashes.json, crashes_disk.json, ….
"""

import json
import re
from pathlib import Path

from absl import flags

from ifgan_jax.tables import Table, markdown
from scripts.campaigns import crashes, exported, long_run, report

PAGE = flags.DEFINE_string(
    "page", "docs/reliability.md", "Its results lie in the folder beside it.", allow_override=True
)

SHOWN = 3  # kinds of error of a target; the JSON file has 40


def fuzz_tables(result: report.Result) -> list[Table]:
    """A row for each thing that was fed with made-up input; the last call need not be all rows'."""
    header = ("", "tried", "accepted", "refused", "failed", "memory", "errors by kind", "commit")
    rows = []
    for name, target in result["targets"].items():
        errors = target["errors"]
        common = [f"{' '.join(kind.split())}: {n}" for kind, n in list(errors.items())[:SHOWN]]
        rest = sum(list(errors.values())[SHOWN:])
        kinds = "; ".join([*common, *([f"others: {rest}"] if rest else [])])
        ended = (target["accepted"], sum(errors.values()), len(target["failures"]))
        counts = [str(n) for n in (target["tries"], *ended)]
        rows.append((name, *counts, f"{target['peak_mib']:.0f} MiB", kinds, target["commit"]))
    return [Table("Made-up input", header, tuple(rows))]


TABLES = {
    "crashes": crashes.tables,
    "long_run": long_run.tables,
    "fuzz": fuzz_tables,
    "exported": exported.tables,
}


def main() -> None:
    path = Path(PAGE.value)
    path.write_text(page(path))
    print(f"written: {path}")


def page(path: Path) -> str:
    """The page with its tables made anew. Raises ValueError where a mark is missing."""
    text = path.read_text()
    for name in TABLES:
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        marks = re.compile(f"{begin}.*{end}", re.DOTALL)
        if len(marks.findall(text)) != 1:
            raise ValueError(f"{path}: {begin.strip()} and {end} are expected, once each")
        made = begin + section(name, path.with_suffix("")) + end
        text = marks.sub(made.replace("\\", r"\\"), text)
    return text


def section(name: str, folder: Path) -> str:
    """The tables of all results of one command; says so where there is none."""
    parts = []
    for file in sorted(folder.glob(f"{name}*.json")):
        result = json.loads(file.read_text())
        parts += [markdown(table) for table in TABLES[name](result)]
        parts.append(report.describe(result))
    return "\n" + "\n\n".join(parts or ["Not run yet."]) + "\n\n"
