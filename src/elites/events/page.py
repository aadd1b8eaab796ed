"""The frame of a page: its style for light, dark and paper, and a policy that lets nothing in or out."""

from __future__ import annotations

from string import Template

from .axes import safe

__all__ = ["STYLE", "page"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root{color-scheme:light dark;--ink:#1b1d1f;--soft:#5c6268;--line:#dedcd5;--paper:#fdfcf9;--accent:#00676f}
@media screen and (prefers-color-scheme:dark){
:root{--ink:#e8e6e1;--soft:#a3a7ab;--line:#35383b;--paper:#151719;--accent:#63cfcb}}
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
section{border-top:1px solid var(--line);margin-top:3rem;padding-top:1.6rem}
.above{color:var(--soft);font-size:.85rem;margin:0;letter-spacing:.01em}
.note{color:var(--soft);font-size:.9rem}
dl.numbers{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:1.5rem 1.2rem;margin:2rem 0}
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
@media print{main{padding:0;max-width:none}section{break-inside:avoid}body{font-size:10pt}.scroll{overflow:visible}}
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
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
