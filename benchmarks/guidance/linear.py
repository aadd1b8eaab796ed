"""The exact score: where rounds settle, and how far off the subspace they are."""

from pathlib import Path
from statistics import mean

from benchmarks.guidance import plots
from benchmarks.guidance.panel import Cell, Job, Panel, cell, pick, table
from benchmarks.guidance.rounds import SIGMA, along, guided, off_subspace
from benchmarks.guidance.setting import OBJECTIVES, exact

__all__ = ["PANEL"]

LEVELS, BATCH, ROUNDS, LAST = 200, 32, 300, 50
DELTAS, SEEDS = (0.2, 0.9), range(3)
OBJECTIVE = "f1, theta 9 to 1 off it"
SERIES = {(p, d): f"{p}, delta {d}" for p in ("G_loss", "G") for d in DELTAS}


def jobs() -> list[Job]:
    return [{"push": p, "delta": d, "seed": s} for s in SEEDS for p, d in SERIES]


def measure(push: str, delta: float, seed: int) -> Cell:
    reward = OBJECTIVES[OBJECTIVE]()
    curves, _ = along(guided(push, delta, BATCH, LEVELS, ROUNDS), exact(LEVELS), reward, off_subspace, seed)
    predicted = float(reward(reward.best(SIGMA**2 / delta)[None])[0])
    return {"predicted": predicted if push == "G_loss" else None} | curves


def show(cells: list[Cell]) -> None:
    rows = []
    for (push, delta), name in SERIES.items():
        found = pick(cells, push=push, delta=delta)
        if found:
            ends = {k: [mean(c[k][-LAST:]) for c in found] for k in ("reward", "after", "before")}
            want = found[0]["predicted"]
            rows.append(
                [
                    name,
                    "" if want is None else f"{want:.3f}",
                    cell(ends["reward"]),
                    "" if want is None else f"{100 * (mean(ends['reward']) / want - 1):+.1f} %",
                    *(f"{mean(ends[k]):.2g}" for k in ("after", "before")),
                ]
            )
    first = {k: [c[k][0] for c in cells] for k in ("reward", "after", "before")}
    if cells:
        rows.append(["unguided", "", f"{mean(first['reward']):.3f}", ""])
        rows[-1] += [f"{mean(first[k]):.2g}" for k in ("after", "before")]
    table(("guidance", "predicted f", "f", "apart", "r_off", "r_off before the last jump"), rows)


def draw(cells: list[Cell], folder: Path) -> None:
    series = {name: pick(cells, push=p, delta=d) for (p, d), name in SERIES.items()}
    plots.over_rounds({k: v for k, v in series.items() if v}, folder / "guidance_linear.png")


PANEL = Panel(jobs, measure, show, draw)
