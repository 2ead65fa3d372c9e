"""One table of texts as Markdown, LaTeX, CSV and HTML."""

import csv
import html
import io
from pathlib import Path
from typing import NamedTuple

from ifgan_jax import page
from ifgan_jax.workdir import write_text

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--", "−": "$-$", "α": r"$\alpha$",
}  # fmt: skip


class Table(NamedTuple):
    """Plain texts; the first column names the row, the others are numbers or short words."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def markdown(table: Table) -> str:
    """With the caption above it; a bar within a cell is escaped."""

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(table.header) - 1)
    return "\n".join([f"**{table.caption}**", "", line(table.header), rule, *map(line, table.rows)])


def latex(table: Table) -> str:
    """A float with `tabular` and booktabs' rules."""

    def line(cells: tuple[str, ...]) -> str:
        return " & ".join("".join(LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"

    columns = "l" + "r" * (len(table.header) - 1)
    head = [r"\begin{table}", r"\centering", rf"\caption{{{line((table.caption,))[:-3]}}}"]
    head += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(table.header), r"\midrule"]
    foot = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*head, *map(line, table.rows), *foot])


def comma_separated(table: Table) -> str:
    """Header and rows, RFC 4180's quotes, without the caption."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([table.header, *table.rows])
    return stream.getvalue().rstrip("\n")


def html_table(table: Table) -> str:
    """Escaped, under its caption; scrolls sideways where a screen is narrow."""
    header = [html.escape(cell) or "name" for cell in table.header]  # a click on it sorts
    rows = [[html.escape(cell) for cell in row] for row in table.rows]
    body = page.table(table.caption, header, rows, header[1:])
    return f"<h3>{html.escape(table.caption)}</h3>\n{body}"


def write(table: Table, folder: Path, name: str) -> None:
    """<name>.md, .tex and .csv in a folder."""
    for suffix, text in (("md", markdown), ("tex", latex), ("csv", comma_separated)):
        write_text(folder / f"{name}.{suffix}", text(table) + "\n")
