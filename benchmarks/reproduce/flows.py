"""Flows walked with noise, and searches along their walks, on mixtures whose velocity is known.

`marginals`: 12 modes in 8 dimensions. The others: 64 modes in 16 dimensions, the reward is minus the distance to a
point in a mode of weight 0.0007, as in `benchmarks.steering`; seeds 200 to 215.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch

import elites as el
from benchmarks.reproduce.table import head, row
from benchmarks.steering import flow, to_modes, to_point

SEEDS = range(200, 216)
Make = Callable[[], Any]


def marginals() -> None:
    """How often walks end in each mode, and how far from it, by the number of steps."""
    draws = torch.Generator().manual_seed(1)
    means, weights, n = 1.2 * torch.randn(12, 8, generator=draws), torch.rand(12, generator=draws) + 0.2, 6000
    weights, counts = weights / weights.sum(), (10, 50, 200)
    sure = torch.multinomial(weights, n, replacement=True, generator=draws)
    own = float((torch.bincount(sure, minlength=12) / n - weights).abs().sum()) / 2
    print(f"{n:,} walks; draws of the law itself have a total variation of {own:.3f}, and a distance of 0.42\n")
    head("walk", *(f"{c} steps: total variation, distance" for c in counts))

    def native(kernel: Any) -> Any:
        return el.priors.mixture(means, 0.15, weights, schedule=el.Flow(), kernel=kernel)

    def converted(kernel: Any) -> Any:
        return el.priors.Reschedule(native(el.DDIM()), el.VPLinear(), kernel)

    for name, prior in {
        "linear, ODE": native(el.DDIM()),
        "linear, Euler-Maruyama, g = t^2": native(el.EulerMaruyama(1.0)),
        "linear, Euler-Maruyama, g = 3 t^2": native(el.EulerMaruyama()),
        "linear, exact variance (DDIM(1.0))": native(el.DDIM(1.0)),
        "VP, ODE": converted(el.DDIM()),
        "VP, Euler-Maruyama, g = 3 t^2": converted(el.EulerMaruyama()),
        "VP, exact variance (DDIM(1.0))": converted(el.DDIM(1.0)),
    }.items():
        cells = []
        for steps in counts:
            noise = torch.Generator().manual_seed(3)
            x = prior.start(torch.randn(n, 8, generator=noise))
            for t, s in itertools.pairwise(prior.grid(steps)):
                x = prior.move(x, prior.denoise(x, t), t, s, torch.randn(n, 8, generator=noise))
            near = torch.cdist(x.double(), means.double()).min(1)
            apart = float((torch.bincount(near.indices, minlength=12) / n - weights).abs().sum()) / 2
            cells.append(f"{apart:.3f}, {float(near.values.mean()):.2f}")
        row(name, *cells)


def search(kernel: Any, schedule: Any, methods: dict[str, Callable[[int, int], Any]]) -> None:
    """Best reward and its distance to the nearest mode after 10 steps and 500 evaluations, and 20 and 1,000."""
    head(
        "method",
        *(f"{s} steps, {n:,} evaluations: {c}" for s, n in ((10, 500), (20, 1000)) for c in ("best", "modes")),
    )
    for name, make in methods.items():
        columns: list[list[float]] = []
        for steps, nfe in ((10, 500), (20, 1000)):
            best, far = [], []
            for seed in SEEDS:
                prior = flow()[0]
                if "best of N" not in name:
                    prior = el.priors.Reschedule(prior, schedule, kernel)
                target = el.Target(prior, to_point, walk=el.Plain(steps=steps), batch=64)
                found = el.run(make(steps, nfe), target, el.Budget(nfe=nfe), seed, probe=None).best
                best.append(float(found.reward))
                far.append(float(to_modes(found.x)))
            columns += [best, far]
        row(name, *columns)


def best_of_n(steps: int, nfe: int) -> Any:
    return el.RandomSearch(10)


def value_decoding() -> None:
    print("exact variance on the native path\n")
    search(
        el.DDIM(1.0),
        el.Flow(),
        {
            "best of N, ODE": best_of_n,
            "2 samples, the best of 25 children": lambda s, n: el.ValueDecoding(2, n // (2 * s), s),
            "2 samples, the best of 25, every 2nd level (CoDe)": lambda s, n: el.ValueDecoding(
                2, n // (2 * s), s, block=2
            ),
            "2 samples, 25 children, temperature 0.1": lambda s, n: el.ValueDecoding(2, n // (2 * s), s, 0.1),
            "1 sample, the best of 50": lambda s, n: el.ValueDecoding(1, n // s, s),
        },
    )


def rollover() -> None:
    methods: dict[str, Callable[[int, int], Any]] = {
        "best of N, ODE": best_of_n,
        "value decoding, 25 children": lambda s, n: el.ValueDecoding(2, n // (2 * s), s),
        "rollover, as published": lambda s, n: el.Rollover(n, 2, 25, s, width=1, strict=True),
        "rollover, beating the parent": lambda s, n: el.Rollover(n, 2, 25, s, width=1),
        "rollover, default (eight children at a time)": lambda s, n: el.Rollover(n, 2, 25, s),
        "Feynman-Kac, temperature 0.5": lambda s, n: el.FeynmanKac(n // s, s, 0.5),
    }
    for title, kernel, schedule in (
        ("exact variance on the native path", el.DDIM(1.0), el.Flow()),
        ("Euler-Maruyama with g = 3 t^2 on the native path", el.EulerMaruyama(), el.Flow()),
        ("Euler-Maruyama with g = 3 t^2 on the VP path", el.EulerMaruyama(), el.VPLinear()),
        ("exact variance on the VP path", el.DDIM(1.0), el.VPLinear()),
    ):
        print(f"\n{title}\n")
        search(kernel, schedule, methods)


def fitting(steps: int, nfe: int, start: float, back: float) -> el.Paths:
    """Search over as many paths as the evaluations pay for, with four children each."""
    target = el.Target(flow()[0], to_point)
    fit = el.Paths(1, 4, steps, start, back)
    while True:
        more = el.Paths(fit.n + 1, 4, steps, start, back)
        if more.whole(target, more.init(target, el.Stream(0))).nfe > nfe:
            return fit
        fit = more


def paths() -> None:
    print("the ODE of the native path, noised again by its exact law\n")
    search(
        el.DDIM(),
        el.Flow(),
        {
            "best of N, ODE": best_of_n,
            "zero order, published": lambda s, n: el.ZeroOrder(4, patience=1),
            "paths, from the middle, back by 0.4": lambda s, n: fitting(s, n, 0.5, 0.4),
            "paths, near the end, back by 0.2": lambda s, n: fitting(s, n, 0.8, 0.2),
            "paths, near the end, back by 0.7 (published)": lambda s, n: fitting(s, n, 0.8, 0.7),
        },
    )
