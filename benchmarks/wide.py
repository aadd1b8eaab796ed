"""What a step of each search costs beside its network, from 64 to 262,144 dimensions.

The search alone: whole steps of population 64 (ask, the bookkeeping of the target, tell) on a prior without a network,
whose walk has ten levels at which nothing is computed, and with a reward that reads one number.

The network alone: a U-Net of convolutions with random weights, as many rows as fit in a few seconds, the median call,
and from there in proportion to the network evaluations that the step asked for. It is small, so what is printed is
more than a network in use would give.

    ratio = (network + search) / network

for the median step, and for the slowest in brackets, since pycma decomposes its covariance now and then. `NoiseAscent`
is compared with a forward and a forward-and-backward pass for each level, which is what it asks for.

One process, one thread.

    python -m benchmarks.wide                            # some minutes
    python -m benchmarks.wide --dimensions 64 --seconds 0.2 --most 3
"""

import argparse
import json
import math
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

import elites as el
from elites.search import DCT, PCN, Previews, QualityDiversity, Spectral

POPULATION, LEVELS = 64, 10
SHAPES = {math.prod(shape): shape for shape in ((1, 8, 8), (1, 32, 32), (4, 64, 64), (4, 256, 256))}
FULL = 1_024  # dimensions up to which CMA learns a full covariance here


@dataclass(frozen=True)
class Free:
    """A prior that is its noise, and says that its walk has as many levels as it is asked for."""

    inside: el.priors.OneStep

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inside, name)

    def grid(self, steps: int) -> Tensor:
        """Levels at which nothing happens."""
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def first(z: Tensor) -> Tensor:
    """A reward that costs nothing."""
    return z.flatten(1)[:, 0]


def methods(d: int) -> dict[str, Any]:
    """What is timed in d dimensions."""
    full = d <= FULL
    return {
        "Elites": el.Elites(POPULATION),
        "Evolve": el.Evolve(POPULATION),
        "CMA, full" if full else "CMA, separable": el.CMA(POPULATION, separable=not full),
        "ZeroOrder": el.ZeroOrder(POPULATION),
        "RandomSearch": el.RandomSearch(POPULATION),
        "PCN": PCN(POPULATION),
        "Spectral": Spectral(el.Elites(POPULATION), DCT()),
        "QualityDiversity": QualityDiversity(
            lambda z: z.flatten(1)[:, :2], [(-3, 3)] * 2, (10, 10), population=POPULATION
        ),
        "Previews": Previews(el.Elites(POPULATION)),
        "Auto": el.Auto(POPULATION, gradients=False),
        "NoiseAscent": el.NoiseAscent(POPULATION),
    }


@dataclass(frozen=True)
class Network:
    """Seconds of the network for one row: a call, and a call with a graph and the way back."""

    forward: float
    both: float
    rows: int
    parameters: int

    def needs(self, spent: el.types.Meter) -> float:
        """Seconds of the calls that were counted; a gradient calls each level twice, once for the graph."""
        graphs = spent.grads * LEVELS
        return (spent.nfe - graphs) * self.forward + graphs * self.both


def network(shape: tuple[int, ...], seconds: float) -> Network:
    """The U-Net at this shape, timed for about so many seconds."""
    blocks = (32, 64)
    net = UNet2DModel(
        sample_size=shape[-1],
        in_channels=shape[0],
        out_channels=shape[0],
        layers_per_block=1,
        block_out_channels=blocks,
        down_block_types=("DownBlock2D",) * len(blocks),
        up_block_types=("UpBlock2D",) * len(blocks),
        norm_num_groups=8,
        add_attention=False,
    ).requires_grad_(False)

    def forward(x: Tensor) -> None:
        with torch.no_grad():
            net(x, torch.full((len(x),), 500.0))

    def both(x: Tensor) -> None:
        x = x.clone().requires_grad_()
        torch.autograd.grad(net(x, torch.full((len(x),), 500.0)).sample.sum(), x)

    forward(torch.randn(1, *shape))  # what is allocated once
    one = clock(lambda: forward(torch.randn(1, *shape)))
    rows = max(1, min(POPULATION, int(seconds / (4 * one))))  # a few calls of each kind
    x = torch.randn(rows, *shape)
    return Network(
        usual(lambda: forward(x), seconds) / rows,
        usual(lambda: both(x), seconds) / rows,
        rows,
        sum(p.numel() for p in net.parameters()),
    )


def clock(call: Callable[[], Any]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def usual(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call, of as many as fit and at least two."""
    call()
    found = [clock(call)]
    while len(found) < 2 or sum(found) < seconds:
        found.append(clock(call))
    return statistics.median(found)


def steps(
    method: Any, shape: tuple[int, ...], warm: int, most: int, seconds: float
) -> list[tuple[float, el.types.Meter]]:
    """Seconds of each step and what it spent: `most` of them, or fewer, at least three, where time runs out."""
    prior = Free(el.priors.OneStep(lambda z: z, shape))
    target = el.Target(prior, first, walk=el.Plain(steps=LEVELS), batch=POPULATION)
    root, found = el.Stream(0), []
    state = method.init(target, root)
    for step in range(1, warm + most + 1):
        before = el.types.Meter() + target.meter
        began = time.perf_counter()
        with torch.no_grad():
            state, _ = method.step(target, state, root.at(step=step))
        took = time.perf_counter() - began
        if step > warm:
            found.append((took, target.meter - before))
            if len(found) >= 3 and sum(t for t, _ in found) > seconds:
                break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", type=int, nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--seconds", type=float, default=4.0, help="for each method, and twice for each network")
    parser.add_argument("--most", type=int, default=20, help="steps of a method that are timed")
    parser.add_argument("--warm", type=int, default=2, help="steps before them")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/wide.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    print("| d | method | steps | search, ms a step | network, s a step | (network + search) / network |")
    print("|---|---|---|---|---|---|")
    for d in args.dimensions:
        shape, rows = SHAPES[d], {}
        net = network(shape, args.seconds)
        for name, method in methods(d).items():
            timed = steps(method, shape, args.warm, args.most, args.seconds)
            ratios = [1 + t / net.needs(spent) for t, spent in timed]
            rows[name] = {
                "steps": len(timed),
                "search seconds": statistics.median(t for t, _ in timed),
                "network seconds": statistics.median(net.needs(spent) for _, spent in timed),
                "ratio": statistics.median(ratios),
                "slowest": max(ratios),
            }
            row = rows[name]
            print(
                f"| {d:,} | {name} | {row['steps']} | {1000 * row['search seconds']:.3g} | "
                f"{row['network seconds']:.3g} | {row['ratio']:.4f} ({row['slowest']:.4f}) |",
                flush=True,
            )
        found[str(d)] = {"network, seconds a row": vars(net), "methods": rows}
        print(
            f"\nnetwork of {net.parameters:,} parameters at {shape}: {net.rows} rows in a timed call, "
            f"{1000 * net.forward:.3g} ms a row, {1000 * net.both:.3g} with the way back; "
            f"the {POPULATION} rows and {LEVELS} levels of a step are in proportion, not timed\n",
            flush=True,
        )
    found["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {found['peak MiB']:,.0f} MiB")
    args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
