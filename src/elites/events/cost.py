"""What a run has cost, of what it was allowed, and where the time went as far as it is known."""

from __future__ import annotations

import math

from .axes import brief, number, scrolling
from .charts import bars
from .record import Record

__all__ = ["STYLE", "cost"]

STYLE = """
.split{display:flex;height:.9rem;max-width:46rem;margin:2rem 0 .5rem;border-radius:.1rem;overflow:hidden;
background:var(--line)}
.split i{background:var(--accent)}
.split i+i{background:repeating-linear-gradient(-45deg,var(--ink) 0 2px,var(--paper) 2px 5px)}
p.parts{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.85rem}
.parts span::before{content:"";display:inline-block;width:.8rem;height:.8rem;margin-right:.45rem;
vertical-align:-.06rem;background:var(--accent);border-radius:.1rem}
.parts span+span::before{background:repeating-linear-gradient(-45deg,var(--ink) 0 2px,var(--paper) 2px 5px)}
@media (forced-colors:active){.split i,.parts span::before{forced-color-adjust:none}}
"""


def cost(run: Record) -> str:
    """What was spent of what was allowed, how fast, and how an object's time splits between network and reward."""
    given = run.about.get("budget")
    limits = given if isinstance(given, dict) else {}
    words = {"nfe": "network evaluations", "rewards": "rewards", "seconds": "seconds", "steps": "steps"}
    spent = {name: run.spent("step" if name == "steps" else name) for name in words}
    rows = [(word, spent[name], number(limits.get(name))) for name, word in words.items()]
    if (grads := run.last("grads")) > 0:
        rows.append(("gradients", grads, math.nan))
    return scrolling("What was spent", bars(rows)) + _split(run) + _rates(spent)


def _split(run: Record) -> str:
    """The time of an object in the probe, in its two parts."""
    network, reward = (run.probe.get(f"{name}_seconds", math.nan) for name in ("network", "reward"))
    whole = network + reward
    if not (whole > 0 and min(network, reward) >= 0):
        return ""
    share = 100 * network / whole
    return (
        f'<div class="split" aria-hidden="true"><i style="width:{share:.1f}%"></i>'
        f'<i style="width:{100 - share:.1f}%"></i></div>'
        f'<p class="parts"><span>network: {_time(network)} an object, {share:.0f} %</span>'
        f"<span>reward: {_time(reward)} an object, {100 - share:.0f} %</span></p>"
        '<p class="note">As the probe found it, before the first step.</p>'
    )


def _rates(spent: dict[str, float]) -> str:
    """How fast it went, in words."""
    said = []
    if spent["rewards"] > 0 and spent["seconds"] > 0:
        said.append(f"{brief(spent['rewards'] / spent['seconds'])} objects a second")
    if spent["rewards"] > 0 and spent["nfe"] > 0:
        said.append(f"{brief(spent['nfe'] / spent['rewards'])} network evaluations a reward")
    return f'<p class="note">In all: {", ".join(said)}.</p>' if said else ""


def _time(seconds: float) -> str:
    """Seconds for people."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{1e9 * seconds:.3g} ns"
