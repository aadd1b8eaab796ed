"""Equal wall time instead of equal network evaluations: what a small population costs where large ones are fast.

Each method runs alone, in one process and one thread, for so many seconds. The batch is its population, at most 64, so
that a large population is as fast as it can be. A short run before the clock starts loads what is loaded once.

    python -m benchmarks.quality.clock                   # about ten minutes; stop it and start it again
    python -m benchmarks.quality.clock --show
"""

import argparse
import json
import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import elites as el
from benchmarks.quality.cells import STEPS, load
from benchmarks.quality.contenders import contenders, usual
from benchmarks.quality.tasks import TASKS

PARTS = ("digits margin", "digits match", "digits size")
MOST = 64  # rows of a batch
Row = dict[str, Any]


def methods() -> dict[str, Callable[[int], Any]]:
    """By name, each made for d dimensions."""

    def held(name: str) -> Callable[[int], Any]:
        return lambda d: contenders()[name].make(d, 0)  # neither plans for a number of candidates

    return {
        "best of N": lambda d: el.RandomSearch(MOST),
        "Elites": lambda d: el.Elites(),
        **{f"Elites, {n}": partial(lambda n, d: el.Elites(n), n) for n in (16, 32, 64)},
        **{name: held(name) for name in ("EvoTorch SNES, held", "pycma, held")},
        "CMA, 8": lambda d: el.CMA(8),
    }


def one(name: str, who: str, seed: int, seconds: float) -> Row:
    """A run against the clock."""
    task = TASKS[name]
    prior = task.prior()
    d = torch.Size(prior.shape).numel()
    method = methods()[who](d)
    target = el.Target(
        prior, task.reward(seed), walk=el.Plain(steps=STEPS), batch=min(method.population or usual(d), MOST)
    )
    el.run(method, target, el.Budget(steps=2), seed, probe=None)
    result = el.run(method, target, el.Budget(seconds=seconds), seed, probe=None)
    return {
        "task": name,
        "method": who,
        "seed": seed,
        "budget": seconds,
        "best": float(result.best.reward[0]),
        "nfe": result.meter.nfe,
        "seconds": result.meter.seconds,
    }


def missing(
    have: Sequence[Row], tasks: Sequence[str], names: Sequence[str], seeds: Sequence[int], limit: float
) -> list[tuple[str, str, int]]:
    """Runs that are not there yet, the seeds in turn, so that what else the machine does falls on all alike."""
    done = {(r["task"], r["method"], r["seed"], r["budget"]) for r in have}
    every = [(name, who, seed) for seed in seeds for name in tasks for who in names]
    return [run for run in every if (*run, limit) not in done]


def show(rows: Sequence[Row], limit: float) -> None:
    """The table, in Markdown."""
    rows = [r for r in rows if r["budget"] == limit]
    tasks = [name for name in PARTS if any(r["task"] == name for r in rows)]
    print(f"\n{limit:g} seconds a run, median over seeds; evaluations are those of the network, over all runs\n")
    print(f"| method | {' | '.join(tasks)} | evaluations | a second |")
    print("|---" * (len(tasks) + 3) + "|")
    for who in methods():
        mine = [r for r in rows if r["method"] == who]
        if mine:
            best = [[r["best"] for r in mine if r["task"] == name] for name in tasks]
            shown = " | ".join(f"{statistics.median(values):.4g}" if values else "-" for values in best)
            nfe = statistics.median(r["nfe"] for r in mine)
            rate = statistics.median(r["nfe"] / r["seconds"] for r in mine)
            print(f"| {who} | {shown} | {nfe:,.0f} | {rate:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(PARTS), choices=PARTS, metavar="TASK")
    parser.add_argument("--methods", nargs="+", default=list(methods()), choices=list(methods()), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 3), help="from, to")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a run")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/clock.jsonl"))
    parser.add_argument("--show", action="store_true", help="print the table of the file and stop")
    args = parser.parse_args()
    if not args.show:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("a") as out:
            for name, who, seed in missing(load(args.out), args.tasks, args.methods, range(*args.seeds), args.seconds):
                row = one(name, who, seed, args.seconds)
                out.write(json.dumps(row) + "\n")
                out.flush()
                print(f"{name}, seed {seed}: {who} {row['best']:.5g} after {row['nfe']:,}", flush=True)
    show(load(args.out), args.seconds)


if __name__ == "__main__":
    main()
