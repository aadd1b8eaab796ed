"""The report of a run: one HTML file that opens anywhere, made of the run folder alone.

It has no scripts and loads nothing; pictures are data URIs. It can be written for a run that is unfinished or was
killed, and again at any time.
"""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from pathlib import Path
from string import Template

from ..probe import describe
from ..store import write
from ..types import Event
from . import charts, gallery
from .charts import MISSING, bars, number, safe, shown
from .curves import evidence_curves, judge_curve, reward_curve
from .gallery import best_objects, contact_sheet
from .record import Record

__all__ = ["Report", "write_report"]

REASONS, KEYS = 20, 5  # most reasons of failure, and keys of each

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
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
$style
</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")


class Report:
    """Subscriber that writes the report when the run has ended; list it after `Checkpoint`.

    Arguments:
        folder: of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder

    def __call__(self, event: Event) -> None:
        """Write the report, if this is the event of the result."""
        if event.result is not None:
            write_report(self.folder)


def write_report(folder: str | Path) -> Path:
    """Write `report.html` of the run in a folder, finished or not, and return its path.

    Raises:
        InputError: if the folder holds no run, or one of a newer version.
        StoreError: if the report cannot be written.
    """
    run = Record.read(Path(folder))
    sections = {
        "Best objects": _best(run),
        "Best by step": f'<div class="scroll" tabindex="0" role="region" aria-label="Best by step">{sheet}</div>'
        if (sheet := contact_sheet(run.path))
        else "",
        "Reward": reward_curve(run) or "<p>No step has a reward yet.</p>",
        "Evidence beside the reward": evidence_curves(run),
        "Judge against reward": judge_curve(run),
        "Budget": _budget(run),
        "Probe of the prior": _probe(run),
        "Failures": _failures(run),
        "How to reproduce": _reproduce(run),
    }
    parts = (f"<section><h2>{name}</h2>{html}</section>" for name, html in sections.items() if html)
    title = f"{safe(run.path.resolve().name)} – Diffusion Elites"
    style = charts.STYLE + gallery.STYLE
    path = run.path / "report.html"
    write(path, PAGE.substitute(title=title, style=style, body=_verdict(run) + "".join(parts)).encode())
    return path


def _verdict(run: Record) -> str:
    """The outcome in a sentence and in numbers, and how to read them."""
    before, who = run.probe.get("max", math.nan), safe(run.method)
    if not math.isfinite(run.best):
        headline = f"{who} found nothing that has a reward" if run.result else f"{who} has no sample yet"
    elif not math.isfinite(before):
        headline = f"{who} reached a reward of {shown(run.best)}"
    elif run.best > before:
        headline = f"{who} raised the reward from {shown(before)} to {shown(run.best)}"
    else:
        headline = f"{who} found nothing better than the {shown(before)} of the prior"
    stopped = f"Stopped: {run.result.get('stopped', 'no reason given')}." if run.result else "The run is not finished."
    versions = run.about.get("versions")
    version = versions.get("elites", "") if isinstance(versions, dict) else ""
    notes = [_on_shell(run)] if math.isfinite(run.of_best("shell")) else []
    notes += [ON_DISTANCE] if math.isfinite(run.last("distance")) else []
    return (
        f'<header><p class="above">{safe(run.path.resolve().name)} · Diffusion Elites {safe(version)}</p>'
        f"<h1>{headline}</h1><p>{_judged(run)} {safe(stopped)}</p>{_numbers(run)}"
        + "".join(f'<p class="note">{note}</p>' for note in notes)
        + "</header>"
    )


def _judged(run: Record) -> str:
    """What a judge that the search never sees says."""
    before, after = run.probe.get("judge", math.nan), run.last("judge")
    if not (math.isfinite(before) and math.isfinite(after)):
        return ""
    said = f"A judge that the search never sees goes from {shown(before)} to {shown(after)}"
    if run.best > run.probe.get("max", math.nan) and after <= before:
        return f"{said}, so it does not confirm the gain: look at the objects first."
    return f"{said}."


ON_DISTANCE = (
    "Distance to data is that from the best object to the nearest of the data, in units of what held-out data have: "
    "1 is like real data, well above 1 is unlike any of them, near 0 is a copy of one."
)


def _on_shell(run: Record) -> str:
    """How to read |z|^2/d, with the spread that the prior has where the dimension is known."""
    said = "|z|²/d is the squared length of the best object’s noise over its dimension: 1 is typical of the prior"
    if run.size:
        unit = math.sqrt(2 / run.size)
        away = abs(run.of_best("shell") - 1) / unit
        said += f" at d = {run.size:,}, give or take {unit:.2g}; this noise is {away:.1f} standard deviations off"
    return f"{said}. The network was never trained on noise that is far from 1."


def _numbers(run: Record) -> str:
    """The outcome as labelled numbers; what a run has none of is left out."""

    def probed(name: str) -> str:
        value = run.probe.get(name, math.nan)
        return f"{shown(value)} in the probe" if math.isfinite(value) else ""

    count, preview = run.probe.get("count", math.nan), run.final.get("preview", math.nan)
    rows = [
        ("best reward", shown(run.best), f"{shown(preview)} before full steps" if math.isfinite(preview) else ""),
        ("best prior sample", shown(run.probe.get("max", math.nan)), f"of {count:.0f}" if count > 0 else ""),
        ("held-out judge", shown(run.last("judge")), probed("judge")),
        ("|z|²/d", shown(run.of_best("shell")), probed("shell")),
        ("distance to data", shown(run.last("distance")), probed("distance")),
        ("network evaluations", shown(run.spent("nfe")), ""),
        ("rewards", shown(run.spent("rewards")), ""),
        ("seconds", shown(run.spent("seconds")), ""),
        ("failures", shown(run.failed), ""),
    ]
    cells = (
        f"<div><dt>{name}</dt><dd>{value}{f'<small>{note}</small>' if note else ''}</dd></div>"
        for name, value, note in rows
        if value != MISSING
    )
    return f'<dl class="numbers">{"".join(cells)}</dl>'


def _best(run: Record) -> str:
    """The best objects, or why there are none."""
    if not run.result:
        return "<p>They are written when the run ends.</p>"
    table = "".join(
        f"<tr><td>{i + 1}</td><td>{shown(number(reward))}</td><td>step {step}, candidate {candidate}</td></tr>"
        for i, (reward, (step, candidate)) in enumerate(zip(run.rewards, run.keys, strict=False))
    )
    return best_objects(run.path, run.rewards, run.keys) or (
        "<p>These objects are not images; they are in best.safetensors.</p>"
        + f'<div class="scroll"><table><tr><th>rank</th><th>reward</th><th>drawn at</th></tr>{table}</table></div>'
        if table
        else "<p>There are none.</p>"
    )


def _budget(run: Record) -> str:
    """What was spent of what was allowed."""
    given = run.about.get("budget")
    limits = given if isinstance(given, dict) else {}
    words = {"nfe": "network evaluations", "rewards": "rewards", "seconds": "seconds", "steps": "steps"}
    spent = {name: run.spent("step" if name == "steps" else name) for name in words}
    return bars([(word, spent[name], number(limits.get(name))) for name, word in words.items()])


def _probe(run: Record) -> str:
    """What the look at the reward before the first step found."""
    try:
        return f"<p>{safe(describe(run.probe).replace('+-', '±'))}</p>"
    except (KeyError, ValueError):
        return "<p>There was none.</p>"


def _failures(run: Record) -> str:
    """Failures by reason, the most frequent first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for failure in run.failures:
        key = f"({failure.get('step', '?')},\u00a0{failure.get('candidate', '?')})"
        groups[str(failure.get("reason", ""))].append(key)
    if not groups:
        return "<p>None.</p>" if not run.failed > 0 else f"<p>{shown(run.failed)}; their reasons are not known.</p>"
    most = sorted(groups.items(), key=lambda item: -len(item[1]))
    rows = "".join(
        f"<tr><td>{len(keys):,}</td><td><code>{safe(reason, 300)}</code></td>"
        f"<td>{safe(', '.join(keys[:KEYS]), 200)}{' …' if len(keys) > KEYS else ''}</td></tr>"
        for reason, keys in most[:REASONS]
    )
    more = f'<p class="note">and {len(most) - REASONS:,} more reasons</p>' if len(most) > REASONS else ""
    head = '<tr><th scope="col">count</th><th scope="col">reason</th><th scope="col">(step, candidate)</th></tr>'
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>{more}'


def _reproduce(run: Record) -> str:
    """All that defines the run, and the commands that do it again or go on."""
    about, folder = run.about, str(run.path)
    given = {name: v for name in ("budget", "versions") if isinstance(v := about.get(name), dict)}
    texts = {
        "seed": about.get("seed", "not known"),
        "method": about.get("method", "not known"),
        "target": about.get("target", "not known"),
        **{name: ", ".join(f"{k} {v}" for k, v in d.items() if v is not None) for name, d in given.items()},
        **({"study": about["study"]} if about.get("study") else {}),
    }
    facts = "".join(f"<dt>{name}</dt><dd><code>{safe(text)}</code></dd>" for name, text in texts.items())
    lines = []
    if about.get("study"):
        limits = given.get("budget", {})
        options = [("seed", about.get("seed")), *((name, limits.get(name)) for name in ("nfe", "seconds"))]
        words = [word for name, v in options if v is not None for word in (f"--{name}", str(v))]
        lines.append(shlex.join(["elites", "run", str(about["study"]), *words]))
    if not run.finished:
        go_on = shlex.join(["elites", "resume", folder])
        lines.append(go_on if about.get("study") else f"elites.resume({folder!r}, method, target)")
    commands = "\n".join(safe(line) for line in lines)
    return f'<dl class="facts">{facts}</dl>' + (f"<pre><code>{commands}</code></pre>" if lines else "")
