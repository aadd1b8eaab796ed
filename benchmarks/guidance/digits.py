"""The digits prior and a differentiable margin: guidance against what else follows gradients, at equal cost."""

from functools import cache
from pathlib import Path
from statistics import mean

import elites as el
from benchmarks.guidance import tuning
from benchmarks.guidance.contest import Entry, contend, search
from benchmarks.guidance.panel import Cell, Job, Panel, cell, load, pick, table

__all__ = ["PANEL"]

BUDGETS, SEEDS = (2_000, 10_000), range(20, 25)
RESULTS = Path("benchmarks/results/guidance.jsonl")
SEARCHES = {
    "noise ascent": search(el.NoiseAscent(recompute=False), ascends=True),
    "Auto": search(el.Auto(), ascends=True),
    "Elites": search(el.Elites()),
    "best of N": search(el.RandomSearch(10)),
}
METHODS = [*tuning.GRIDS, *SEARCHES]


@cache
def entry(method: str) -> tuple[Entry, dict[str, object]]:
    """The method with the setting that its tuning chose, which must be there."""
    if method in SEARCHES:
        return SEARCHES[method], {}
    best = tuning.chosen(load(RESULTS, "digits-tuning"), method)
    if best is None:
        raise RuntimeError(f"no setting of {method} was tuned: run the panel digits-tuning first")
    return tuning.entry(method, best[0]), best[0]


def jobs() -> list[Job]:
    return [{"method": m, "budget": b, "seed": s} for b in BUDGETS for m in METHODS for s in SEEDS]


def measure(method: str, budget: int, seed: int) -> Cell:
    what, setting = entry(method)
    return {"setting": setting} | contend(what, budget, seed)


def show(cells: list[Cell]) -> None:
    for budget in BUDGETS:
        rows = []
        for method in METHODS:
            found = pick(cells, method=method, budget=budget)
            if found:
                columns = (("best", 2), ("elite", 2), ("judge", 2), ("distance", 2))
                row = [cell([c[k] for c in found], digits) for k, digits in columns]
                far = max(c["distance"] for c in found)
                rows.append([method, *row, f"{far:.2f}", f"{mean(c['cost'] for c in found):,.0f}"])
        if rows:
            print(f"\n{budget:,} forward passes, seeds {SEEDS[0]} to {SEEDS[-1]}")
            table(("method", "reward", "mean of the best 16", "judge", "distance", "farthest", "cost"), rows)


PANEL = Panel(jobs, measure, show)
