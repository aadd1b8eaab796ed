r"""Noise schedules, and exact conversions between what networks predict.

A schedule maps a time to (alpha, sigma) of the noisy law x_t = alpha_t x0 + sigma_t eps, and knows the decreasing
times of a walk. At a given x, the clean guess X0 = E[x0|x], the noise E = E[eps|x], the v-prediction, the score and
the velocity of the probability-flow ODE are affine functions of one another:

    E        = (x - alpha X0) / sigma
    v        = alpha E - sigma X0
    score    = -E / sigma
    velocity = alpha' X0 + sigma' E

so a network that predicts one of them predicts all. Everything is computed in float64 from 0-dim times.

References:
    The Principles of Diffusion Models (Lai, Song, Kim, Mitsufuji and Ermon, 2025), arXiv:2510.21890.
    Elucidating the Design Space of Diffusion-Based Generative Models (Karras, Aittala, Aila and Laine, 2022),
    arXiv:2206.00364.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .types import InputError

__all__ = [
    "EDM",
    "VE",
    "X0",
    "Eps",
    "Flow",
    "Pair",
    "Prediction",
    "Schedule",
    "Score",
    "Table",
    "V",
    "VPCosine",
    "VPLinear",
    "Velocity",
    "rates",
]


class Schedule(Protocol):
    """Times to (alpha, sigma), and the times of a walk."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at t, both of the shape of t."""

    def times(self, steps: int) -> Tensor:
        """Decreasing times `(steps + 1,)`, float64, the last one with sigma = 0."""


def _even(start: float, end: float, steps: int) -> Tensor:
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


@dataclass(frozen=True)
class VPLinear:
    """Variance preserving with beta(t) linear in t in [0, 1]."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def times(self, steps: int) -> Tensor:
        return _even(1.0, 0.0, steps)


@dataclass(frozen=True)
class VPCosine:
    """Variance preserving with alpha = cos(pi t / 2); walks start at `start`, where alpha is still positive."""

    start: float = 0.995

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return (math.pi / 2 * t).cos(), (math.pi / 2 * t).sin()

    def times(self, steps: int) -> Tensor:
        return _even(self.start, 0.0, steps)


@dataclass(frozen=True)
class VE:
    """Variance exploding, alpha = 1 and sigma = t, at geometrically spaced levels down to `sigma_min`, then 0."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), t

    def times(self, steps: int) -> Tensor:
        logs = torch.linspace(math.log(self.sigma_max), math.log(self.sigma_min), steps, dtype=torch.float64)
        return torch.cat([logs.exp(), torch.zeros(1, dtype=torch.float64)])


@dataclass(frozen=True)
class EDM:
    """alpha = 1 and sigma = t, at the levels of Karras et al.: evenly spaced in sigma^(1 / rho), then 0."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), t

    def times(self, steps: int) -> Tensor:
        ends = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return torch.cat(
            [
                torch.linspace(*ends, steps, dtype=torch.float64) ** self.rho,
                torch.zeros(1, dtype=torch.float64),
            ]
        )


@dataclass(frozen=True)
class Flow:
    """Linear interpolant, alpha = 1 - t and sigma = t; `shift` > 1 spends more of the steps at high noise."""

    shift: float = 1.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def times(self, steps: int) -> Tensor:
        t = _even(1.0, 0.0, steps)
        return self.shift * t / (1 + (self.shift - 1) * t)


@dataclass(frozen=True)
class Pair:
    """Any two functions of time, with evenly spaced walks from `start` to `end`, where sigma should be 0."""

    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]
    start: float = 1.0
    end: float = 0.0

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.alpha(t), self.sigma(t)

    def times(self, steps: int) -> Tensor:
        return _even(self.start, self.end, steps)


@dataclass(frozen=True, eq=False)
class Table:
    """Discrete variance-preserving levels, as trained by DDPM: times are the indices T - 1, ..., 0, and -1 is clean.

    Between two levels log(sigma / alpha) is linear in time, as k-diffusion and diffusers have it. Where it is infinite
    on one side, at the clean end and at zero terminal SNR, the angle atan2(sigma, alpha) is linear instead.

    Arguments:
        alphas_cumprod: alpha^2 of the levels `(T,)`.
        final: alpha^2 at time -1.
        spacing: number of steps to decreasing times; by default trailing, from T - 1 in even steps.
    """

    alphas_cumprod: Tensor = field(repr=False)
    final: float = 1.0
    spacing: Callable[[int], Tensor] | None = field(default=None, repr=False)

    _pairs: tuple[Tensor, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # the clean end comes last, so that index -1 finds it
        alpha2 = torch.cat([self.alphas_cumprod.double().cpu(), torch.tensor([self.final], dtype=torch.float64)])
        object.__setattr__(self, "_pairs", (alpha2.sqrt(), (1 - alpha2).sqrt()))

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self._pairs
        if t.ndim == 0 and float(t).is_integer():  # nearly every call
            return alpha[int(t)], sigma[int(t)]
        t = t.detach().double().cpu()
        low, high = t.floor().long(), t.ceil().long()
        weight = t - low
        logs, angles = (sigma / alpha).log(), torch.atan2(sigma, alpha)
        log = torch.lerp(logs[low], logs[high], weight)
        angle = torch.lerp(angles[low], angles[high], weight)
        angle = torch.where(log.isfinite(), log.exp().atan(), angle)
        exact = weight == 0  # no rounding at the levels themselves
        return torch.where(exact, alpha[low], angle.cos()), torch.where(exact, sigma[low], angle.sin())

    def times(self, steps: int) -> Tensor:
        size = len(self.alphas_cumprod)
        if not 1 <= steps <= size:
            raise InputError(f"The schedule has {size} levels: ask for 1 to {size} steps, not {steps}.")
        if self.spacing is not None and steps > 1:  # one step starts at the top, where leading times would start at 0
            return self.spacing(steps)
        return torch.linspace(size, 0, steps + 1, dtype=torch.float64).round() - 1


def rates(schedule: Callable[[Tensor], tuple[Tensor, Tensor]], t: Tensor) -> tuple[Tensor, Tensor]:
    """Time derivatives (alpha', sigma') at a 0-dim t."""
    with torch.enable_grad():
        leaf = t.detach().double().requires_grad_()
        values = (v if v.requires_grad else v + 0 * leaf for v in schedule(leaf))
        alpha, sigma = (torch.autograd.grad(v, leaf, retain_graph=True)[0] for v in values)  # sigma may use alpha
    return alpha, sigma


class Prediction(Protocol):
    """What a network predicts: a map to the clean guess and back, for y, x0 and x of shape `(B, *shape)`."""

    def x0(self, y: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        """Clean guess from the prediction y at (x, t)."""

    def of(self, x0: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        """The prediction from the clean guess at (x, t)."""


@dataclass(frozen=True)
class X0:
    """The clean guess itself."""

    def x0(self, y: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        return y

    def of(self, x0: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        return x0


@dataclass(frozen=True)
class Eps:
    """The noise E; needs alpha > 0."""

    def x0(self, y: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return (x - sigma * y) / alpha

    def of(self, x0: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return (x - alpha * x0) / sigma


@dataclass(frozen=True)
class V:
    """alpha E - sigma X0, for any (alpha, sigma).

    References:
        Progressive Distillation for Fast Sampling of Diffusion Models (Salimans and Ho, 2022), arXiv:2202.00512.
    """

    def x0(self, y: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        energy = alpha**2 + sigma**2
        return (alpha / energy) * x - (sigma / energy) * y

    def of(self, x0: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return (alpha * x - (alpha**2 + sigma**2) * x0) / sigma


@dataclass(frozen=True)
class Score:
    """The gradient of the log density of the noisy law; needs alpha > 0."""

    def x0(self, y: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return (x + sigma**2 * y) / alpha

    def of(self, x0: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        return (alpha * x0 - x) / sigma**2


@dataclass(frozen=True)
class Velocity:
    """alpha' X0 + sigma' E, the drift dx/dt of the probability-flow ODE; on flows, E - X0."""

    def x0(self, y: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        (alpha, sigma), (da, ds) = schedule(t), rates(schedule, t)
        return (ds * x - sigma * y) / (ds * alpha - da * sigma)

    def of(self, x0: Tensor, x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        (alpha, sigma), (da, ds) = schedule(t), rates(schedule, t)
        return da * x0 + ds * (x - alpha * x0) / sigma
