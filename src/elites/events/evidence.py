"""How real the winners are: a line for each reading, and what is to be said first."""

from __future__ import annotations

import math
import re

from ..types import Reading
from .axes import MISSING, brief, number, safe, shown
from .charts import SIGN
from .record import Record

__all__ = ["STYLE", "evidence", "notice", "warnings_of"]

STYLE = """
ul.readings{list-style:none;margin:0;padding:0}
.readings li{display:grid;grid-template-columns:1.4rem minmax(7rem,11rem) minmax(0,1fr) 10.5rem;gap:0 1rem;
align-items:baseline;padding:.7rem 0;border-top:1px solid var(--line)}
.readings li:first-child{border-top:0}
.readings .name{font-weight:600;overflow-wrap:anywhere}
.readings .says{overflow-wrap:anywhere}
.readings .rank{font-size:.75rem;color:var(--soft);font-variant-numeric:tabular-nums}
.rank .track{display:block;position:relative;height:.5rem;background:var(--line);margin-bottom:.25rem}
.track i{position:absolute;left:0;top:0;bottom:0;background:var(--accent);border-radius:.1rem;min-width:3px}
.warns .track i{background:repeating-linear-gradient(-45deg,var(--warn) 0 3px,var(--paper) 3px 5px)}
.mark{color:var(--warn);align-self:start;padding-top:.22rem}
.readings .mark{padding-top:.32rem}
.mark svg{width:1.05rem;height:1.05rem}
.tag{font-weight:600;color:var(--warn)}
.notice{display:grid;grid-template-columns:1.5rem minmax(0,1fr);gap:.9rem;border:1px solid var(--warn);
border-left-width:.35rem;border-radius:.2rem;padding:1rem 1.2rem;margin:1.6rem 0 0;max-width:46rem}
.notice p{margin:0 0 .4rem}
.notice p:last-child{margin:0}
.notice .mark svg{width:1.4rem;height:1.4rem}
@media (max-width:44rem){.readings li{grid-template-columns:1.4rem minmax(0,1fr);gap:.15rem .6rem}
.readings .says,.readings .rank{grid-column:2}.readings .rank{padding-top:.3rem;max-width:12rem}}
@media (forced-colors:active){.track{border:1px solid}.track i{background:CanvasText}}
"""
LEAD = re.compile(r"\s*([-−+]?\d[\d,.]*(?:e[-−+]?\d+)?)(?=\s*[:;,%]|\s|$)")


def evidence(run: Record) -> str:
    """A line for each reading; empty if there are none and there will be none."""
    readings = run.evidence
    if not readings:
        return "" if run.result else "<p>It is read when the run ends; the curves below show what is known so far.</p>"
    items = "".join(map(_line, readings))
    note = (
        "A bar is the share of prior samples that look less real than the best object: short is suspicious, and about "
        "half is what a prior sample has."
    )
    return f'<ul class="readings">{items}</ul><p class="note">{note}</p>'


def warnings_of(run: Record) -> list[Reading]:
    """The readings that warn, without the alarm itself."""
    return [r for r in run.evidence if r.warns and r.name != "alarm"]


def notice(run: Record) -> str:
    """What a reader must know before anything else: that the alarm rang, and what warns; empty if nothing does."""
    said = []
    if math.isfinite(run.alarm):
        said.append(
            f"<p><b>The hacking alarm rang at step {shown(run.alarm)}.</b> From there on the reward rose while the "
            "evidence left the range of prior samples: what was found later may please the reward alone.</p>"
        )
        alarms = [r.says for r in run.evidence if r.name == "alarm" and r.says]
        said += [f"<p>{safe(w[:1].upper() + w[1:].rstrip('.'), 600)}.</p>" for w in alarms]
    if names := [safe(r.name, 60) for r in warnings_of(run)]:
        many = f"{len(names)} of {len(run.evidence)} readings warn" if len(names) > 1 else "A reading warns"
        said.append(
            f"<p><b>{many}:</b> {', '.join(names[:12])}. Look at the objects before you believe the reward.</p>"
        )
    if not said:
        return ""
    mark, words = f'<div class="mark">{SIGN}</div>', f"<div>{''.join(said)}</div>"
    return f'<div class="notice" role="note" aria-label="Warning">{mark}{words}</div>'


def _line(r: Reading) -> str:
    """One reading: a mark if it warns, its name, the number in words, and its place among prior samples."""
    mark = f'<div class="mark">{SIGN}</div>' if r.warns else "<div></div>"
    says = r.says.strip()
    lead = LEAD.match(says)
    said = lead is not None and _close(number(lead[1].replace(",", "").replace("−", "-")), r.value)
    value = "" if said or not math.isfinite(r.value) or r.name == "alarm" else f"{brief(r.value)}: "
    warned = '<span class="tag">Warning.</span> ' if r.warns else ""
    return (
        f'<li class="{"warns" if r.warns else "fine"}">{mark}<div class="name">{safe(r.name, 80)}</div>'
        f'<div class="says">{warned}{value}{safe(says, 600)}</div>{_rank(r.quantile)}</li>'
    )


def _rank(quantile: float) -> str:
    """A small bar, with its number."""
    if not 0 <= quantile <= 1:
        return f'<div class="rank"><span aria-hidden="true">{MISSING}</span></div>'
    share = "under 1 %" if quantile < 0.01 else "over 99 %" if quantile > 0.99 else f"{100 * quantile:.0f} %"
    bar = f'<span class="track" aria-hidden="true"><i style="width:{100 * quantile:.1f}%"></i></span>'
    return f'<div class="rank">{bar}{share} look less real</div>'


def _close(a: float, b: float) -> bool:
    return math.isfinite(a) and math.isclose(a, b, rel_tol=0.02, abs_tol=1e-3)
