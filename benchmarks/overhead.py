"""What elites costs above the network: wall time of a run over that of its network calls.

One process, one thread, the digits U-Net at population 64 and 10 steps. Each run gives a pair: its own wall time, and
the wall time spent inside the bare network during it, so that the noise of a shared machine falls on both alike. The
median over the pairs is reported. Peak memory is measured in two further processes, of few and of many steps.

    python -m benchmarks.overhead
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import elites as el

POPULATION, LEVELS = 64, 10


def target(prior: el.priors.GaussianPrior) -> el.Target:
    """A reward that costs nothing, so that only elites is measured."""
    return el.Target(prior, lambda images: images.flatten(1).mean(1), walk=el.Plain(steps=LEVELS), batch=POPULATION)


class Timed:
    """A network that adds up the time of its calls."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.seconds = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        out = self.net(*arguments, **options)
        self.seconds += time.perf_counter() - began
        return out

    @property
    def dtype(self) -> torch.dtype:
        """As of the network."""
        return self.net.dtype


def ratio(prior: el.priors.GaussianPrior, method: el.Search, steps: int) -> float:
    """Wall time of a run of `steps` generations over that of its bare network calls."""
    net = Timed(prior.module())
    timed = replace(prior, net=replace(prior.net.call, unet=net))
    began = time.perf_counter()
    el.run(method, target(timed), el.Budget(steps=steps), probe=None)
    return (time.perf_counter() - began) / net.seconds


def peak(steps: int) -> float:
    """Peak memory in MiB of a process that runs `steps` generations."""
    code = f"import benchmarks.overhead as o; print(o.memory({steps}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(out.stdout.split()[-1])


def memory(steps: int) -> float:
    """Peak memory of this process in MiB after a run."""
    torch.set_num_threads(1)
    ratio(el.priors.digits(), el.Elites(), steps)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    prior = el.priors.digits()
    found = {}
    for name, method in {
        "Elites": el.Elites(population=POPULATION),
        "best of N": el.RandomSearch(population=POPULATION),
    }.items():
        ratio(prior, method, 1)
        ratios = [ratio(prior, method, args.steps) for _ in range(args.pairs)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = {"median": middle, "quartiles": [low, high], "pairs": args.pairs}
        print(f"{name:10s} {middle:.3f} times the bare network calls (quartiles {low:.3f} to {high:.3f})")
    few, many = peak(5), peak(300)
    found["peak MiB"] = {"5 steps": few, "300 steps": many}
    print(f"peak memory: {few:.0f} MiB at 5 steps, {many:.0f} MiB at 300 steps")
    if args.out:
        args.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
