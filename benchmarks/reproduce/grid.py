"""Particles on a grid of 25 narrow modes with a reward whose tilted law is known: what they should weigh, and do.

The prior is a mixture of 5 x 5 modes, 2 apart with standard deviation 0.3, the reward
-x^2 / 50 - (y - 1)^2 / 4, the temperature 1; walks have 100 steps of DDPM. Each of k particles counts as one walk.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import elites as el
from benchmarks.reproduce.table import head, row
from elites.resample import Resample, normalised
from elites.steer import Max, Sum

STEPS, FEW, MANY = 100, (16, 40), (256, 12)  # particles and seeds
STD = 0.3
CENTRES = torch.tensor([[2.0 * i - 4, 2.0 * j - 4] for i in range(5) for j in range(5)])
PRIOR = el.priors.mixture(CENTRES, STD, kernel=el.DDIM(1.0))
CURVES, SUMMITS = torch.tensor([1 / 25, 1 / 2]), torch.tensor([0.0, 1.0])


def reward(x: Tensor) -> Tensor:
    return -(CURVES.to(x) * (x - SUMMITS.to(x)).square()).sum(1) / 2


def exact() -> tuple[float, float, Tensor]:
    """Of the tilted prior: the mean reward, log Z, and the weights of the modes."""
    m, c, s = CENTRES.double(), CURVES.double(), SUMMITS.double()
    var = 1 / (1 / STD**2 + c)
    mean = var * (m / STD**2 + c * s)
    log_z = ((var / STD**2).log() - c * (m - s).square() / (1 + c * STD**2)).sum(1) / 2
    w = log_z.softmax(0)
    value = -(c * ((mean - s).square() + var)).sum(1) / 2
    return float((w * value).sum()), float(log_z.logsumexp(0)) - math.log(len(m)), w


def modes(x: Tensor, w: Tensor) -> Tensor:
    return torch.zeros(len(CENTRES), dtype=torch.float64).index_add_(0, torch.cdist(x, CENTRES).argmin(1), w)


@dataclass(frozen=True)
class Forgetful(el.FeynmanKac):
    """Weights that are not used for a resampling are dropped, as the published code does in its adaptive mode."""

    def step(self, target: el.Target, state: Any, stream: el.Stream) -> tuple[Any, Any]:
        before = state.resampled
        state, info = super().step(target, state, stream)
        if self.resample.allowed(state.i - 1, STEPS) and state.resampled == before and not self.done(state):
            state.logw = torch.zeros_like(state.logw)
        return state, info


def measure(name: str, make: Callable[[int], Any], plans: tuple[tuple[int, int], ...] = (FEW, MANY)) -> None:
    """Mean reward, distance of the modes' weights and log Z of k particles over the seeds."""
    _, _, want = exact()
    columns: list[list[float]] = []
    for k, seeds in plans:
        value, apart, log_z = [], [], []
        for seed in range(seeds):
            target = el.Target(PRIOR, reward, walk=el.Plain(steps=STEPS), batch=k)
            state = el.run(make(k), target, el.Budget(steps=10**6), seed, probe=None).state
            x, w = state.x.float(), state.weights
            value.append(float((w * reward(x)).sum()))
            apart.append(float((modes(x, w) - want).abs().sum()) / 2)
            log_z.append(state.log_z)
        columns += [value, apart, log_z]
    row(name, *columns)


def top() -> None:
    value, log_z, _ = exact()
    print(f"exact: mean reward {value:.3f}, log Z {log_z:.3f}; of k = 16 (40 seeds) and k = 256 (12 seeds)\n")
    some = ("mean reward", "modes, total variation", "log Z")
    head("method", *(f"{c}, k = {k}" for k, _ in (FEW, MANY) for c in some))


def feynman_kac() -> None:
    top()
    often = Resample(every=5)
    measure("weights at the end only", lambda k: el.FeynmanKac(k, STEPS, resample=Resample(below=0.0)))
    measure("Feynman-Kac, difference", lambda k: el.FeynmanKac(k, STEPS, resample=often))
    measure("Feynman-Kac, max", lambda k: el.FeynmanKac(k, STEPS, resample=often, potential=Max()))
    measure("Feynman-Kac, sum", lambda k: el.FeynmanKac(k, STEPS, resample=often, potential=Sum()))
    measure("weights dropped when not resampling", lambda k: Forgetful(k, STEPS, resample=often))


def twisted() -> None:
    top()
    measure("weights at the end only", lambda k: el.FeynmanKac(k, STEPS, resample=Resample(below=0.0)))
    measure("twisted", lambda k: el.Twisted(k, STEPS))
    measure("twisted, gradients ahead", lambda k: el.Twisted(k, STEPS, ahead=True))


def tempered() -> None:
    top()
    measure("untempered (twisted)", lambda k: el.Twisted(k, STEPS))
    measure("tempered, keep 0.9", lambda k: el.Tempered(k, STEPS))
    measure("tempered, keep 0.99", lambda k: el.Tempered(k, STEPS, keep=0.99))
    measure("tempered, without gradients", lambda k: el.Tempered(k, STEPS, gradient=False))


def tree() -> None:
    """Mean reward over the walks of a tree, and the best of a greedy one against best of N."""
    value, _, want = exact()
    walks, seeds = (64, 256, 1024), 12
    plain = el.FeynmanKac(20_000, 20, resample=Resample(below=0.0))
    ended = el.run(plain, el.Target(PRIOR, reward, batch=1000), seed=0, probe=None).state
    own = float((ended.weights * reward(ended.x)).sum())
    print(f"mean reward {value:.3f} of the tilted prior, {own:.3f} of the tilted walk in 20 steps; {seeds} seeds\n")
    head("method", *(f"{n:,} walks" for n in walks))

    def run(method: Any, n: int, seed: int, kernel: Any) -> el.types.Result:
        prior = el.priors.mixture(CENTRES, STD, kernel=kernel)
        target = el.Target(prior, reward, walk=el.Plain(steps=20), batch=64)
        return el.run(method, target, el.Budget(nfe=20 * n), seed, probe=None)

    for name, method in {
        "tree, uniform choices": el.TreeSearch(20, explore=1.0),
        "tree, default": el.TreeSearch(20),
    }.items():
        means, apart = [], []
        for n in walks:
            ended = [run(method, n, seed, el.DDIM(1.0)).state for seed in range(seeds)]
            at = [(s.x0[s.ends], normalised(s.logw(1.0))) for s in ended]
            means.append([float((w * reward(x)).sum()) for x, w in at])
            apart.append([float((modes(x, w) - want).abs().sum()) / 2 for x, w in at])
        row(f"{name}: mean reward", *means)
        row(f"{name}: modes, total variation", *apart)
    few = (4, 16, 64)
    print("\nminus the best reward, smaller is better\n")
    head("method", *(f"{n:,} walks" for n in few))
    for name, (method, kernel) in {
        "tree, greedy": (el.TreeSearch(20, greedy=True, width=4), el.DDIM(1.0)),
        "best of N": (el.RandomSearch(4), el.DDIM()),
    }.items():
        row(name, *([-float(run(method, n, s, kernel).best.reward) for s in range(40)] for n in few), digits=4)
