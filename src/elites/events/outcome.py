"""The outcome of a run in a sentence and in numbers: the head of its report."""

from __future__ import annotations

import math

from .axes import MISSING, safe, shown
from .evidence import notice
from .record import Record

__all__ = ["outcome"]


def outcome(run: Record) -> str:
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
    if math.isfinite(run.alarm):
        headline += f", and the hacking alarm rang at step {shown(run.alarm)}"
    stopped = f"Stopped: {run.result.get('stopped', 'no reason given')}." if run.result else "The run is not finished."
    versions = run.about.get("versions")
    version = versions.get("elites", "") if isinstance(versions, dict) else ""
    return (
        f'<header><p class="above">{safe(run.path.resolve().name)} · Diffusion Elites {safe(version)}</p>'
        f"<h1>{headline}</h1><p>{_judged(run)} {safe(stopped)}</p>{_numbers(run)}"
        f"{notice(run)}</header>"
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
