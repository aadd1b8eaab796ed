"""What elites costs above the network: wall time of a run over that of the bare network calls of the same batches.

One process, one thread, the digits U-Net at population 64 and 10 steps. Runs and bare calls alternate, and the median
over the pairs is reported, because machines are shared and noisy. Peak memory is measured in two further processes,
of few and of many steps.

    python -m benchmarks.overhead
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import elites as el

POPULATION, LEVELS = 64, 10


def target(prior: el.priors.GaussianPrior) -> el.Target:
    """A reward that costs nothing, so that only elites is measured."""
    return el.Target(prior, lambda images: images.flatten(1).mean(1), walk=el.Plain(steps=LEVELS), batch=POPULATION)


def bare(prior: el.priors.GaussianPrior, x: torch.Tensor, steps: int) -> float:
    """Seconds of the network calls of `steps` generations."""
    unet, label = prior.net.unet, torch.full((POPULATION,), prior.net.label)
    times = prior.grid(LEVELS)[:-1].float()
    began = time.perf_counter()
    with torch.no_grad():
        for _ in range(steps):
            for t in times:
                unet(x, t.expand(POPULATION), class_labels=label, return_dict=False)
    return time.perf_counter() - began


def whole(prior: el.priors.GaussianPrior, method: el.Search, steps: int) -> float:
    """Seconds of a run of `steps` generations."""
    began = time.perf_counter()
    el.run(method, target(prior), el.Budget(steps=steps), probe=None)
    return time.perf_counter() - began


def peak(steps: int) -> float:
    """Peak memory in MiB of a process that runs `steps` generations."""
    code = f"import benchmarks.overhead as o; print(o.memory({steps}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(out.stdout.split()[-1])


def memory(steps: int) -> float:
    """Peak memory of this process in MiB after a run."""
    torch.set_num_threads(1)
    whole(el.priors.digits(), el.Elites(), steps)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=21)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    prior = el.priors.digits()
    x = torch.randn(POPULATION, *prior.shape)
    found = {}
    for name, method in {
        "Elites": el.Elites(population=POPULATION),
        "best of N": el.RandomSearch(population=POPULATION),
    }.items():
        whole(prior, method, 1), bare(prior, x, 1)
        ratios = [whole(prior, method, args.steps) / bare(prior, x, args.steps) for _ in range(args.pairs)]
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
