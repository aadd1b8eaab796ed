r"""Refits: how the law of the next population is learned from the elites.

The law is N(m, diag(s^2) + F F^T) over noise flattened to d numbers. A refit sees the candidates it may learn from,
best first, and returns the next law; a guard then rescales it.

A diagonal maximum-likelihood refit from K elites loses variance by drift alone: without any selection the variance
after T steps is (1 - 1/K)^T, while E|z|^2 stays. Unbiased variance keeps the spread and lets |z|^2/d grow as 1 + T/K.
The shell refit removes the dilemma: one spread, set by |m|^2 + d s^2 = d, rotation invariant and without a step size.

References:
    A Tutorial on the Cross-Entropy Method (de Boer, Kroese, Mannor and Rubinstein, 2005).
    High Dimensions and Heavy Tails for Natural Evolution Strategies (Schaul, Glasmachers and Schmidhuber, 2011),
    GECCO.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["Diagonal", "Law", "LowRank", "Natural", "Refit", "Shell"]

LEAST = 1e-4  # standard deviation that a natural gradient may reach


@dataclass
class Law:
    """N(mean, diag(std^2) + factor factor^T); mean and std `(d,)`, factor `(d, r)`, r may be 0."""

    mean: Tensor
    std: Tensor
    factor: Tensor

    @staticmethod
    def prior(d: int) -> Law:
        """Standard normal."""
        zero = torch.zeros(d, dtype=torch.float32)
        return Law(zero, zero + 1, zero.new_zeros(d, 0))

    def draw(self, e: Tensor) -> Tensor:
        """Candidates `(n, d)` from standard normal numbers `(n, d + r)`."""
        d = len(self.mean)
        z = self.mean + self.std * e[:, :d]
        # products and sums row by row: a matrix product may round differently in another batch
        return z if not self.factor.shape[1] else z + (e[:, None, d:] * self.factor).sum(2)

    @property
    def energy(self) -> Tensor:
        """E|z|^2."""
        return self.mean.square().sum() + self.std.square().sum() + self.factor.square().sum()

    def scaled(self, by: Tensor) -> Law:
        """Mean and spread times a number."""
        return Law(self.mean * by, self.std * by, self.factor * by)


class Refit(Protocol):
    """The next law from what was scored."""

    def __call__(self, law: Law, z: Tensor, population: int) -> Law:
        """Arguments: the law, candidates `(n, d)` best first with failures left out, and how many are drawn a step."""


def _check(refit: Refit, good: bool) -> None:
    if not good:
        raise InputError(f"{refit}: shares lie between 0 and 1, rates and floors are not negative.")


def _log_weights(k: int) -> Tensor:
    """Rank weights of k elites, best first, that sum to 1."""
    raw = math.log(k + 0.5) - torch.arange(1, k + 1, dtype=torch.float32).log()
    return raw / raw.sum()


@dataclass(frozen=True)
class Diagonal:
    """Mean and variance per coordinate of the elites: the published loop.

    Arguments:
        elites: how many candidates are elites, as a share of the population.
        smooth: weight of the old mean and standard deviation.
        floor: least standard deviation.
    """

    elites: float = 0.25
    smooth: float = 0.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check(self, 0 < self.elites <= 1 and 0 <= self.smooth < 1 and self.floor >= 0)

    def __call__(self, law: Law, z: Tensor, population: int) -> Law:
        top = z[: max(2, round(self.elites * population))]
        mean = self.smooth * law.mean + (1 - self.smooth) * top.mean(0)
        std = self.smooth * law.std + (1 - self.smooth) * top.std(0, correction=0)
        return Law(mean, std.clamp(min=self.floor), law.factor)


@dataclass(frozen=True)
class Shell:
    """Rank-weighted mean of the elites; one spread s with |m|^2 + d s^2 = d.

    Arguments:
        elites: how many candidates are elites, as a share of the population.
        cap: most of |m|^2 / d; the rest stays noise.
    """

    elites: float = 0.25
    cap: float = 0.98

    def __post_init__(self) -> None:
        _check(self, 0 < self.elites <= 1 and 0 < self.cap < 1)

    def __call__(self, law: Law, z: Tensor, population: int) -> Law:
        return _on_shell(law, z[: max(2, round(self.elites * population))], self.cap)


def _on_shell(law: Law, top: Tensor, cap: float) -> Law:
    d = top.shape[1]
    mean = _log_weights(len(top)) @ top
    mean = mean * (cap * d / mean.square().sum()).sqrt().clamp(max=1)
    spread = (1 - mean.square().sum() / d).sqrt()
    return Law(mean, spread.expand(d).clone(), law.factor.new_zeros(d, 0))


@dataclass(frozen=True)
class LowRank:
    """As `Shell`, with a share of the spread along the differences of the elites and the rest isotropic.

    Arguments:
        elites: how many candidates are elites, as a share of the population.
        cap: most of |m|^2 / d.
        share: of the spread's energy that lies along the elites' differences.
    """

    elites: float = 0.25
    cap: float = 0.98
    share: float = 0.3

    def __post_init__(self) -> None:
        _check(self, 0 < self.elites <= 1 and 0 < self.cap < 1 and 0 <= self.share < 1)

    def __call__(self, law: Law, z: Tensor, population: int) -> Law:
        top = z[: max(2, round(self.elites * population))]
        base = _on_shell(law, top, self.cap)
        differences = (top - base.mean).T  # (d, K)
        energy = base.std.square().sum()
        factor = differences * (self.share * energy / differences.square().sum().clamp(min=1e-12)).sqrt()
        return Law(base.mean, base.std * math.sqrt(1 - self.share), factor)


@dataclass(frozen=True)
class Natural:
    """Natural gradient of the expected rank utility, separable: all candidates count, the worse half against.

        m <- m + s g_m,    g_m = sum_i u_i e_i
        s <- s exp(eta / 2 g_s),    g_s = sum_i u_i (e_i^2 - 1),    e = (z - m) / s

    with utilities u_i = max(0, log(P / 2 + 1) - log i), normalised to sum 1, minus 1 / P.

    Arguments:
        rate: times the default eta = (3 + log d) / (5 sqrt(d)).
    """

    rate: float = 1.0

    def __post_init__(self) -> None:
        _check(self, self.rate >= 0)

    def __call__(self, law: Law, z: Tensor, population: int) -> Law:
        n, d = z.shape
        raw = (math.log(n / 2 + 1) - torch.arange(1, n + 1, dtype=torch.float32).log()).clamp(min=0)
        utility = (raw / raw.sum() - 1 / n)[:, None]
        e = (z - law.mean) / law.std
        eta = self.rate * (3 + math.log(d)) / (5 * math.sqrt(d))
        mean = law.mean + law.std * (utility * e).sum(0)
        # a guard moves candidates, by many deviations where one is small: without bounds e^2 would run off to NaN
        grow = (eta / 2 * (utility * (e.square() - 1)).sum(0)).clamp(-1, 1).exp()
        return Law(mean, (law.std * grow).clamp(min=LEAST), law.factor)
