"""Guidance by the reward of the clean guess, through the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..stream import Id, Stream
from ..target import Target
from .guidance import Guidance
from .slopes import through

__all__ = ["DPS"]


@dataclass(frozen=True)
class DPS(Guidance):
    """Diffusion posterior sampling: g is the gradient of reward(x0(x_t)) / temperature, through the network.

    The reward of the mean stands for the mean of exp(reward), so that samples are too sure of themselves, and a scale
    has no calibrated value: see `MMPS` for measurements, `LGDMC` for a smoother estimate, and `Twisted` for particles
    that are weighted for the difference. With `Raw(zeta)` and the reward -|y - A(x0)| it is the published rule; with
    `repeat=Repeat()` it is FreeDoM.

    Arguments:
        steps, n, temperature, strength, repeat: as of `Guidance`.

    References:
        Diffusion Posterior Sampling for General Noisy Inverse Problems (Chung, Kim, McCann, Klasky and Ye, 2022),
        arXiv:2209.14687.
        FreeDoM: Training-Free Energy-Guided Conditional Diffusion Model (Yu, Wang, Zhao, Ghanem and Zhang, 2023),
        arXiv:2303.09833.

    Differences:
        Every sample has its own norm, where the published code takes that of the whole batch; the push is of the
        clean guess, so that it is the same on every schedule and kernel.
    """

    def slope(
        self, target: Target, x: Tensor, t: Tensor, ids: Sequence[Id], stream: Stream, walk: Stream
    ) -> tuple[Tensor, Tensor]:
        x0, _, g = through(target, x, t, ids, stream, walk)
        return x0, g / self.temperature
