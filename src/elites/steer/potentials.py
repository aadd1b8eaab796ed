r"""Potentials: how the rewards of clean guesses along a walk add up to weights.

With r_0, r_1, ... the rewards over temperature that a particle's line has seen, and Phi the log of the product of all
potentials so far,

    difference    Phi_i = r_i
    max           Phi_i = Phi_{i-1} + max_{j <= i} r_j
    sum           Phi_i = Phi_{i-1} + sum_{j <= i} r_j

At the clean end the product is exp(r) for all of them. Those that add up ask for the reward at every level, prefer
lines that were good early, and pay for it by uneven weights at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Difference", "Max", "Potential", "Sum"]


class Potential(Protocol):
    """One step of Phi."""

    @property
    def start(self) -> float:
        """What a line remembers before its first reward."""

    def __call__(self, reward: Tensor, memory: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Phi and memory `(n,)` after rewards over temperature `(n,)`."""


@dataclass(frozen=True)
class Difference:
    """The last reward alone; weights move by its change."""

    start: float = 0.0

    def __call__(self, reward: Tensor, memory: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        return reward, memory


@dataclass(frozen=True)
class Max:
    """The best reward of a line so far, at every level."""

    start: float = -torch.inf

    def __call__(self, reward: Tensor, memory: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        memory = torch.maximum(memory, reward)
        return phi + memory, memory


@dataclass(frozen=True)
class Sum:
    """All rewards of a line so far, at every level."""

    start: float = 0.0

    def __call__(self, reward: Tensor, memory: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        memory = memory + reward
        return phi + memory, memory
