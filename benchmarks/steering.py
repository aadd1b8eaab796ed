"""Steering along the way against search over noise: the same tasks, evaluations and judges as `benchmarks.quality`.

    python -m benchmarks.steering                    # half an hour on one core
    python -m benchmarks.steering --tasks flow       # a minute: 64 modes of a flow in 16 dimensions, 500 evaluations
    python -m benchmarks.steering --curves           # ten minutes: the flow 300 to 5,000 evaluations, drawn

Every method spends the same network evaluations on walks of ten steps: 10,000 on the digits, 500 on the flow. Those
that need random steps walk the same network by `DDIM(1.0)`, the others by the ODE. Particles sample a tilted law;
their temperature is a quarter of the spread of 64 prior samples, which they pay for on the digits and not on the flow.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import elites as el
from benchmarks.quality import cells
from benchmarks.quality.task import Task
from benchmarks.quality.tasks import TASKS

STEPS, LOOK = 10, 64
CURVE = (300, 500, 1000, 2000, 5000)  # network evaluations
DIGITS = ("digits size", "digits crossings", "digits noisy margin", "digits margin", "digits match")


@cache
def flow() -> tuple[el.priors.Mixture, Tensor]:
    """Sixty-four narrow modes on a flow, and a point near one of weight 0.0008."""
    draws = torch.Generator().manual_seed(0)
    means, weights = 1.2 * torch.randn(64, 16, generator=draws), torch.rand(64, generator=draws) ** 2
    rare = int((weights / weights.sum() - 0.0007).abs().argmin())
    point = means[rare] + 0.05 * torch.randn(16, generator=draws)
    return el.priors.mixture(means, 0.15, weights, schedule=el.Flow()), point


def to_point(x: Tensor) -> Tensor:
    return -(x - flow()[1]).norm(dim=1)


def to_modes(x: Tensor) -> Tensor:
    """Distance to the nearest mode, in that of a draw of it."""
    return torch.cdist(x.double(), flow()[0].means).min(1).values / (0.15 * 16**0.5)


FLOW = Task(lambda: flow()[0], lambda seed: to_point, lambda: to_modes, kind="one rare mode")


def tempered(target: el.Target, seed: int) -> float:
    """A quarter of the spread of prior samples."""
    stream, ids = el.Stream(seed).at(step=10**6), range(LOOK)
    reward = target.evaluate(target.prior.noise(stream, ids), stream, ids).reward
    good = reward[torch.isfinite(reward)]
    return max(float(good.std()) / 4, 1e-6)


def methods(n: int) -> dict[str, tuple[bool, Callable[[float], Any]]]:
    """By name: whether the walk is random, and the method, given a temperature, for n candidates of ten steps."""
    few = max(n // 500, 1)
    particles = n - LOOK if n == 1000 else n  # the flow's look is not charged
    return {
        "best of N": (False, lambda t: el.RandomSearch(10)),
        "Elites": (False, lambda t: el.Elites()),
        "value decoding": (True, lambda t: el.ValueDecoding(2 * few, n // (2 * few), STEPS)),
        "value decoding, 20 children": (True, lambda t: el.ValueDecoding(max(n // 20, 1), min(n, 20), STEPS)),
        "rollover": (True, lambda t: el.Rollover(n * STEPS, 2 * few, steps=STEPS)),
        "rollover, one child at a time": (True, lambda t: el.Rollover(n * STEPS, 2 * few, steps=STEPS, width=1)),
        "trajectory search": (True, lambda t: el.TrajectorySearch(few, STEPS, 5, max(n // (5 * few), 1))),
        "paths": (False, lambda t: el.Paths(max(n // 16, 1), 6, STEPS, start=0.5, back=0.4)),
        "Feynman-Kac": (True, lambda t: el.FeynmanKac(particles, STEPS, t)),
        "tempered": (True, lambda t: el.Tempered(particles, STEPS, t, gradient=False)),
        "tree, greedy": (True, lambda t: el.TreeSearch(STEPS, t, greedy=True)),
    }


def cell(task: Task, name: str, seed: int, nfe: int) -> dict[str, Any]:
    """What a method ends with."""
    random, make = methods(nfe // STEPS)[name]
    prior = task.prior()
    if random:
        prior = replace(prior, kernel=el.DDIM(1.0))
    target = el.Target(prior, task.reward(seed), walk=el.Plain(steps=STEPS), batch=32)
    cooled = name in ("Feynman-Kac", "tempered", "tree, greedy")
    method = make(tempered(target, seed) if cooled else 1.0)
    spent = target.meter.nfe if task is not FLOW else 0  # on the flow, the look is too dear to be charged
    result = el.run(method, target, el.Budget(nfe=nfe - spent), seed, probe=None)
    best = result.samples
    found = cells.measured(task, seed, replace(best, z=None))
    return found | {"nfe": result.meter.nfe + spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=[*DIGITS, "flow"], choices=[*DIGITS, "flow"], metavar="TASK")
    parser.add_argument("--methods", nargs="+", default=list(methods(50)), choices=list(methods(50)), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs=2, default=(20, 23), help="from, to")
    parser.add_argument("--curves", action="store_true", help="draw the flow over evaluations, and stop")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/steering.png"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/steering.jsonl"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.curves:
        draw(args.picture, curves(args.methods, range(*args.seeds)))
        return
    with args.out.open("a") as out:
        for name in args.tasks:
            task, nfe = (FLOW, 500) if name == "flow" else (TASKS[name], 10_000)
            print(f"\n{name}, {nfe:,} network evaluations, seeds {args.seeds[0]} to {args.seeds[1] - 1}\n")
            print("| method | best | +- | mean of 16 | judge | distance | diversity | evaluations |")
            print("|---|---|---|---|---|---|---|---|")
            for who in args.methods:
                rows = [cell(task, who, seed, nfe) for seed in range(*args.seeds)]
                for seed, row in zip(range(*args.seeds), rows, strict=True):
                    out.write(json.dumps({"task": name, "method": who, "seed": seed, "budget": nfe} | row) + "\n")
                out.flush()
                best = [r["best"] for r in rows]
                spread = statistics.stdev(best) / len(best) ** 0.5 if len(best) > 1 else 0.0
                judge = f"{middle(rows, 'judge'):.3g}" if rows[0]["judge"] is not None else ""
                print(
                    f"| {who} | {statistics.mean(best):.4g} | {spread:.2g} | {middle(rows, 'elite'):.4g} | {judge} | "
                    f"{middle(rows, 'distance'):.2f} | {middle(rows, 'diversity'):.2f} | {middle(rows, 'nfe'):,.0f} |",
                    flush=True,
                )


def curves(names: Sequence[str], seeds: Sequence[int]) -> dict[str, list[tuple[float, float]]]:
    """Of each method: what it leaves of the distance, mean and standard error, over evaluations."""
    out = {}
    for name in names:
        found = [[-cell(FLOW, name, seed, nfe)["best"] for seed in seeds] for nfe in CURVE]
        out[name] = [(statistics.mean(v), statistics.stdev(v) / len(v) ** 0.5) for v in found]
        print(name, " ".join(f"{m:.3f} +- {e:.3f}" for m, e in out[name]), flush=True)
    return out


def draw(path: Path, found: dict[str, list[tuple[float, float]]]) -> None:
    """The distance that is left over evaluations, with its standard error."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.0, 4.4), layout="constrained")
    for i, (name, points) in enumerate(found.items()):
        mean, error = zip(*points, strict=True)
        axes.errorbar(CURVE, mean, error, ls=("-", "--")[i // 7], marker="o", ms=3.5, lw=1.4, capsize=2, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(CURVE, [f"{n:,}" for n in CURVE])
    axes.minorticks_off()
    axes.set_xlabel("network evaluations")
    axes.set_ylabel("distance to the point")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def middle(rows: list[dict[str, Any]], column: str) -> float:
    """The mean over the seeds."""
    return statistics.mean(r[column] for r in rows)


if __name__ == "__main__":
    main()
