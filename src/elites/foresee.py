"""`elites plan`: what a study will take, from one batch, before anything is spent."""

from __future__ import annotations

import json
import math
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from .events.charts import shown
from .launch import limited
from .planning import Plan, plan
from .study import load
from .types import Budget

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Give an app the command of this module."""
    app.command("plan")(foresee)


def foresee(
    study: Annotated[Path, typer.Argument(help="Python file that defines target and method.")],
    nfe: Annotated[int | None, typer.Option(help="Network evaluations to spend, counted per object.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Wall time to spend.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as one JSON object.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads of each worker.", min=1)] = 1,
    workers: Annotated[int, typer.Option(help="Processes that the run will be spread over.", min=1)] = 1,
) -> None:
    """Say what a study will take: one batch of prior samples is drawn and scored, and nothing is written."""
    torch.set_num_threads(threads)
    loaded = load(study)
    budget = limited(loaded.budget, nfe, seconds)
    with redirect_stdout(sys.stderr):  # what a study prints is no result
        found = plan(
            loaded.method,
            loaded.target,
            budget,
            loaded.seed if seed is None else seed,
            probe=loaded.probe,
            final=loaded.final,
            workers=workers,
        )
    if as_json:
        told = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(found).items()}
        print(json.dumps(told, allow_nan=False))
        return
    console = Console(highlight=False, markup=False)
    console.print(_table(found, budget))
    spent, share = found.spent, found.reward_share
    console.print(
        f"\nFrom one batch, which cost {shown(spent.nfe)} network evaluations, {shown(spent.rewards)} rewards and "
        f"{spent.seconds:.2g} s: an evaluation takes {1e3 * found.network_seconds:.3g} ms, a reward "
        f"{1e3 * found.reward_seconds:.3g} ms" + (f", {share:.0%} of the work." if share == share else "."),
        soft_wrap=True,
    )
    console.print(f"The run ends when: {found.ends}.", soft_wrap=True)
    for note in found.notes:
        console.print(note, soft_wrap=True)


def _table(found: Plan, budget: Budget) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "expected", "allowed"):
        table.add_column(name, justify="right" if name else "left")
    rows: list[tuple[str, Any, Any]] = [
        ("steps", found.steps, budget.steps),
        ("network evaluations", found.nfe, budget.nfe),
        ("rewards", found.rewards, budget.rewards),
        ("backward passes", found.grads or None, None),
    ]
    for name, value, limit in rows:
        if value is not None:
            table.add_row(name, shown(value), "" if limit is None else shown(limit))
    of = f", {found.workers} workers" if found.workers > 1 else ""
    table.add_row(f"time{of}", _time(found.seconds), "" if budget.seconds is None else _time(budget.seconds))
    if found.memory == found.memory:
        each = " of each process" if of else ""
        table.add_row(f"memory{each}", f"{found.memory / 1e9:.2g} GB", "")
    if found.gpu_memory:
        table.add_row("memory of the accelerator", f"{found.gpu_memory / 1e9:.2g} GB", "")
    return table


def _time(seconds: float) -> str:
    """Seconds, minutes or hours."""
    for size, word in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {word}"
    return f"{seconds:.2g} s"
