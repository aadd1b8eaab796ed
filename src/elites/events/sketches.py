"""Packed drawings as HTML: paths and time series as SVG, molecules where RDKit is there, text as text.

Drawings are read from files that strangers may have written: numbers are made numbers, and words are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .axes import number, safe, shown, thinned
from .molecules import outline

__all__ = ["STYLE", "Box", "box", "boxes", "drawn_as", "legend", "lines_of", "names_of", "scale", "sketch", "told"]

MOST, LINES = 400, 8  # points of a line, and lines of a drawing
ROOMY = 50  # points of a line from which there is room for molecules
FEW = 24  # drawings that all fit into their frame
WIDE, HIGH, EDGE = 200.0, 150.0, 8.0  # of a path, with the margin around it
LOW = 90.0  # height of time series

Line = list[tuple[float, float]]
Box = tuple[float, float, float, float]  # least x, least y, greatest x, greatest y

STYLE = """
.drawn{display:block;width:100%;height:auto;background:var(--field);border-radius:.15rem}
.drawn path{stroke-width:1.6;stroke:var(--ink)}
.drawn .l0{stroke:var(--accent)}
.drawn .l1{stroke-width:1.1}
.drawn .l2{stroke-dasharray:5 3;stroke-linecap:butt;stroke-width:1.3}
.drawn .l3{stroke-dasharray:1 3;stroke-width:1.8}
.drawn .l4{stroke:var(--accent);stroke-dasharray:9 3 2 3;stroke-linecap:butt}
.drawn .l5{stroke:var(--soft);stroke-width:2.4;stroke-opacity:.7}
.drawn .l6{stroke:var(--accent);stroke-dasharray:1 4;stroke-width:2.2}
.drawn .l7{stroke:var(--soft);stroke-dasharray:12 4;stroke-linecap:butt}
.drawn .from{stroke:var(--ink);stroke-width:1.4;fill:var(--paper)}
.drawn .to{stroke:none;fill:var(--ink)}
.drawn .bonds{stroke:var(--ink);stroke-width:1.3}
.drawn .atoms{stroke:none;fill:var(--ink)}
.words{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;border-left:2px solid var(--line);
padding:.1rem 0 .1rem .8rem;font-size:.95rem}
.words[dir=rtl]{border:0}
.words+small{display:block;font-size:.75rem;color:var(--soft)}
code.words{font-size:.8rem;display:block}
.smiles{display:block;font-size:.7rem;color:var(--soft);overflow-wrap:anywhere}
p.legend{margin:0 0 1.1rem;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;max-width:none}
.legend .drawn{display:inline-block;background:none;width:1.5rem}
"""


def drawn_as(drawing: dict[str, Any]) -> str:
    """The kind of a drawing: what is not known is code."""
    kind = drawing.get("kind")
    return kind if kind in ("trajectory", "series", "molecule", "text") else "code"


def told(drawing: dict[str, Any]) -> str:
    """A drawing in a few words, for those who do not see it."""
    kind, steps = drawn_as(drawing), shown(number(drawing.get("steps")))
    if kind == "trajectory":
        lines = lines_of(drawing)
        ends = [f"({shown(x)}, {shown(y)})" for line in lines[:1] for x, y in (line[0], line[-1])]
        many = f"{len(lines)} paths" if len(lines) != 1 else "a path"
        return f"{many} of {steps} points" + (f" from {ends[0]} to {ends[1]}" if ends and len(lines) == 1 else "")
    if kind == "series":
        return f"{len(lines_of(drawing))} time series of {steps} steps"
    return f"molecule {drawing.get('smiles', '')}" if kind == "molecule" else "text"


def box(drawings: Iterable[dict[str, Any]]) -> Box:
    """What holds the lines of drawings, so that they can be compared; of many, the few that go farthest are cut."""
    sides: list[list[float]] = [[], [], [], []]
    for it in drawings:
        if points := [point for line in lines_of(it) for point in line]:
            xs, ys = zip(*points, strict=True)
            for side, value in zip(sides, (min(xs), min(ys), max(xs), max(ys)), strict=True):
                side.append(value)
    if not sides[0]:
        return 0.0, 0.0, 1.0, 1.0
    cut = len(sides[0]) // 12 if len(sides[0]) > FEW else 0
    x0, y0 = (sorted(side)[cut] for side in sides[:2])
    x1, y1 = (sorted(side)[-1 - cut] for side in sides[2:])
    return x0, y0, max(x0, x1), max(y0, y1)


def boxes(drawings: Sequence[dict[str, Any]]) -> dict[str, Box]:
    """The box of the drawings of each kind."""
    return {k: box(d for d in drawings if drawn_as(d) == k) for k in set(map(drawn_as, drawings))}


def scale(drawings: Sequence[dict[str, Any]], frame: Box) -> str:
    """What the frame of drawings spans, in words; empty if they have none."""
    kinds = {drawn_as(it) for it in drawings} & {"trajectory", "series"}
    if not kinds:
        return ""
    x0, y0, x1, y1 = map(shown, frame)
    cut = " What goes farther is cut." if len(drawings) > FEW else ""
    if kinds == {"series"}:
        return f"All frames span {y0} to {y1}, and {x0} to {x1} steps.{cut}"
    return (
        f"All frames span {x0} to {x1} across and {y0} to {y1} up; a ring is where a path begins, a dot its end.{cut}"
    )


def names_of(drawings: Sequence[dict[str, Any]]) -> list[str]:
    """What the lines of time series are; empty if there are not several."""
    first = next((it for it in drawings if drawn_as(it) == "series"), {})
    count = len(lines_of(first)) if first else 0
    given = first.get("names")
    names = [str(n) for n in given] if isinstance(given, list) else []
    return [names[i] if i < len(names) else f"column {i + 1}" for i in range(count)] if count > 1 else []


def legend(drawings: Sequence[dict[str, Any]]) -> str:
    """What the lines of time series are, if there are several."""
    keys = "".join(
        f'<span class="key"><svg class="drawn" viewBox="0 0 24 10" aria-hidden="true"><path class="l{i}" d="M1 5h22"/>'
        f"</svg>{safe(name, 80)}</span>"
        for i, name in enumerate(names_of(drawings))
    )
    return f'<p class="legend">{keys}</p>' if keys else ""


def sketch(drawing: dict[str, Any], frame: Box, label: str, letters: int = 1_500, points: int = MOST) -> str:
    """HTML of a drawing.

    Arguments:
        drawing: as it is packed.
        frame: what its lines are drawn in.
        label: what it is, in words.
        letters: most of a text.
        points: most of a line; where there is no room for many, a molecule is its SMILES alone.
    """
    kind = drawn_as(drawing)
    if kind == "trajectory":
        return _svg(_paths(lines_of(drawing, points), frame), HIGH, f"{label}: {told(drawing)}")
    if kind == "series":
        return _svg(_curves(lines_of(drawing, points), frame), LOW, f"{label}: {told(drawing)}")
    if kind == "molecule":
        return _molecule(str(drawing.get("smiles", "")), label, letters, points >= ROOMY)
    words = str(drawing.get("words", ""))
    more = max(number(drawing.get("letters")), len(words)) - letters
    note = f"<small>and {shown(more)} more letters</small>" if more > 0 else ""
    if kind == "text":
        return f'<p class="words" dir="auto">{safe(words, letters, lines=True)}</p>{note}'
    return f'<code class="words">{safe(words, letters)}</code>{note}'


def _molecule(smiles: str, label: str, letters: int, whole: bool) -> str:
    bonds, atoms = outline(smiles) if whole else ("", "")
    name = f'<code class="smiles">{safe(smiles, max(letters // 6, 20))}</code>'
    if not bonds and not atoms:
        return f'<code class="words">{safe(smiles, letters)}</code>'
    inside = f'<path class="bonds" d="{bonds}"/>' + (f'<path class="atoms" d="{atoms}"/>' if atoms else "")
    return _svg(inside, HIGH, f"{label}: molecule {smiles[:200]}") + name


def _svg(inside: str, high: float, label: str) -> str:
    size = f'viewBox="0 0 {WIDE:.0f} {high:.0f}"'
    return f'<svg class="drawn" {size} role="img" aria-label="{safe(label, 300)}">{inside}</svg>'


def _paths(lines: Sequence[Line], frame: Box) -> str:
    """Paths in one scale for both axes, with a ring where each begins and a dot where it ends."""
    x0, y0, x1, y1 = frame
    unit = min((WIDE - 2 * EDGE) / ((x1 - x0) or 1e-9), (HIGH - 2 * EDGE) / ((y1 - y0) or 1e-9))
    unit = 1.0 if unit > 1e8 else unit  # everything is in one point
    left, top = (WIDE - unit * (x1 - x0)) / 2, (HIGH + unit * (y1 - y0)) / 2
    out = ""
    for i, line in enumerate(lines):
        at = [(left + unit * (x - x0), top - unit * (y - y0)) for x, y in line]
        out += f'<path class="l{i}" d="{_trace(at)}"/>'
        for look, (x, y), r in (("from", at[0], 3.6), ("to", at[-1], 3.4)):
            out += f'<path class="{look}" d="M{x - r:.1f} {y:.1f}{_round(r)}"/>'
    return out


def _curves(lines: Sequence[Line], frame: Box) -> str:
    """Time series in the whole frame."""
    x0, y0, x1, y1 = frame
    across, up = (WIDE - 8) / ((x1 - x0) or 1.0), (LOW - 12) / ((y1 - y0) or 1.0)
    level = 0.0 if y1 > y0 else (LOW - 12) / 2
    out = ""
    for i, line in enumerate(lines):
        at = [(4 + across * (x - x0), LOW - 6 - level - up * (y - y0)) for x, y in line]
        out += f'<path class="l{i}" d="{_trace(at)}"/>'
    return out


def _trace(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("h.01" if len(points) == 1 else "")


def _round(r: float) -> str:
    """A circle of radius r from its leftmost point, by four curves."""
    k = 0.5523 * r
    turns = ((0, -k, r - k, -r, r, -r), (k, 0, r, r - k, r, r), (0, k, k - r, r, -r, r), (-k, 0, -r, k - r, -r, -r))
    return "".join("c" + " ".join(f"{v:.1f}" for v in turn) for turn in turns) + "z"


def lines_of(drawing: dict[str, Any], most: int = MOST) -> list[Line]:
    """The lines of a drawing, without what is no number; thinned, with the peaks of time series kept."""
    given = drawing.get("lines") if drawn_as(drawing) in ("trajectory", "series") else []
    out = []
    for pair in given[:LINES] if isinstance(given, list) else []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, list) for part in pair)):
            continue
        points = [(number(x), number(y)) for x, y in zip(pair[0][:MOST], pair[1][:MOST], strict=False)]
        if line := [p for p in points if math.isfinite(p[0]) and math.isfinite(p[1])]:
            last = len(line) - 1
            even = sorted({round(i * last / (most - 1)) for i in range(most)}) if last >= most else range(last + 1)
            some = thinned([y for _, y in line], most) if drawn_as(drawing) == "series" else even
            out.append([line[i] for i in some])
    return out
