"""The look of the demo's page: its style sheet, small pieces of HTML. No scripts, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """\
:root { color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1f2328; --soft: #5c6570; --line: #e2e0da; --tint: #f1efe9;
  --art: #c14f00; --bar: #d55e00; --stock: #0072b2; --code: #f3f1ec; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --card: #1c2024; --ink: #e8e6e1; --soft: #a0a8b1; --line: #30363c; --tint: #22272c;
  --art: #ff9a55; --bar: #e8752a; --stock: #6db7e8; --code: #22272c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1, h2, h3 { line-height: 1.2; letter-spacing: -0.015em; text-wrap: balance; }
h1 { font-size: clamp(1.9rem, 5vw, 2.9rem); margin: 0.2rem 0 1rem; }
h2 { font-size: 1.6rem; margin: 3.5rem 0 0.4rem; padding-top: 1.6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.12rem; margin: 2.2rem 0 0.5rem; }
a { color: var(--stock); }
p { max-width: 46rem; margin: 0.5rem 0 0.9rem; }
.kicker { color: var(--art); font-weight: 650; letter-spacing: 0.04em; margin: 0; }
.lead { font-size: 1.16rem; }
.soft, .note, figcaption { color: var(--soft); font-size: 0.92rem; }
.note { max-width: 60rem; } .note b { font-weight: 650; color: var(--ink); }
.tiles { display: grid; gap: 0.9rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr));
  margin: 1.6rem 0 0; padding: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1rem 1.1rem; }
.tiles b { display: block; font-size: 2.1rem; line-height: 1.15; color: var(--art); font-weight: 680;
  font-variant-numeric: tabular-nums; }
.tiles strong { display: block; margin-bottom: 0.15rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 12px; background: var(--card);
  margin: 0.9rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.42rem 0.65rem; text-align: right; border-top: 1px solid var(--line); white-space: nowrap; }
thead th { border-top: 0; color: var(--soft); font-weight: 600; vertical-align: bottom; }
th[scope=row], .left { text-align: left; }
tr.first > * { border-top: 2px solid var(--line); }
thead th { white-space: normal; }
td.best, td.kept { font-weight: 700; color: var(--art); }
td.early { color: var(--soft); opacity: 0.75; }
tr.art > td, tr.art > th { background: var(--tint); }
.grid table { min-width: 46rem; table-layout: fixed; }
.grid th, .grid td { text-align: left; white-space: normal; vertical-align: top; padding: 0.6rem; }
.grid thead th:first-child, .grid th[scope=row] { width: 9.2rem; position: sticky; left: 0; z-index: 1;
  background: var(--card); }
.grid th[scope=row] span { display: block; font-weight: 400; color: var(--soft); font-size: 0.85rem; }
.grid thead th.art { color: var(--art); }
.grid img { display: block; width: 100%; max-width: 344px; height: auto; border-radius: 5px;
  image-rendering: pixelated; }
.meter { display: flex; align-items: center; gap: 0.5rem; font-size: 0.83rem; color: var(--soft);
  margin-top: 0.35rem; max-width: 344px; }
.meter i { flex: 1; height: 5px; border-radius: 3px; background: var(--tint); overflow: hidden; }
.meter i::before { content: ""; display: block; height: 100%; width: var(--share); background: var(--stock); }
.art .meter i::before { background: var(--bar); }
.meter b { min-width: 3.6em; text-align: right; font-weight: 400; }
.meter.best b { color: var(--ink); font-weight: 700; }
.grid td small { color: var(--soft); font-size: 0.8rem; }
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.figures.three { grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0.6rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 12px; padding: 0.7rem; }
figure.wide { max-width: 52rem; overflow-x: auto; } figure.wide img { min-width: 32rem; }
figcaption { padding: 0.45rem 0.2rem 0; }
.verdict { border-left: 4px solid var(--bar); background: var(--tint); border-radius: 0 10px 10px 0;
  padding: 0.7rem 1rem; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 12px; padding: 0.9rem 1rem;
  overflow-x: auto; font-size: 0.88rem; line-height: 1.5; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
details { margin: 0.9rem 0; } summary { cursor: pointer; font-weight: 600; padding: 0.3rem 0; }
@media (max-width: 40rem) { main { padding: 1.5rem 0.9rem 3rem; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 0.6rem; }
  .tiles li { padding: 0.8rem; } .tiles b { font-size: 1.7rem; }
  table { font-size: 0.85rem; } th, td { padding: 0.36rem 0.5rem; } th[scope=row] { white-space: normal; }
  .grid table { min-width: 50rem; }
  .grid thead th:first-child, .grid th[scope=row] { width: 6.6rem; font-size: 0.85rem; } }
"""


def document(title: str, body: str) -> str:
    """A whole HTML page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


def figure(file: str, alt: str, caption: str, wide: bool = False) -> str:
    """A picture on a white card with a caption (HTML); a wide one scrolls sideways on a narrow screen."""
    image = f'<img src="{escape(file)}" alt="{escape(alt)}" loading="lazy">'
    kind = " class=wide" if wide else ""
    return f"<figure{kind}>{image}<figcaption>{caption}</figcaption></figure>"


def table(head: Sequence[str], rows: Iterable[str], caption: str, left: int = 1) -> str:
    """A table that scrolls sideways on a narrow screen. rows: each a <tr>. left: heads aligned left."""
    heads = "".join(
        f'<th scope="col"{" class=left" if rank < left else ""}>{text}</th>' for rank, text in enumerate(head)
    )
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n'
        f'<p class="note">{caption}</p>'
    )


def number(value: float) -> str:
    """Three significant digits, never in exponent form down to 0.0001."""
    if value == 0:
        return "0"
    size = abs(value)
    digits = 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4 if size >= 0.01 else 5
    return f"{value:.{digits}f}"
