"""Where the winner comes from, as far as the run folder says: the steps at which the best so far improved."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .axes import brief, evenly, shown
from .charts import SIGN
from .gallery import look_of, shelf, tiles
from .record import Record
from .sheets import Sheet, Tile, read_sheet

__all__ = ["STYLE", "Ancestor", "ancestors", "chosen", "lineage"]

MOST = 14  # steps that are shown

STYLE = """
ol.lineage{list-style:none;margin:0;padding:0;display:grid;gap:0 1.6rem;
grid-template-columns:repeat(auto-fill,minmax(min(15rem,100%),1fr))}
.lineage li{display:grid;grid-template-columns:5.5rem minmax(0,1fr);gap:.9rem;padding:.8rem 0;align-items:start;
border-top:1px solid var(--line)}
.lineage img{width:100%;height:auto}
.lineage .drawn{width:100%}
.lineage .words{font-size:.85rem;margin-bottom:.5rem}
ol.lineage.texts li{grid-template-columns:minmax(0,1fr);gap:.4rem}
.lineage b{font-weight:600;font-size:1.05rem;font-variant-numeric:tabular-nums}
.lineage span{display:block;font-size:.8rem;line-height:1.4;color:var(--soft)}
.lineage .none{border:1px dashed var(--line);border-radius:.15rem;aspect-ratio:4/3}
.lineage .after{color:var(--warn)}
.after svg{width:.8rem;height:.8rem;vertical-align:-.08rem;margin-right:.15rem}
"""


@dataclass(frozen=True)
class Ancestor:
    """A best of its time: step, reward, key and drawing where the folder has them."""

    step: int
    reward: float
    key: tuple[int, int] | None
    tile: Tile | None
    final: bool = False


def lineage(run: Record) -> str:
    """The best so far, each time that it changed; empty if no step has one."""
    every = ancestors(run)
    if not every:
        return ""
    some = chosen(every, MOST)
    drawn = [(a.tile, _label(a)) for a in some if a.tile is not None]
    made = tiles([tile for tile, _ in drawn], [label for _, label in drawn], SIDES, letters=160)
    html = iter(made.html)
    items = ""
    for a, before in zip(some, [None, *some], strict=False):
        picture = '<div class="none" aria-hidden="true"></div>' if a.tile is None else next(html)
        items += f"<li><div>{picture}</div><div>{_told(a, before, run.alarm)}</div></li>"
    left = len(every) - len(some)
    count = f"The best so far changed at {len(every):,} steps" if len(every) > 1 else "The best has not changed since"
    more = f"; {len(some)} of them are shown" if left else ""
    notes = f"{count}{more}. The folder keeps no parents of a candidate: a line is a better one, not a child."
    look = look_of([tile for tile, _ in drawn])
    return f'<p class="note">{notes}</p><ol class="lineage {look}">{items}</ol>'


SIDES = (160, 112, 80)


def ancestors(run: Record) -> list[Ancestor]:
    """Each that was the best of its time, in their order."""
    files = shelf(run.path / "lineage")
    out: list[Ancestor] = []
    for step, reward in run.improvements:
        sheet = read_sheet(files[step]) if step in files else None
        told = sheet.rewards[0] if sheet and sheet.rewards else math.nan
        if not math.isclose(told, reward, rel_tol=1e-5, abs_tol=1e-30):
            sheet = None  # of a step that was done again since
        out.append(Ancestor(step, reward, sheet.key(0) if sheet else None, sheet.tiles[0] if sheet else None))
    if run.result and out and math.isfinite(run.best):
        won = _winner(run)
        key, tile = (won.key(0), won.tiles[0]) if won else (None, None)
        if not run.final:
            out[-1] = Ancestor(out[-1].step, out[-1].reward, key or out[-1].key, tile or out[-1].tile)
        else:
            out.append(Ancestor(out[-1].step, run.best, key, tile, final=True))
    return out


def _winner(run: Record) -> Sheet | None:
    """The drawing and the key of the first of the best."""
    first = shelf(run.path / "best").get(0)
    sheet = read_sheet(run.path / "best" / "objects.json" if first is None else first)
    if sheet is None or first is None:
        return sheet
    keys = [(key[0], key[1]) for key in run.keys[:1]]
    return Sheet(sheet.tiles, run.rewards[:1], keys)


def chosen(every: list[Ancestor], most: int) -> list[Ancestor]:
    """At most `most`: the first, the last, and of the others those that are drawn, spread evenly."""
    if len(every) <= most:
        return every
    inner = [a for a in every[1:-1] if a.tile is not None] or every[1:-1]
    return [every[0], *evenly(inner, most - 2), every[-1]]


def _label(a: Ancestor) -> str:
    return f"best so far at {_when(a)}, reward {shown(a.reward)}"


def _when(a: Ancestor) -> str:
    return "the probe" if a.step == 0 else f"step {a.step:,}"


def _told(a: Ancestor, before: Ancestor | None, alarm: float) -> str:
    """The words of one, and what it gained over the one before it."""
    when = "rendered at full steps" if a.final else "prior sample" if a.step == 0 else f"step {a.step:,}"
    if a.key:
        step, candidate = a.key
        when += f", candidate {candidate:,}" + (f" of step {step:,}" if step != a.step else "")
    gain = "" if before is None else f"{'+' if a.reward >= before.reward else ''}{brief(a.reward - before.reward)}"
    lines = [f"<b>{shown(a.reward)}</b>", f"<span>{when}</span>", f"<span>{gain}</span>" if gain else ""]
    lines.append(f'<span class="after">{SIGN} after the alarm</span>' if a.step >= alarm else "")
    return "".join(lines)
