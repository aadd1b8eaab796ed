"""Random transitions between two noise levels against their exact law, and what they are worth to particles."""

import math

import torch
from torch import Tensor

import elites as el
from benchmarks.reproduce.table import head, row
from benchmarks.steering import flow, to_modes, to_point
from elites.steer import Glass, Native

N, STD = 50_000, 0.2
T, S = (torch.tensor(v, dtype=torch.float64) for v in (0.7, 0.4))


def exact(x: Tensor, means: Tensor, rho: float, draws: torch.Generator, n: int) -> Tensor:
    """Draws `(n, d)` of x_s given x_t = x on the linear path, with noises correlated by rho."""
    (a, s), (a2, s2) = (tuple(float(v) for v in el.Flow()(t)) for t in (T, S))
    var = a**2 * STD**2 + s**2
    w = (-(x - a * means).square().sum(1) / (2 * var)).softmax(0)
    k = torch.multinomial(w, n, replacement=True, generator=draws)
    gain = a * STD**2 / var
    mean, spread = means[k] + gain * (x - a * means[k]), math.sqrt(STD**2 * (1 - gain * a))
    x0 = mean + spread * torch.randn(mean.shape, generator=draws, dtype=torch.float64)
    g = rho * s2 / s
    noise = torch.randn(mean.shape, generator=draws, dtype=torch.float64)
    return g * x + (a2 - g * a) * x0 + s2 * math.sqrt(1 - rho**2) * noise


def covariances() -> None:
    draws = torch.Generator().manual_seed(0)
    means = torch.randn(5, 4, generator=draws, dtype=torch.float64)
    prior = el.priors.mixture(means, STD, schedule=el.Flow(), kernel=el.DDIM(1.0))
    a, s = (float(v) for v in el.Flow()(T))
    x = a * means[0] + s * torch.randn(4, generator=draws, dtype=torch.float64)
    target = el.Target(prior, lambda x: x[:, 0], batch=N)
    x0 = prior.denoise(x[None], T)
    stream, ids = el.Stream(1), range(N)
    (a2, s2) = (float(v) for v in el.Flow()(S))
    markov = a * s2 / (s * a2)
    head("transition", *(f"rho = {r:.3f}" for r in (markov, 0.0, 0.4)))

    def off(found: Tensor, rho: float) -> float:
        want = exact(x, means, rho, draws, N).T.cov()
        return float((found.double().T.cov() - want).norm() / want.norm())

    many = x.expand(N, -1), x0.expand(N, -1)
    plain = Native()(target, *many, T, S, stream, ids)
    row("Gaussian with the clean guess plugged in", f"{off(plain, markov):.3f}", "", "")
    for steps in (1, 2, 4, 16):
        cells = [f"{off(Glass(steps, rho)(target, *many, T, S, stream, ids), rho):.3f}" for rho in (markov, 0.0, 0.4)]
        row(f"Glass, {steps} Heun steps", *cells)
    row(
        "another sample of the exact law", *(f"{off(exact(x, means, r, draws, N), r):.3f}" for r in (markov, 0.0, 0.4))
    )


def glass() -> None:
    print(
        "relative error of the covariance of x_s given x_t, from t = 0.7 to s = 0.4, five modes in four dimensions\n"
    )
    covariances()
    print("\nFeynman-Kac particles on the flow of 64 modes, temperature 0.5, seeds 200 to 215\n")
    budgets = (500, 1000, 5000)
    head("walk", *(f"{n:,} evaluations: {c}" for n in budgets for c in ("best", "modes")))
    for name, steps, transition, cost in (
        ("best of N on the ODE, 10 steps", 10, None, 10),
        ("particles, 10 steps with the guess plugged in", 10, Native(), 10),
        ("particles, 4 steps with the guess plugged in", 4, Native(), 4),
        ("particles, 4 steps by Glass(2)", 4, Glass(2), 4 + 3 * 3),
    ):
        columns: list[list[float]] = []
        for nfe in budgets:
            best, far = [], []
            for seed in range(200, 216):
                prior = flow()[0]
                if transition is not None:
                    prior = el.priors.Reschedule(prior, el.Flow(), el.DDIM(1.0))
                target = el.Target(prior, to_point, walk=el.Plain(steps=steps), batch=64)
                method = (
                    el.RandomSearch(10)
                    if transition is None
                    else el.FeynmanKac(nfe // cost, steps, 0.5, transition=transition)
                )
                found = el.run(method, target, el.Budget(nfe=nfe), seed, probe=None).best
                best.append(float(found.reward))
                far.append(float(to_modes(found.x)))
            columns += [best, far]
        row(name, *columns)
