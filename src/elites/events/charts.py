"""Charts of a report: SVG and HTML, without scripts.

The curves of a chart are an SVG that stretches with its frame; ticks are text around it, so that they keep their size
from a phone to a wide screen. Values that are not finite are gaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .axes import Axis, safe, shown, thinned

__all__ = ["SIGN", "STYLE", "Band", "Line", "bars", "chart"]

SIDE = 1000.0  # of the coordinates inside a plot

SIGN = (  # a triangle with an exclamation mark: the shape says what the colour says
    '<svg viewBox="0 0 20 20" aria-hidden="true"><path class="triangle" d="M10 1.5L19.5 18.5H.5Z"/>'
    '<path class="cut" d="M10 7v5M10 15.4h.01"/></svg>'
)
STYLE = """
figure.chart{margin:0;min-width:0}
.chart figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;align-items:baseline;margin-bottom:.9rem}
.chart figcaption b{font-weight:600;flex-basis:100%;min-width:0;overflow-wrap:anywhere}
.chart+.note{margin-top:1.4rem}
.key{color:var(--soft);font-size:.82rem;white-space:nowrap}
.key svg{width:1.5rem;height:.7rem;margin-right:.4rem;vertical-align:-.05rem}
.frame{position:relative;height:14rem;font-size:.75rem;color:var(--soft);font-variant-numeric:tabular-nums}
.tall .frame{height:20rem}
.square{max-width:30rem}
.square .frame{height:min(26rem,80vw)}
.plot{position:absolute;left:var(--gutter);right:.6rem;top:.5rem;bottom:2.3rem}
.named .plot{top:1.4rem}
.plot svg{position:absolute;inset:0;width:100%;height:100%}
.plot span{position:absolute;line-height:1;white-space:nowrap}
.plot .y{right:calc(100% + .45rem);transform:translateY(50%)}
.plot .x{top:calc(100% + .45rem);transform:translateX(-50%)}
.plot .of-y{left:calc(.2rem - var(--gutter));bottom:calc(100% + .5rem)}
.plot .of-x{right:0;top:calc(100% + 1.55rem)}
svg path{fill:none;stroke-width:1.5;vector-effect:non-scaling-stroke;stroke-linejoin:round;stroke-linecap:round}
path.grid{stroke:var(--line);stroke-width:1}
path.level{stroke:var(--soft);stroke-dasharray:5 4;stroke-linecap:butt}
path.main{stroke:var(--accent);stroke-width:2.25}
path.thin{stroke:var(--accent);stroke-width:1;stroke-opacity:.75}
path.ink{stroke:var(--ink)}
path.band{fill:var(--ink);fill-opacity:.13;stroke:none}
path.post{stroke:var(--warn);stroke-width:2;stroke-linecap:butt}
.plot .sign{bottom:calc(100% + .15rem);transform:translateX(-50%)}
.sign svg,.mark svg{display:block;width:1em;height:1em;position:static}
.sign svg{width:.95rem;height:.95rem}
svg path.triangle{fill:var(--warn);stroke:none}
svg path.cut{stroke:var(--paper);stroke-width:2}
path.dots{stroke:var(--accent);stroke-width:5}
path.end{stroke:var(--accent);stroke-width:11}
path.ring{stroke:var(--soft);stroke-width:11}
path.hole{stroke:var(--paper);stroke-width:6}
path.final{stroke:var(--ink);stroke-width:10;stroke-linecap:square}
table.bars{border-collapse:collapse;width:100%;max-width:46rem}
.bars th,.bars td{border:0;padding:.45rem .9rem .45rem 0;vertical-align:middle;white-space:nowrap}
.bars td{text-align:right}
.bars td:last-child{padding-right:0}
.bars td.bar{width:100%;min-width:4rem}
.bars td.bar div{background:var(--line);height:.55rem;border-radius:.1rem}
.bars td.bar i{display:block;height:100%;background:var(--accent);border-radius:.1rem}
@media (max-width:34rem){.bars td.bar{min-width:2.5rem}.bars th,.bars td{padding-right:.5rem;font-size:.85rem}}
"""


@dataclass(frozen=True)
class Line:
    """A curve, or dots; `look` is a class of the style."""

    name: str
    look: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False

    def path(self, across: Axis, up: Axis) -> str:
        """The data of its path; a value alone between gaps is a dot."""
        pieces = _pieces(self.x, self.y)
        if self.dots:
            pieces = [[point] for piece in pieces for point in piece]
        return "".join(_trace(piece, across, up) + ("h.01" if len(piece) == 1 else "") for piece in pieces)

    def swatch(self) -> str:
        """The data of its path in a legend, in a box of 24 by 10."""
        return "M12 5h.01" if self.dots else "M1 5h22"

    def said(self) -> str:
        """Where it begins and ends, in words."""
        good = [v for v in self.y if math.isfinite(v)]
        if not good:
            return f"{self.name}: no values"
        return f"{self.name or 'values'}: {shown(good[0])}" + (f" to {shown(good[-1])}" if len(good) > 1 else "")


@dataclass(frozen=True)
class Band:
    """The area between two curves."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    look: str = "band"

    def path(self, across: Axis, up: Axis) -> str:
        """The data of its path."""
        both = [h if math.isfinite(lo) else math.nan for lo, h in zip(self.low, self.high, strict=True)]
        out = ""
        for top in _pieces(self.x, both):
            inside = [i for i, x in enumerate(self.x) if top[0][0] <= x <= top[-1][0] and math.isfinite(self.low[i])]
            bottom = [(self.x[inside[k]], self.low[inside[k]]) for k in thinned([self.low[i] for i in inside])]
            out += _trace(top, across, up) + "L" + _trace(bottom[::-1], across, up)[1:] + "Z"
        return out

    def swatch(self) -> str:
        """The data of its path in a legend, in a box of 24 by 10."""
        return "M1 0h22v10h-22Z"

    def said(self) -> str:
        """What it is, in words."""
        return self.name


def _pieces(x: Sequence[float], y: Sequence[float]) -> list[list[tuple[float, float]]]:
    """The curve thinned and cut at its gaps."""
    out: list[list[tuple[float, float]]] = [[]]
    for i in thinned(y):
        if math.isfinite(x[i]) and math.isfinite(y[i]):
            out[-1].append((x[i], y[i]))
        elif out[-1]:
            out.append([])
    return [piece for piece in out if piece]


def _trace(points: Sequence[tuple[float, float]], across: Axis, up: Axis) -> str:
    return "M" + "L".join(f"{SIDE * across.place(x):.1f} {SIDE * (1 - up.place(y)):.1f}" for x, y in points)


def _path(look: str, data: str) -> str:
    """A path; a ring has a hole."""
    hole = f'<path class="hole" d="{data}"/>' if look == "ring" else ""
    return f'<path class="{look}" d="{data}"/>{hole}'


def chart(
    title: str,
    marks: Sequence[Line | Band],
    across: Axis,
    up: Axis,
    *,
    size: str = "",
    levels: Sequence[tuple[str, float]] = (),
    posts: Sequence[tuple[str, float]] = (),
    diagonal: str = "",
) -> str:
    """A figure of lines and bands.

    Arguments:
        title: what it shows.
        marks: from back to front.
        across, up: the axes.
        size: a class of the style, `tall` or `square`, of a chart alone under a heading that is its title.
        levels: names and values of dashed horizontal lines.
        posts: names and places of vertical lines, with a mark on top.
        diagonal: name of the dashed line where both axes are equal; empty for none.
    """
    lines = [Line(name, "level", [across.low, across.high], [v, v]) for name, v in levels if math.isfinite(v)]
    if diagonal:
        lines.append(Line(diagonal, "level", [across.low, across.high], [across.low, across.high]))
    drawn = [m for m in (*lines, *marks) if m.path(across, up)]
    ys, xs = up.ticks(), across.ticks(7)
    grid = "".join(f"M0 {SIDE * (1 - up.place(v)):.1f}h{SIDE:.0f}" for v, _ in ys)
    paths = "".join(_path(m.look, m.path(across, up)) for m in drawn)
    there = [(name, x) for name, x in posts if across.low <= x <= across.high]
    for _, x in there:
        at = SIDE * across.place(x)
        paths += f'<path class="post" d="M{at:.1f} 0v{SIDE:.0f}"/>'
    said = [f"{name} at {shown(x)}" for name, x in there]
    label = ". ".join([title, *(m.said() for m in drawn if m not in lines), *said])
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 24 10" aria-hidden="true">{_path(m.look, m.swatch())}</svg>'
        f"{safe(m.name)}</span>"
        for m in [*(m for m in drawn if m not in lines), *lines]
        if m.name
    )
    keys += "".join(
        f'<span class="key"><svg viewBox="0 0 24 10" aria-hidden="true"><path class="post" d="M12 0v10"/></svg>'
        f"{safe(name)} at {safe(across.label)} {shown(x)}</span>"
        for name, x in there
    )
    ticks = "".join(f'<span class="y" style="bottom:{100 * up.place(v):.2f}%">{t}</span>' for v, t in ys)
    ticks += "".join(f'<span class="x" style="left:{100 * across.place(v):.2f}%">{t}</span>' for v, t in xs)
    ticks += f'<span class="of-y">{safe(up.label)}</span><span class="of-x">{safe(across.label)}</span>'
    head = "" if size else f"<b>{safe(title)}</b>"
    ticks += "".join(f'<span class="sign" style="left:{100 * across.place(x):.2f}%">{SIGN}</span>' for _, x in there)
    named = " named" if up.label or there else ""
    gutter = max((len(t) for _, t in ys), default=1)
    return (
        f'<figure class="chart {size}{named}"><figcaption>{head}{keys}</figcaption>'
        f'<div class="frame" style="--gutter:calc({gutter}ch + .7rem)"><div class="plot">'
        f'<svg viewBox="0 0 {SIDE:.0f} {SIDE:.0f}" preserveAspectRatio="none" role="img" aria-label="{safe(label)}">'
        f'<path class="grid" d="{grid}"/>{paths}</svg><div aria-hidden="true">{ticks}</div></div></div></figure>'
    )


def bars(rows: Sequence[tuple[str, float, float]]) -> str:
    """Names, what was spent, and the limits (NaN for none) as bars."""
    out = ""
    for name, spent, limit in rows:
        part = min(max(spent / limit, 0.0), 1.0) if limit > 0 and math.isfinite(spent) else math.nan
        bar = f'<div aria-hidden="true"><i style="width:{100 * part:.1f}%"></i></div>' if part == part else ""
        of = f"of {shown(limit)}" if math.isfinite(limit) else "no limit"
        out += (
            f'<tr><th scope="row">{safe(name)}</th><td class="bar">{bar}</td><td>{shown(spent)}</td><td>{of}</td></tr>'
        )
    return f'<table class="bars">{out}</table>'
