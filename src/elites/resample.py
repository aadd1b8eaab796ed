r"""Resampling: from weighted particles to as many equally weighted ones, without bias.

A scheme turns log weights into ancestors; particle i has n w_i children on average, with w the normalised weights.
All arithmetic is in float64 and in the log domain, so that a shift of all log weights changes nothing and no weight
overflows.

    ESS = (sum w)^2 / sum w^2

References:
    Resampling Algorithms for Particle Filters: a computational complexity perspective, and comparison of resampling
    schemes (Douc, Cappe and Moulines, 2005), arXiv:cs/0507025.
    Adaptive Proposals and ESS: Sequential Monte Carlo Methods in Practice (Liu and Chen, 1995), for the trigger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .types import InputError

__all__ = ["Multinomial", "Resample", "Residual", "Scheme", "Stratified", "Systematic", "ess", "normalised"]


def normalised(logw: Tensor) -> Tensor:
    """Weights `(n,)` float64 that sum to one; where nothing has weight, all have the same.

    Arguments:
        logw: `(n,)`, -inf for particles of no weight.
    """
    logw = logw.double()
    if not (logw > -torch.inf).any():
        return torch.full_like(logw, 1 / len(logw))
    return logw.softmax(0)


def ess(logw: Tensor) -> float:
    """Effective sample size of log weights `(n,)`: from 1, where one has it all, to n."""
    return float(1 / normalised(logw).square().sum())


class Scheme(Protocol):
    """How ancestors are drawn."""

    def __call__(self, weights: Tensor, u: Tensor) -> Tensor:
        """Ancestors `(n,)`, in rising order, from normalised weights `(n,)` and uniform numbers `(n,)` in [0, 1)."""


def _at(weights: Tensor, points: Tensor) -> Tensor:
    """Where the points in [0, 1) fall on the cumulated weights; never on a particle of no weight."""
    edges = weights.cumsum(0)
    edges = edges / edges[-1]
    last = int(weights.nonzero().max())
    return torch.searchsorted(edges, points.double(), right=True).clamp(max=last)


@dataclass(frozen=True)
class Multinomial:
    """Independent draws: the most variance, and the one whose theory is simplest."""

    def __call__(self, weights: Tensor, u: Tensor) -> Tensor:
        return _at(weights, u.sort().values)


@dataclass(frozen=True)
class Stratified:
    """One draw in each n-th part of [0, 1)."""

    def __call__(self, weights: Tensor, u: Tensor) -> Tensor:
        n = len(u)
        return _at(weights, (torch.arange(n) + u.double()) / n)


@dataclass(frozen=True)
class Systematic:
    """One draw for all parts of [0, 1), so that particle i has n w_i children, rounded up or down."""

    def __call__(self, weights: Tensor, u: Tensor) -> Tensor:
        n = len(u)
        return _at(weights, (torch.arange(n) + u[0].double()) / n)


@dataclass(frozen=True)
class Residual:
    """floor(n w_i) children for sure, and the rest drawn independently from what is left of the weights."""

    def __call__(self, weights: Tensor, u: Tensor) -> Tensor:
        n = len(u)
        sure = (n * weights + 1e-9).floor().long()
        first = torch.arange(n).repeat_interleave(sure)[:n]
        left = n - len(first)
        if not left:
            return first
        rest = (n * weights - sure).clamp(min=0)
        drawn = _at(rest / rest.sum(), u[:left].sort().values)
        return torch.cat([first, drawn]).sort().values


@dataclass(frozen=True)
class Resample:
    """When to resample, and how.

    Arguments:
        scheme: `Systematic()`, `Stratified()`, `Residual()` or `Multinomial()`.
        below: resample where ESS < `below` n; 1 always does where weights differ, 0 never.
        window: part of a walk where it may happen, from 0, pure noise, to 1, the clean end.
        every: n-th step of the walk at which it may happen.

    Raises:
        InputError: if a number is out of range.
    """

    scheme: Scheme = Systematic()
    below: float = 0.5
    window: tuple[float, float] = (0.0, 1.0)
    every: int = 1

    def __post_init__(self) -> None:
        low, high = self.window
        if not (0 <= self.below <= 1 and 0 <= low <= high <= 1 and self.every >= 1):
            raise InputError(f"{self}: give below in [0, 1], a window within (0, 1) that rises, and every from 1 on.")

    def allowed(self, i: int, levels: int) -> bool:
        """Whether it may happen at level i of a walk of so many."""
        return i % self.every == 0 and self.window[0] <= i / levels <= self.window[1]

    def __call__(self, logw: Tensor, u: Tensor) -> Tensor | None:
        """Ancestors `(n,)`, or `None` where the weights are even enough."""
        if not (logw > -torch.inf).any() or ess(logw) >= self.below * len(logw) * (1 - 1e-9):
            return None
        return self.scheme(normalised(logw), u)
