r"""Refits: how the law of the next population is learned from the last one.

The law is that of m + s * T e, with e standard normal, over noise flattened to d numbers: a mean, one spread for each
coordinate, and a linear map T near the identity that is learned: in few dimensions a whole matrix, in more a stretch
along a few directions. A refit sees what was told, and returns the next law; a guard then rescales it.

A diagonal maximum-likelihood refit from K elites loses variance by drift alone: without any selection the variance
after T steps is (1 - 1/K)^T, while E|z|^2 stays. Unbiased variance keeps the spread and lets |z|^2/d grow as 1 + T/K.
The shell refit removes the dilemma: one spread, set by |m|^2 + d s^2 = d, rotation invariant and without a step size.
The natural refit goes on from there: what the guard fixes is the sum |m|^2 + |s|^2, and how much of it is spread
follows from whether the last step helped.

References:
    A Tutorial on the Cross-Entropy Method (de Boer, Kroese, Mannor and Rubinstein, 2005).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..types import InputError, ranked
from .rows import Rows, chunks, moments, total

__all__ = ["DISCARDED", "Diagonal", "Law", "Natural", "Refit", "Shell", "Told"]

LEAST = 1e-6  # standard deviation that a natural gradient may reach
DISCARDED = torch.finfo(torch.float32).min / 4  # numbers below stand for candidates that were never scored


@dataclass
class Law:
    """The law of m + s * T e, and what the next refit needs of the last ones.

    Attributes:
        mean, std: m and s, `(d,)`.
        paths: `(r, d)`, the directions that T stretches; r may be 0.
        matrix: `(d, d)`, applied after them, or `(0, 0)` for none.
        before: rewards of the last population, -inf for failures; none in the beginning.
        trend: how much better populations have been getting, on average.
    """

    mean: Tensor
    std: Tensor
    paths: Tensor
    matrix: Tensor
    before: Tensor
    trend: float

    @staticmethod
    def prior(d: int) -> Law:
        """Standard normal."""
        zero = torch.zeros(d, dtype=torch.float32)
        return Law(zero, zero + 1, zero.new_zeros(0, d), zero.new_zeros(0, 0), zero.new_zeros(0), 0.0)

    def draw(self, e: Tensor) -> Tensor:
        """Candidates `(n, d)` from standard normal numbers `(n, d)`."""
        return self.mean + self.std * self.turn(e)

    def turn(self, e: Tensor) -> Tensor:
        """T e: e <- (1 - c_j) e + c_j p_j (p_j . e) for each path, with c_j = 1 / (1.5^j d), and the matrix, if any.

        Row by row by products and sums: a matrix product may round differently in another batch, and the sum of a
        single row in another number of threads.
        """
        if len(e) == 1:
            return self.turn(e.expand(2, -1))[:1]
        for j, path in enumerate(self.paths):
            c = 1 / (1.5**j * len(path))
            e = (1 - c) * e + c * (e * path).sum(1, keepdim=True) * path
        return (e[:, None] * self.matrix).sum(2) if len(self.matrix) else e

    @property
    def energy(self) -> Tensor:
        """|m|^2 + |s|^2, that is E|z|^2 up to what the paths add."""
        return self.mean.square().sum() + self.std.square().sum()

    def scaled(self, by: Tensor) -> Law:
        """Mean and spread times a number."""
        return replace(self, mean=self.mean * by, std=self.std * by)


@dataclass(frozen=True)
class Told:
    """What a refit may learn from. Large populations are `Rows`: take slices of them.

    Attributes:
        e: standard normal numbers `(n, d)` of the population.
        rewards: `(n,)` of it, -inf for failures; at least two are none.
        z: noise `(m, d)` of the population and the kept elites, best first, failures left out.
    """

    e: Tensor | Rows
    rewards: Tensor
    z: Tensor | Rows


class Refit(Protocol):
    """The next law from what was scored."""

    def __call__(self, law: Law, told: Told) -> Law:
        """The law that drew the population, and what came of it."""


def _check(refit: Refit, good: bool) -> None:
    if not good:
        raise InputError(
            f"{refit}: shares lie between 0 and 1, a step is positive, rates, paths and floors are not negative."
        )


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

    def __call__(self, law: Law, told: Told) -> Law:
        mean, std = moments(told.z, max(2, round(self.elites * len(told.e))))
        mean = self.smooth * law.mean + (1 - self.smooth) * mean
        std = self.smooth * law.std + (1 - self.smooth) * std
        return replace(law, mean=mean, std=std.clamp(min=self.floor))


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

    def __call__(self, law: Law, told: Told) -> Law:
        k, d = min(max(2, round(self.elites * len(told.e))), len(told.z)), len(law.mean)
        raw = math.log(k + 0.5) - torch.arange(1, k + 1, dtype=torch.float32).log()
        raw = raw / raw.sum()
        mean = total(raw[rows] @ told.z[rows] for rows in chunks(k))
        mean = mean * (self.cap * d / mean.square().sum()).sqrt().clamp(max=1)
        spread = (1 - mean.square().sum() / d).sqrt()
        return replace(law, mean=mean, std=spread.expand(d).clone())


@dataclass(frozen=True)
class Natural:
    r"""Natural gradient of the expected rank utility, with a step that follows success.

    With y = T e and utilities u_i = max(0, log(P / 2 + 1) - log i), normalised to sum 1, minus 1 / P, for the i-th
    best of P, equal for equal rewards, so that the worse half counts against:

        m <- m + step s g,    g = sum_i u_i y_i
        s <- s exp(eta / 2 (h - mean h) + q),    h = sum_i u_i (e_i^2 - 1)
        p_j <- (1 - a_j) p_j + sqrt(a_j (2 - a_j)) g' / |u|,    g' = sum_i u_i e_i,    a_j = min(1/2, P / (4^j d))
        A <- A (I + B + B^2 / 2),    B = 0.3 (3 + log d) / (d sqrt(d)) sum_i u_i e_i e_i^T, less its diagonal
        q <- (1 - c) q + c (w - l - aim (w + l)),    c = 0.3

    The shape of s follows the natural gradient, and its size the success q: w is the share of pairs, one of this
    population and one of the last, in which this one is better, and l that in which it is worse; candidates that were
    discarded unscored are in no pair. So the step shrinks when populations stop improving, at a pace that depends on
    the reward's own dimension and not on that of the noise. T = A, the rest of the natural gradient, in at most `full`
    dimensions. In more, where a matrix would take too long to learn, T stretches along the paths p_j, means of the
    steps over longer and longer times.

    Arguments:
        step: how far the mean goes along g; 1 is the natural step.
        rate: times the default eta = (3 + log d) / (5 sqrt(d)).
        aim: share by which wins have to exceed losses for the step to stay as it is.
        paths: how many directions are remembered.
        full: dimensions up to which a matrix is learned instead.

    References:
        High Dimensions and Heavy Tails for Natural Evolution Strategies (Schaul, Glasmachers and Schmidhuber, 2011),
        GECCO: the separable gradient.
        Exponential Natural Evolution Strategies (Glasmachers, Schaul, Sun, Wierstra and Schmidhuber, 2010), GECCO: the
        matrix.
        A Computationally Efficient Limited Memory CMA-ES for Large Scale Optimization (Loshchilov, 2014),
        arXiv:1404.5520: the population success rule.
        Large Scale Black-box Optimization by Limited-Memory Matrix Adaptation (Loshchilov, Glasmachers and Beyer,
        2019), arXiv:1705.06693: the paths.
    """

    step: float = 1.5
    rate: float = 0.5
    aim: float = 0.25
    paths: int = 6
    full: int = 50

    def __post_init__(self) -> None:
        _check(self, self.step > 0 and self.rate >= 0 and 0 <= self.aim < 1 and self.paths >= 0 and self.full >= 0)

    def __call__(self, law: Law, told: Told) -> Law:
        good, d = (told.rewards > -torch.inf).nonzero()[:, 0], len(law.mean)
        utilities = _utilities(told.rewards[good])[:, None]

        def sums(rows: slice) -> Tensor:
            e, u = told.e[good[rows]], utilities[rows]
            parts = [(u * e).sum(0), (u * (e.square() - 1)).sum(0), (u * law.turn(e)).sum(0)]
            return torch.cat([torch.stack(parts), (u * e).T @ e]) if d <= self.full else torch.stack(parts)

        step, shape, turned, *gradient = total(map(sums, chunks(len(good))))
        eta = self.rate * (3 + math.log(d)) / (5 * math.sqrt(d))
        trend = 0.7 * law.trend + 0.3 * _success(told.rewards, law.before, self.aim)
        grow = (eta / 2 * (shape - shape.mean())).clamp(-1, 1) + trend
        return Law(
            law.mean + self.step * law.std * turned,
            (law.std * grow.exp()).clamp(min=LEAST),
            law.paths if d <= self.full else self._paths(law.paths, step / _spread(len(good)), len(told.e)),
            _turned(law.matrix, torch.stack(gradient)) if d <= self.full else law.matrix,
            told.rewards,
            trend,
        )

    def _paths(self, paths: Tensor, step: Tensor, population: int) -> Tensor:
        """The paths with one step more; a new one begins with each, until there are enough."""
        d = len(step)
        if len(paths) < self.paths:
            paths = torch.cat([paths, paths.new_zeros(1, d)])
        a = (population / (d * 4.0 ** torch.arange(len(paths), dtype=torch.float32))).clamp(max=0.5)[:, None]
        return (1 - a) * paths + (a * (2 - a)).sqrt() * step


def _turned(matrix: Tensor, gradient: Tensor) -> Tensor:
    """The matrix after a natural step along sum_i u_i e_i e_i^T `(d, d)`."""
    d = len(gradient)
    gradient.fill_diagonal_(0)  # the spread of each coordinate has the diagonal
    by = 0.3 * (3 + math.log(d)) / (d * math.sqrt(d)) * gradient
    by = by * (0.9 / by.abs().sum(1).max().clamp(min=0.9))  # a bound, so that the matrix stays invertible
    eye = torch.eye(d, dtype=torch.float32)
    return (matrix if len(matrix) else eye) @ (eye + by + by @ by / 2)


def _raw(n: int) -> Tensor:
    raw = (math.log(n / 2 + 1) - torch.arange(1, n + 1, dtype=torch.float32).log()).clamp(min=0)
    return raw / raw.sum() - 1 / n


def _spread(n: int) -> float:
    """Standard deviation of a coordinate of the step of n candidates, if ranks were random."""
    return float(_raw(n).norm())


def _utilities(rewards: Tensor) -> Tensor:
    """Rank utilities `(n,)` of rewards `(n,)`; equal rewards share theirs."""
    raw = torch.empty(len(rewards), dtype=torch.float32)
    raw[ranked(rewards)] = _raw(len(rewards))
    _, group, count = rewards.unique(return_inverse=True, return_counts=True)
    total = torch.zeros(len(count), dtype=torch.float32).index_add_(0, group, raw)
    return (total / count)[group]


def _success(rewards: Tensor, before: Tensor, aim: float) -> float:
    """How far a population is better than the one before, compared pair by pair, above the aim."""
    rewards, before = _scored(rewards), _scored(before)
    if not len(rewards) or not len(before):
        return 0.0
    before, pairs = before.sort().values, len(rewards) * len(before)
    better = torch.searchsorted(before, rewards).sum().float() / pairs
    worse = (pairs - torch.searchsorted(before, rewards, right=True).sum()).float() / pairs
    return float(better - worse - aim * (better + worse))


def _scored(rewards: Tensor) -> Tensor:
    """Without those of the discarded, whose order says nothing across populations; failures are worse than all."""
    return rewards[(rewards > DISCARDED) | (rewards == -torch.inf)]
