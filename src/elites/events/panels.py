"""The panels of a run: each is a function that makes HTML of a record, for the report and for the live page alike."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from ..probe import describe
from . import charts, gallery, sketches
from . import cost as costs
from . import evidence as readings
from . import lineage as lineages
from .axes import number, safe, scrolling, shown
from .cost import cost
from .curves import evidence_curves, judge_curve, reward_curve
from .evidence import evidence
from .gallery import best_objects, contact_sheet
from .lineage import lineage
from .record import Record

__all__ = ["PANELS", "STYLE", "Panel", "panels"]

Panel = Callable[[Record], str]
STYLE = "".join(module.STYLE for module in (charts, sketches, gallery, lineages, readings, costs))  # beside the page's
MINUS = re.compile(r"-(?=\d)")
REASONS, KEYS = 20, 5  # most reasons of failure, and keys of each


def panels(run: Record) -> dict[str, tuple[str, str]]:
    """Title and HTML of each panel by its id, in the order of a report; those with nothing to say are left out.

    The HTML has no heading of its own, and every string in it that comes from a user is escaped.
    """
    made = ((name, title, panel(run)) for name, (title, panel) in PANELS.items())
    return {name: (title, html) for name, title, html in made if html}


def _best(run: Record) -> str:
    """The best objects, or why there are none."""
    made = best_objects(run)
    if made or not run.result:
        return made or "<p>They are written when the run ends.</p>"
    table = "".join(
        f'<tr><th scope="row">{i}</th><td>{shown(number(reward))}</td><td>step {step}, candidate {candidate}</td></tr>'
        for i, (reward, (step, candidate)) in enumerate(zip(run.rewards, run.keys, strict=False), 1)
    )
    head = '<tr><th scope="col">rank</th><th scope="col">reward</th><th scope="col">drawn at</th></tr>'
    return (
        "<p>They are not drawn; they are in best.safetensors.</p>"
        + scrolling("Best objects", f"<table><thead>{head}</thead><tbody>{table}</tbody></table>")
        if table
        else "<p>There are none.</p>"
    )


def _probe(run: Record) -> str:
    """What the look at the reward before the first step found."""
    try:
        return f"<p>{safe(MINUS.sub('−', describe(run.probe).replace('+-', '±')))}</p>"
    except (KeyError, ValueError):
        return "<p>There was none.</p>"


def _failures(run: Record) -> str:
    """Failures by reason, the most frequent first."""
    groups = run.reasons
    if not groups:
        return "<p>None.</p>" if not run.failed > 0 else f"<p>{shown(run.failed)}; their reasons are not known.</p>"
    some = {reason: [f"({s},\u00a0{c})" for s, c in groups[reason][:KEYS]] for reason in list(groups)[:REASONS]}
    rows = "".join(
        f"<tr><td>{len(groups[reason]):,}</td><td><code>{safe(reason, 300)}</code></td>"
        f"<td>{safe(', '.join(keys), 200)}{' …' if len(groups[reason]) > KEYS else ''}</td></tr>"
        for reason, keys in some.items()
    )
    more = f'<p class="note">and {len(groups) - REASONS:,} more reasons</p>' if len(groups) > REASONS else ""
    head = '<tr><th scope="col">count</th><th scope="col">reason</th><th scope="col">(step, candidate)</th></tr>'
    return scrolling("Failures by reason", f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>") + more


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
    return f'<dl class="facts">{facts}</dl>' + (f'<pre tabindex="0"><code>{commands}</code></pre>' if lines else "")


def _reward(run: Record) -> str:
    """The rewards of each step."""
    return reward_curve(run) or "<p>No step has a reward yet.</p>"


PANELS: dict[str, tuple[str, Panel]] = {
    "best": ("Best objects", _best),
    "evidence": ("Evidence", evidence),
    "reward": ("Reward", _reward),
    "judge": ("Judge against reward", judge_curve),
    "curves": ("Evidence along the way", evidence_curves),
    "lineage": ("Lineage of the winner", lineage),
    "steps": ("Best by step", contact_sheet),
    "cost": ("Cost", cost),
    "probe": ("Probe of the prior", _probe),
    "failures": ("Failures", _failures),
    "reproduce": ("How to reproduce", _reproduce),
}
"""Title and function of each panel by its id, in the order of a report."""
