"""Rewards that are functions of the noise itself, to choose defaults on: seconds each, and in no other benchmark.

axis        one coordinate
target      minus the squared distance to a point of the shell
active      minus the squared distance of eight numbers from where they should be, along random directions
coordinates the same along the axes
ellipsoid   a target with curvatures from 1 to 100 along random directions
network     sixteen outputs of a small random network that should be those of another noise
noisy       the target, with noise of a tenth of the spread of prior samples on each object

python -m benchmarks.landscapes                              # five minutes on one core
python -m benchmarks.landscapes --dims 64 --methods Elites CMA
"""

import argparse
import math
import statistics
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import elites as el
from benchmarks.quality.images import Noisy

Reward = Callable[[Tensor], Tensor]
CHECKS = (100, 300, 1000, 3000)  # candidates


def _point(d: int, draws: torch.Generator) -> Tensor:
    z = torch.randn(d, generator=draws)
    return z * math.sqrt(d) / z.norm()


def axis(d: int, draws: torch.Generator) -> Reward:
    return lambda z: z[:, 0]


def target(d: int, draws: torch.Generator) -> Reward:
    aim = _point(d, draws)
    return lambda z: -(z - aim).square().mean(1)


def active(d: int, draws: torch.Generator) -> Reward:
    rows = torch.linalg.qr(torch.randn(d, 8, generator=draws)).Q
    aim = 1.5 * torch.randn(8, generator=draws)
    return lambda z: -(z @ rows - aim).square().sum(1)


def coordinates(d: int, draws: torch.Generator) -> Reward:
    aim = 1.5 * torch.randn(8, generator=draws)
    return lambda z: -(z[:, :8] - aim).square().sum(1)


def ellipsoid(d: int, draws: torch.Generator) -> Reward:
    aim, turn = _point(d, draws), torch.linalg.qr(torch.randn(d, d, generator=draws)).Q
    curve = 10 ** (2 * torch.randperm(d, generator=draws) / d)
    return lambda z: -(((z - aim) @ turn).square() * curve / curve.mean()).mean(1)


def network(d: int, draws: torch.Generator) -> Reward:
    sizes = ((d, 64, 1.5 / math.sqrt(d)), (64, 64, 1.5 / 8), (64, 16, 1 / 8))
    first, second, last = (s * torch.randn(n, m, generator=draws) for n, m, s in sizes)

    def outputs(z: Tensor) -> Tensor:
        return (z @ first).tanh().matmul(second).tanh() @ last

    aim = outputs(_point(d, draws)[None])
    return lambda z: -(outputs(z) - aim).square().mean(1)


def noisy(d: int, draws: torch.Generator) -> Reward:
    plain = target(d, draws)
    spread = float(plain(torch.randn(256, d, generator=draws)).std())
    return Noisy(plain, 0.1 * spread * math.sqrt(d), int(draws.initial_seed()))


LANDSCAPES = (axis, target, active, coordinates, ellipsoid, network, noisy)


def methods() -> dict[str, el.Search]:
    """What is compared."""
    s = el.search
    return {
        "Elites": el.Elites(),
        "Elites, 16": el.Elites(16),
        "Elites, 32": el.Elites(32),
        "growing": el.Elites(restart=s.Restart(grow=2.0)),
        "growing, 15": el.Elites(restart=s.Restart(15, grow=2.0)),
        "without paths": el.Elites(refit=s.Natural(paths=0)),
        "full rate": el.Elites(refit=s.Natural(rate=1.0)),
        "aim 0.1": el.Elites(refit=s.Natural(aim=0.1)),
        "shell refit": el.Elites(16, s.Shell(), keep=4),
        "Evolve": el.Evolve(),
        "CMA": el.CMA(),
        "CMA, 8": el.CMA(8),
        "zero order": el.ZeroOrder(4),
    }


def reached(make: Callable[[int, torch.Generator], Reward], method: el.Search, d: int, seed: int) -> list[float]:
    """The best reward, without its noise, after each number of candidates."""
    reward = make(d, torch.Generator().manual_seed(seed))
    truth = reward.reward if isinstance(reward, Noisy) else reward
    best: list[tuple[int, float]] = []

    def record(event: el.types.Event) -> None:
        if event.best is not None and event.best.z is not None:
            best.append((event.meter.rewards, float(truth(event.best.z[:1])[0])))

    prior = el.priors.OneStep(lambda z: z, (d,))
    batch = method.population or 16
    el.run(method, el.Target(prior, reward, batch=batch), el.Budget(rewards=CHECKS[-1]), seed, on=[record], probe=None)
    return [next((value for spent, value in reversed(best) if spent <= n), -math.inf) for n in CHECKS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="+", default=(64, 1024))
    parser.add_argument("--seeds", type=int, nargs=2, default=(100, 103), help="from, to")
    parser.add_argument("--methods", nargs="+", default=list(methods()), choices=list(methods()), metavar="NAME")
    parser.add_argument("--landscapes", nargs="+", default=[f.__name__ for f in LANDSCAPES])
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [f for f in LANDSCAPES if f.__name__ in args.landscapes]
    places: dict[str, list[list[int]]] = {name: [] for name in args.methods}
    for d in args.dims:
        for make in chosen:
            found = {
                name: np.median([reached(make, methods()[name], d, s) for s in range(*args.seeds)], axis=0)
                for name in args.methods
            }
            for name, values in found.items():
                places[name].append([1 + sum(v[i] > values[i] for v in found.values()) for i in range(len(CHECKS))])
                print(f"{make.__name__:12s} {d:5d} {name:14s} " + "  ".join(f"{v:11.4g}" for v in values), flush=True)
    print(f"\nmean place after {', '.join(map(str, CHECKS))} candidates")
    for name, rows in sorted(places.items(), key=lambda item: statistics.mean(map(statistics.mean, item[1]))):
        print(f"{name:14s} " + "  ".join(f"{p:5.1f}" for p in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
