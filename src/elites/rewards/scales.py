"""Scales that make different rewards comparable, fixed before a run by what prior samples score.

A scale that moved with the population would give one object different values in different steps, and the best so far
would mean nothing. So these are functions of one number, and the description of a run shows them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["Rank", "Raw", "Standard"]


@dataclass(frozen=True)
class Raw:
    """The number as it is."""

    def __call__(self, values: Tensor) -> Tensor:
        return values


@dataclass(frozen=True)
class Standard:
    """(r - mean) / sd: in standard deviations of the prior's samples.

    Arguments:
        mean: of the reward, in its unit.
        sd: in the same unit.

    Raises:
        InputError: if they are not finite, or the standard deviation is not positive.
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 < self.sd < math.inf):
            raise InputError(f"{self}: give a finite mean and a standard deviation above zero.")

    @classmethod
    def of(cls, values: Tensor) -> Standard:
        """With the mean and the unbiased standard deviation of `(n,)` numbers."""
        return cls(float(values.double().mean()), float(values.double().std()))

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.sd


@dataclass(frozen=True)
class Rank:
    r"""Mid-rank among n reference values, as a share: from 0 to 1, and the same in any unit.

        rank(u) = (#{reference < u} + #{reference = u} / 2) / n          at a reference value u
        slope   = (rank(max) - rank(min)) / (max - min)

    Between neighbours it is linear, and beyond the worst and the best it goes on with the slope of the line through
    these two. So it increases strictly, has a gradient everywhere, and a search that has left all references behind
    still sees what is better; one range of the references beyond the best is worth about 1.

    Arguments:
        reference: n values in the unit of the reward, two of them different.

    Raises:
        InputError: if they are not finite, or all the same.
    """

    reference: tuple[float, ...]
    _at: Tensor = field(init=False, repr=False, compare=False)  # values, from worst to best
    _rank: Tensor = field(init=False, repr=False, compare=False)  # of these
    _slope: Tensor = field(init=False, repr=False, compare=False)  # below, between and above these

    def __post_init__(self) -> None:
        reference = torch.tensor(self.reference, dtype=torch.float64, device="cpu")
        if not torch.isfinite(reference).all() or len(reference.unique()) < 2:
            raise InputError(f"A rank needs finite reference values, two of them different: got {self.reference}.")
        at, counts = reference.unique(return_counts=True)
        counts = counts.double()
        rank = (counts.cumsum(0) - counts / 2) / len(reference)
        outer = (rank[-1:] - rank[:1]) / (at[-1:] - at[:1])
        for name, value in (
            ("_at", at),
            ("_rank", rank),
            ("_slope", torch.cat([outer, rank.diff() / at.diff(), outer])),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, values: Tensor) -> Rank:
        """Among `(n,)` numbers."""
        return cls(tuple(values.double().sort().values.tolist()))

    def __call__(self, values: Tensor) -> Tensor:
        values = values.double()
        above = torch.searchsorted(self._at, values, right=True)  # as many are not larger
        below = (above - 1).clamp(min=0)
        return self._rank[below] + (values - self._at[below]) * self._slope[above]
