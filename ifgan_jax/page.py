"""One self-contained HTML page: asks nothing of the network, light or dark, fits a phone.

Its policy allows our one style, our one script, and images within the page; nothing else is loaded
or run, whatever a text on the page says. Without JavaScript only sorting and CSV are missing.
"""

import base64
import hashlib
import html
import string
from collections.abc import Sequence
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1a1c1f; --soft: #5d646d; --page: #fdfdfc; --line: #dcdfe3;
  --panel: #f3f4f6; --bar: #0072b2; --warn: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #a2a9b2; --page: #16181b;
  --line: #34383e; --panel: #1f2226; --bar: #56b4e9; } figure img { filter: brightness(.9); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 62rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .4rem 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-top: .5rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
a { color: var(--bar); }
.lead { font-size: 1.1rem; margin: 0; }
.soft, .none, figcaption { color: var(--soft); }
.none { font-style: italic; }
.notice { background: var(--panel); border-left: .3rem solid var(--warn); padding: .6rem .8rem;
  margin: 1rem 0; }
.scroll { overflow-x: auto; }
table { border-spacing: 0; min-width: min(100%, 40rem); }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid var(--line); font-weight: 400; }
th:first-child { position: sticky; left: 0; background: var(--page); min-width: 7rem;
  overflow-wrap: anywhere; }
thead th { color: var(--soft); font-size: .85rem; vertical-align: bottom; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: .3rem 0;
  text-align: inherit; cursor: pointer; }
th button::after { content: "\\a0↕"; }
[aria-sort=ascending] button::after { content: "\\a0↑"; }
[aria-sort=descending] button::after { content: "\\a0↓"; }
.csv { font-size: .85rem; margin: 0 0 1.6rem; }
.csv a { display: inline-block; padding: .4rem .6rem .4rem 0; }
.note { display: block; color: var(--soft); font-size: .85rem; font-weight: 400; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: .8rem; overflow-x: auto; border-radius: .4rem;
  white-space: pre-wrap; }
.bar { width: min(8rem, 20vw); height: .7rem; margin-right: .6rem; fill: var(--bar); }
figure { margin: 0; max-width: 40rem; break-inside: avoid; }
figure img { display: block; width: 100%; background: #fff; padding: .4rem; border-radius: .4rem;
  border: 1px solid var(--line); }
figcaption { font-size: .9rem; margin: .4rem 0 1.6rem; }
.columns { columns: 2 22rem; column-gap: 2rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr));
  gap: 1rem 1.5rem; }
summary { cursor: pointer; padding: .3rem 0; }
@media print { .csv, th button::after { display: none; } .scroll { overflow: visible; } }
"""

# Sorts a table by the heading that is clicked: upwards, downwards, as it was. Numbers come before
# words, and what was not measured stands last both ways. A cell is its <data> where it has one
# (the unrounded number), else its text; a note explains and is no part of the value.
SCRIPT = r"""
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const value = (cell) => {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll(".note").forEach((note) => note.remove());
    return copy.querySelector("data")?.value ?? copy.textContent.trim();
  };
  const key = (cell) => {
    const text = value(cell);
    const number = /^(?:×\s*)?([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.-])/i.exec(
      text.replace("−", "-"));
    if (number) return [0, Number(number[1])];
    return /^(|–|absent|not run|undefined|no images)$/.test(text) ? [2, ""] : [1, text];
  };
  const compare = (a, b, sign) => a[0] - b[0] || sign * (a[0] ? a[1].localeCompare(
    b[1], "en", { numeric: true }) : a[1] - b[1]);
  const quoted = (text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const line = (cells) => [...cells].map(value).map(quoted).join(",") + "\r\n";
  const name = table.getAttribute("aria-label"), link = document.createElement("a");
  link.textContent = "CSV";
  link.setAttribute("aria-label", `CSV: ${name}`);
  link.download = name.toLowerCase().match(/[a-z0-9]+/g).join("_").slice(0, 60) + ".csv";
  link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(
    line(heads) + rows.map((row) => line(row.cells)).join(""));
  const below = document.createElement("p");
  below.className = "csv";
  below.append(link);
  table.parentElement.after(below);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (before === "descending") return body.append(...rows);
      head.setAttribute("aria-sort", before ? "descending" : "ascending");
      const sign = before ? -1 : 1, keys = new Map(rows.map((r) => [r, key(r.cells[column])]));
      body.append(...[...rows].sort((a, b) => compare(keys.get(a), keys.get(b), sign)));
    });
  });
}
"""

PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src '$style_hash'; script-src '$script_hash'; base-uri 'none'; form-action 'none'">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<p class="soft">IF-GAN: identity-free facial expression recognition</p>
<h1>$title</h1>
<p class="lead">$lead</p>
</header>
<main>
$body
</main>
<script>$script</script>
</body>
</html>
""")


NOT_RUN = '<span class="none">not run</span>'


def document(title: str, lead: str, body: str) -> str:
    """The whole page; `title` is text, `lead` and `body` are HTML without script or style."""
    return PAGE.substitute(
        title=html.escape(title),
        style=STYLE,
        style_hash=_hash(STYLE),
        script=SCRIPT,
        script_hash=_hash(SCRIPT),
        lead=lead,
        body=body,
    )


def _hash(text: str) -> str:
    """By which a policy knows an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def picture(png: bytes, alt: str) -> str:
    """A PNG within the page."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def figure(heading: str, png: bytes | None, caption: str) -> str:
    """A picture under its heading, with how to read it below; without one it reads "not run"."""
    image = f"<p>{NOT_RUN}</p>" if png is None else picture(png, heading)
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>\n<h3>{html.escape(heading)}</h3>\n{image}\n{below}\n</figure>"


def cell(value: Any) -> str:
    """HTML of a value: a float to three decimals or four digits, all of them in the CSV."""
    if value is None:
        return NOT_RUN
    if isinstance(value, float):
        shown = f"{value:.3f}" if 0.1 <= abs(value) < 10 else f"{value:.4g}"
        return f'<data value="{value}">{shown}</data>'
    return html.escape(str(value))


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()
) -> str:
    """Rows of HTML cells, the first of which names the row; sortable, with its CSV (SCRIPT).

    caption: plain text, what a screen reader and the CSV file call it; it is not shown.
    numbers: the columns of `header` that stand to the right.
    """
    css = [' class="number"' if name in numbers else "" for name in header]
    head = "".join(f'<th scope="col"{c}>{name}</th>' for c, name in zip(css, header, strict=True))
    body = []
    for first, *cells in rows:
        others = "".join(f"<td{c}>{cell}</td>" for c, cell in zip(css[1:], cells, strict=True))
        body.append(f'<tr><th scope="row"{css[0]}>{first}</th>{others}</tr>\n')
    return (
        f'<div class="scroll"><table aria-label="{html.escape(caption)}">'
        f"<thead><tr>{head}</tr></thead><tbody>\n{''.join(body)}</tbody></table></div>"
    )
