"""The frame of a page: its style for light, dark and paper, and a policy that lets nothing in or out."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

from .axes import safe

__all__ = ["STYLE", "contents", "page", "section"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

STYLE = """
:root{color-scheme:light dark;--ink:#1b1d1f;--soft:#5c6268;--line:#dedcd5;--paper:#fdfcf9;--field:#f5f3ee;
--accent:#00676f;--warn:#a33b00}
@media screen and (prefers-color-scheme:dark){
:root{--ink:#e8e6e1;--soft:#a3a7ab;--line:#35383b;--paper:#151719;--field:#1c1f21;--accent:#63cfcb;--warn:#ffa873}}
@media (prefers-contrast:more){:root{--soft:var(--ink);--line:#8a8a8a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%;print-color-adjust:exact;
-webkit-print-color-adjust:exact}
main{max-width:66rem;margin:0 auto;padding:3.5rem clamp(1rem,4vw,3rem) 5rem}
h1,h2{font-family:ui-serif,Charter,"Bitstream Charter","Iowan Old Style",Georgia,serif;font-weight:500;
line-height:1.2;overflow-wrap:anywhere;text-wrap:balance}
h1{font-size:clamp(1.6rem,4.2vw,2.4rem);margin:.4rem 0 1rem;max-width:22em}
h2{font-size:1.3rem;margin:0 0 1.4rem}
p{max-width:44rem;margin:0 0 .9rem;overflow-wrap:anywhere}
a{color:var(--accent);text-underline-offset:.2em;text-decoration-thickness:1px}
:focus-visible{outline:2px solid var(--accent);outline-offset:3px;border-radius:.1rem}
nav{margin-top:2rem;font-size:.85rem}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.3rem;list-style:none;margin:0;padding:0}
nav a{text-decoration:none;display:inline-block;padding:.15rem 0}
nav a:hover{text-decoration:underline}
section{border-top:1px solid var(--line);margin-top:3rem;padding-top:1.6rem}
section>:last-child{margin-bottom:0}
.above{color:var(--soft);font-size:.85rem;margin:0;letter-spacing:.01em}
.note{color:var(--soft);font-size:.9rem}
*+.note{margin-top:1.4rem}
.note+.note{margin-top:0}
h2+.note{margin-top:0;margin-bottom:1.4rem}
dl.numbers{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:1.5rem 1.2rem;margin:2rem 0 0}
.numbers dt{color:var(--soft);font-size:.8rem}
.numbers dd{margin:0;font-size:1.45rem;line-height:1.3;font-variant-numeric:tabular-nums}
.numbers div:first-child dd{color:var(--accent)}
.numbers small{display:block;font-size:.78rem;color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:2.4rem 2.4rem}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:500}
td,th{border-bottom:1px solid var(--line);padding:.5rem 1.2rem .5rem 0;vertical-align:top}
code,pre{font:.86em/1.5 ui-monospace,"SF Mono",Menlo,Consolas,monospace;unicode-bidi:isolate;overflow-wrap:anywhere}
pre{border-left:2px solid var(--accent);padding:.2rem 0 .2rem 1rem;margin:1.6rem 0 .9rem;overflow-x:auto}
pre code{overflow-wrap:normal}
dl.facts{display:grid;grid-template-columns:minmax(5rem,auto) minmax(0,1fr);gap:.55rem 1.6rem;
margin:0;font-size:.95rem}
.facts dt{color:var(--soft)}
.facts dd{margin:0}
@media print{:root{--paper:#fff;--field:#f6f6f4}main{padding:0;max-width:none}body{font-size:10pt}nav{display:none}
section{margin-top:1.6rem;padding-top:1rem}h1,h2{break-after:avoid}p{orphans:3;widows:3}
figure,li,tr,dl.numbers>div,.notice,.frame,.split{break-inside:avoid}.scroll,pre{overflow:visible}
pre,pre code{white-space:pre-wrap}.charts{grid-template-columns:1fr 1fr}}
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")


def page(title: str, body: str, style: str) -> str:
    """A whole document that runs no scripts and loads nothing.

    Arguments:
        title: plain text.
        body: HTML, with every string of a stranger escaped.
        style: what it needs beyond `STYLE`.
    """
    return PAGE.substitute(policy=POLICY, title=safe(title), style=STYLE + style, body=body)


def section(name: str, title: str, html: str) -> str:
    """A panel under its heading; `name` is its id on the page."""
    return f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{html}</section>'


def contents(made: Mapping[str, tuple[str, str]]) -> str:
    """Links to the panels on the same page."""
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, (title, _) in made.items())
    return f'<nav aria-label="On this page"><ul>{links}</ul></nav>'
