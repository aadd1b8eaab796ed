"""What a network is told at a time, and the time from what a scheduler told it.

A network that was trained on a table of levels is also asked between them, at the noise sigma / alpha of a sampler's
own choice (Karras levels). Our time says the noise exactly: it is the fractional index at which `Table` has it. What
the network is told is a clock of that time: the same number in most samplers, rounded or truncated in some, and
num_train_timesteps sigma on flows. Clocks are functions of time alone, so a walk needs no memory of the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..schedule import Table

__all__ = ["Clock", "Even", "Scaled", "between", "nudged", "ratio", "rounded", "same", "truncated"]

Clock = Callable[[Tensor], Tensor]


def same(t: Tensor) -> Tensor:
    """The time itself."""
    return t.double()


def rounded(t: Tensor) -> Tensor:
    """The nearest level (DPM-Solver and UniPC with Karras levels)."""
    return t.double().round()


def truncated(t: Tensor) -> Tensor:
    """The level below (the same two with exponential or beta levels)."""
    return t.double().trunc()


@dataclass(frozen=True, eq=False)
class Even:
    """The time at which sigma / alpha, not its logarithm, is linear between the levels (Euler with `linspace`)."""

    table: Table

    def __call__(self, t: Tensor) -> Tensor:
        told = torch.as_tensor(np.interp(ratio(self.table, t.cpu()), *_rising(self.table)), device=t.device)
        return torch.where(t == t.round(), t.double(), told)


@dataclass(frozen=True)
class Scaled:
    """size sigma, in float32 or truncated, as schedulers of flows compute it."""

    size: int
    whole: bool

    def __call__(self, t: Tensor) -> Tensor:
        return (t.double() * self.size).trunc() if self.whole else (t.float() * self.size).double()


def _rising(table: Table) -> tuple[Tensor, Tensor]:
    """sigma / alpha of the levels, and their times, while it grows.

    Diffusers replaces alpha = 0 of zero terminal SNR by 2^-12, which can be more than that of the level before.
    """
    levels = torch.arange(len(table.alphas_cumprod), dtype=torch.float64)
    ratios = ratio(table, levels)
    grows = ratios == ratios.cummax(0).values
    return ratios[grows], levels[grows]


def ratio(table: Table, t: Tensor) -> Tensor:
    """sigma / alpha at t."""
    alpha, sigma = table(t)
    return sigma / alpha


def between(table: Table, told: Tensor, ratios: Tensor) -> Tensor:
    """Times at which sigma / alpha has these values, all `(m,)`: what the network is told, where that is right."""
    known, levels = _rising(table)
    t = torch.from_numpy(np.interp(ratios.log(), known.log(), levels))
    inside = told.clamp(min=0, max=len(table.alphas_cumprod) - 1)
    return torch.where((told == inside) & torch.isclose(ratio(table, inside), ratios, rtol=1e-6, atol=0), told, t)


def nudged(clock: Clock, level: Clock, t: Tensor, told: Tensor) -> Tensor:
    """t moved by its rounding error where the scheduler truncated the same number on the other side of a whole one.

    Far enough for float32, in which a prior hands times to its network, unless `level(t)` is too steep for that.
    """
    start = level(t)
    for by in (3e-7, -3e-7, 1e-9, -1e-9):
        moved = t * (1 + by)
        near = torch.isclose(level(moved), start, rtol=1e-5, atol=0) & (clock(moved) == told)
        better = (clock(t) != told) | ((clock(t.float()) != told) & (clock(moved.float()) == told))
        t = torch.where(near & better, moved, t)
    return t
