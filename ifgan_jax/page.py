"""One self-contained HTML page: asks nothing of the network, light or dark, fits a phone."""

import base64
import html
import string
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light dark; --ink: #1a1c1f; --soft: #5d646d; --page: #fdfdfc; --line: #dcdfe3;
  --panel: #f3f4f6; --bar: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #a2a9b2; --page: #16181b;
  --line: #34383e; --panel: #1f2226; --bar: #56b4e9; } figure img { filter: brightness(.9); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 62rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .4rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-top: .5rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
.lead { font-size: 1.1rem; margin: 0; }
.soft, .none, figcaption { color: var(--soft); }
.none { font-style: italic; }
table { border-collapse: collapse; width: 100%; max-width: 40rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid var(--line); font-weight: 400; }
thead th { color: var(--soft); font-size: .85rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.strong th, .strong .number { font-weight: 650; }
.note { display: block; color: var(--soft); font-size: .85rem; font-weight: 400; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: .8rem; overflow-x: auto; border-radius: .4rem;
  white-space: pre-wrap; }
.bar { width: 40%; }
.bar i { display: block; height: .7rem; margin-top: .4rem; background: var(--bar); }
figure { margin: 0; }
figure img { display: block; width: 100%; background: #fff; padding: .4rem; border-radius: .4rem;
  border: 1px solid var(--line); }
figcaption { font-size: .9rem; margin: .4rem 0 1.6rem; }
.wide { overflow-x: auto; margin-bottom: 1.6rem; }
.wide table { width: auto; max-width: none; }
.wide th { white-space: nowrap; }
.columns { columns: 2 22rem; column-gap: 2rem; }
.columns > figure { break-inside: avoid; }
summary { cursor: pointer; padding: .3rem 0; }
"""

PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
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
</body>
</html>
""")


def document(title: str, lead: str, body: str) -> str:
    """The whole page; `title` is text, `lead` and `body` are HTML."""
    return PAGE.substitute(title=html.escape(title), style=STYLE, lead=lead, body=body)


def picture(png: bytes, alt: str) -> str:
    """A PNG within the page."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def table(header: Sequence[str], rows: Sequence[str], numbers: Sequence[str] = ()) -> str:
    """A table of rows of HTML; columns named in `numbers` stand to the right."""
    css = dict.fromkeys(numbers, "number")
    cells = "".join(f'<th scope="col" class="{css.get(h, "")}">{h}</th>' for h in header)
    head = f"<thead><tr>{cells}</tr></thead>" if header else ""
    return f"<table>{head}<tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
