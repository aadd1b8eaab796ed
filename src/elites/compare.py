"""`elites compare`: runs beside one another, and methods over their seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .comparison import Comparison, Group, Line, compared
from .diagnose import Interval
from .events.charts import shown

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Give an app the command of this module."""
    app.command("compare")(compare)


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Compare runs: rewards, evidence, gain over the prior and over best of n, and methods over their seeds."""
    found = compared(folders)
    if as_json:
        print(json.dumps(found.plain(), allow_nan=False))
        return
    console = Console(highlight=False, markup=False)
    for table in _tables(found):
        console.print(table)
        console.print()
    for note in found.notes:
        console.print(note, soft_wrap=True)


def _tables(found: Comparison) -> list[Table]:
    cut = found.evaluations[0] if len(found.evaluations) == 1 else math.nan
    gains = [line for line in found.runs if math.isfinite(line.over_prior.estimate)]
    out = [_runs(found.runs, cut), _evidence(found.runs), _gains(gains)]
    if found.groups:
        out.append(_methods(found.groups, cut))
    if found.against:
        table = _table("difference", "gain", "95 %", "wins", "95 %")
        for pair in found.against:
            wins = f"{round(pair.wins.estimate * pair.wins.n)} of {pair.wins.n}"
            table.add_row(f"{pair.method} over {pair.other}", *_gain(pair.gain), wins, _ends(pair.wins))
        out.append(table)
    return [table for table in out if table.row_count and len(table.columns) > 1]


def _runs(lines: Sequence[Line], cut: float) -> Table:
    return _filled(
        lines,
        {
            "method": [line.method for line in lines],
            "seed": [str(line.seed) for line in lines],
            "evaluations": [_spent(line) for line in lines],
            "reward": [shown(line.reward) for line in lines],
            f"at {shown(cut)}": [shown(line.equal) if cut == cut else "" for line in lines],
            "failed": [f"{line.failures:,}" if line.failures else "" for line in lines],
            "": ["" if line.status == "ended" else line.status for line in lines],
        },
    )


def _evidence(lines: Sequence[Line]) -> Table:
    return _filled(
        lines,
        {
            "judge": _column(line.judge for line in lines),
            "distance to data": _column(line.distance for line in lines),
            "|z|²/d": _column(line.shell for line in lines),
            "p of its noise": _column(line.white for line in lines),
            "alarm rang at step": _column(line.alarm for line in lines),
        },
    )


def _gains(lines: Sequence[Line]) -> Table:
    some = any(line.n for line in lines)
    table = _table("gain of the winner", "over the prior", "95 %", *(("best of", "over it", "95 %") * some))
    for line in lines:
        best = (f"{line.n:,}" if line.n else "", *_gain(line.over_best)) if some else ()
        table.add_row(line.run, *_gain(line.over_prior), *best)
    return table


def _methods(groups: Sequence[Group], cut: float) -> Table:
    """Levels are means, or interquartile means where there are seeds enough; then they have a column."""
    many = any("interquartile" in g.level.how for g in groups)
    level, equal = (["level"] if many else []), ([f"at {shown(cut)}", "95 %"] if cut == cut else [])
    table = _table("method", "seeds", "mean", "sd", *level, "95 %", *equal)
    for g in groups:
        row = [str(len(g.seeds)), shown(g.mean), shown(g.spread)]
        row += [shown(g.level.estimate)] if many else []
        row += [_ends(g.level), *([shown(g.equal.estimate), _ends(g.equal)] if equal else [])]
        table.add_row(g.method, *row)
    return table


def _filled(lines: Sequence[Line], columns: dict[str, list[str]]) -> Table:
    """One row for each run; columns that nobody fills are left out."""
    kept = {name: values for name, values in columns.items() if any(values)}
    table = _table("run", *kept)
    for i, line in enumerate(lines):
        table.add_row(line.run, *(values[i] for values in kept.values()))
    return table


def _column(values: Iterable[float]) -> list[str]:
    numbers = list(values)
    return [shown(v) for v in numbers] if any(map(math.isfinite, numbers)) else []


def _spent(line: Line) -> str:
    limit = line.budget.get("nfe")
    return f"{shown(line.nfe)}/{limit:,.0f}" if limit else shown(line.nfe)


def _gain(found: Interval) -> tuple[str, str]:
    if not math.isfinite(found.estimate):
        return "", ""
    return ("+" if found.estimate > 0 else "") + shown(found.estimate), _ends(found)


def _ends(found: Interval) -> str:
    """The interval, or that there is none."""
    return f"{shown(found.low)} to {shown(found.high)}" if found.known else "none"


def _table(first: str, *more: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in more:
        table.add_column(name, justify="left" if name in ("method", "") else "right", no_wrap=name != "")
    return table
