"""What a guided step takes, in unguided ones, and what rounds of guided inference take."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

import elites as el
from benchmarks.guidance.network import learned
from benchmarks.guidance.panel import Cell, Job, Panel, pick, table
from benchmarks.guidance.rounds import PUSHES
from benchmarks.quality.images import digits
from elites.steer.lookahead import Aim, Pushed

__all__ = ["PANEL"]

STEPS, REPEATS, ROUNDS = 20, 15, 8
KINDS = ("G_loss", "G")
PRIORS: dict[str, Callable[[], Any]] = {"perceptron": lambda: learned("plane"), "digits U-Net": digits}
BATCHES = {"perceptron": (32, 256), "digits U-Net": (16,)}


def jobs() -> list[Job]:
    return [{"prior": p, "batch": b} for p in PRIORS for b in BATCHES[p]]


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def total(x: Tensor) -> Tensor:
    """A reward that costs next to nothing."""
    return x.flatten(1).sum(1)


def measure(prior: str, batch: int) -> Cell:
    """Medians over repeats in which every kind of walk takes its turn; milliseconds."""
    law, ids = PRIORS[prior](), range(batch)
    z = law.noise(el.Stream(0), ids)
    aim = Aim(torch.ones_like(z) / z[0].numel(), torch.ones(batch), 0.1)
    walks: dict[str, Any] = {"unguided": el.Plain(STEPS)}
    walks |= {name: Pushed(STEPS, push=push, aim=aim) for name, push in PUSHES.items() if name in KINDS}
    target = el.Target(law, total, batch=batch)
    t, leaf = law.grid(STEPS)[STEPS // 2], z.clone().requires_grad_()

    def back() -> None:
        torch.autograd.grad(law.denoise(leaf, t).sum(), leaf)

    @torch.no_grad()
    def forward() -> None:
        law.denoise(z, t)

    def walk(name: str) -> Callable[[], Any]:
        return torch.no_grad()(lambda: target.with_walk(walks[name]).generate(z, el.Stream(1), ids))

    def rounds(name: str) -> Callable[[], Any]:
        method = el.Lookahead(batch, STEPS, ROUNDS, push=PUSHES[name])
        return lambda: el.run(method, target, probe=None)

    works: dict[str, tuple[Callable[[], Any], int]] = {name: (walk(name), STEPS) for name in walks}
    works |= {"network": (forward, 1), "network and back": (back, 1)}
    works |= {f"{ROUNDS} rounds of {name}": (rounds(name), STEPS) for name in KINDS}
    for work, _ in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(REPEATS):
        for name, (work, steps) in works.items():
            taken[name].append(1000 * seconds(work) / steps)
    base = {name: "network" if name.startswith("network") else "unguided" for name in works}
    ratios = {n: median(a / b for a, b in zip(taken[n], taken[base[n]], strict=True)) for n in works}
    return {
        "ms": {n: round(median(v), 4) for n, v in taken.items()},
        "ratio": {n: round(v, 3) for n, v in ratios.items()},
    }


def show(cells: list[Cell]) -> None:
    rows = []
    for job in jobs():
        for c in pick(cells, **job)[-1:]:
            ms, ratio = c["ms"], c["ratio"]
            rows.append([f"{c['prior']}, {c['batch']} objects", f"{ms['unguided']:.2f} ms"])
            rows[-1] += [f"{ratio[k]:.2f}" for k in ratio if k not in ("unguided", "network")]
            rows[-1].append(f"{ms['network'] / ms['unguided']:.0%}")
            names = [k for k in ratio if k not in ("unguided", "network")]
    if rows:
        table(("network", "unguided step", *names, "network's share of an unguided step"), rows)


PANEL = Panel(jobs, measure, show)
