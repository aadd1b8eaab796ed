r"""Guards: where a search over noise may go.

Noise of a d-dimensional standard normal lies on a thin shell |z| = sqrt(d). A search that leaves it buys reward with
objects that the prior would never make. In few dimensions the shell is thick and a cap on the norm is the honest
guard; from about fifty dimensions on the shell itself is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["Anywhere", "Guard", "Typical"]


class Guard(Protocol):
    """Keeps candidates, and the law that draws them, where they are typical."""

    def place(self, z: Tensor) -> Tensor:
        """Candidates `(n, d)` moved to where they may be."""

    def scale(self, energy: Tensor, d: int) -> Tensor:
        """Factor for mean and spread of a law in d dimensions whose E|z|^2 is `energy`."""

    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        """The part of the directions v `(n, d)` that leads from candidates z `(n, d)` to where they may be."""


@dataclass(frozen=True)
class Typical:
    """On the shell from `shell_from` dimensions on; below, at most the given quantile of |z|^2, a chi-square.

    Arguments:
        shell_from: dimensions where the shell replaces the cap.
        sigmas: the quantile of the cap, as that many standard deviations of a normal: 2.326 is 99 %.
    """

    shell_from: int = 50
    sigmas: float = 2.326

    def place(self, z: Tensor) -> Tensor:
        norm2, d = _norm2(z), z.shape[1]
        if d >= self.shell_from:
            return z * (d / norm2).sqrt()
        return z * (self._cap(d) / norm2).sqrt().clamp(max=1)

    def scale(self, energy: Tensor, d: int) -> Tensor:
        if d >= self.shell_from:
            return (d / energy).sqrt()
        return (self._cap(d) / energy).sqrt().clamp(max=1)

    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        norm2, d = _norm2(z), z.shape[1]
        along = (v * z).sum(1, keepdim=True) / norm2
        if d < self.shell_from:  # inside of the cap all is free, and on it what leads inwards
            along = along.clamp(min=0).where(norm2 > 0.9999 * self._cap(d), 0.0)
        return v - along * z

    def _cap(self, d: int) -> float:
        """Quantile of the chi-square law by the cube of a normal (Wilson and Hilferty, 1931)."""
        v = 2 / (9 * d)
        return d * (1 - v + self.sigmas * math.sqrt(v)) ** 3


@dataclass(frozen=True)
class Anywhere:
    """No guard, as most optimisers: for comparison, or for priors whose noise law does not matter."""

    def place(self, z: Tensor) -> Tensor:
        return z

    def scale(self, energy: Tensor, d: int) -> Tensor:
        return energy.new_ones(())

    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        return v


def _norm2(z: Tensor) -> Tensor:
    """|z|^2 `(n, 1)` of `(n, d)`; of a single row as of two, since torch sums that in another number of threads."""
    return _norm2(z.expand(2, -1))[:1] if len(z) == 1 else z.square().sum(1, keepdim=True)
