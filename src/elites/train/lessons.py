r"""What a network is taught: the clean guess it should make at noisy objects.

All fine-tuning here is a regression. A lesson draws rows x at one noise level t, with the guesses y that are wanted
there, and the loss is a mean of w |x0(x, t) - y|^2. For denoising x = alpha y + sigma z and

    w = 1 + min(alpha^2 / sigma^2, 4),

which is the loss of v-prediction with the weight of nearly clean objects bounded.

References:
    Progressive Distillation for Fast Sampling of Diffusion Models (Salimans and Ho, 2022), arXiv:2202.00512.
    Efficient Diffusion Training via Min-SNR Weighting Strategy (Hang et al., 2023), arXiv:2303.09556.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..levels import gaussian
from ..resample import Systematic
from ..stream import Stream
from ..target import Target

__all__ = ["Denoising", "Draw", "Lesson", "Recorded"]

MOST = 4.0  # of the ratio of signal to noise that weighs


@dataclass(frozen=True, eq=False)
class Draw:
    """Noisy objects x `(rows, *shape)` at 0-dim t, the guesses y that are wanted there, and their 0-dim weight."""

    x: Tensor
    t: Tensor
    y: Tensor
    weight: float


class Lesson(Protocol):
    """What a round teaches."""

    def draw(self, target: Target, rows: int, at: float, stream: Stream) -> Draw:
        """At most `rows` at the level that is a share `at`, in [0, 1), down the walk."""


@dataclass(frozen=True, eq=False)
class Denoising:
    """Clean objects to denoise.

    Arguments:
        x0: latents `(n, *shape)`.
        weights: how often each is drawn `(n,)`, summing to one.
        times: levels to draw from, as of `prior.grid`.
        replay: latents `(m, *shape)` of the original data, or `None`.
        share: of the rows that are replayed.
    """

    x0: Tensor
    weights: Tensor
    times: Tensor
    replay: Tensor | None = None
    share: float = 0.5

    def draw(self, target: Target, rows: int, at: float, stream: Stream) -> Draw:
        t = self.times[int(at * (len(self.times) - 1))]  # the last one is the clean end
        alpha, sigma = (float(v) for v in gaussian(target.prior, "give a Gaussian prior").schedule(t))
        u = stream.uniform([0], (rows,))[0].double()  # one draw for all: rows are no candidates
        part = float(stream.at(draw=stream.draw + 1).uniform([1])[0])  # so that a share of any size is one on average
        old = int(self.share * rows + part) if self.replay is not None else 0
        x0 = self.x0[Systematic()(self.weights, u[old:])] if old < rows else self.x0[:0]
        if self.replay is not None:
            x0 = torch.cat([self.replay[(u[:old] * len(self.replay)).long()].to(x0), x0])
        z = stream.at(draw=stream.draw + 1).normal([0], (rows, *target.prior.shape))[0]
        x0 = x0.to(target.prior.start(z[:1]).device)
        return Draw(alpha * x0 + sigma * z.to(x0), t, x0, 1 + min((alpha / sigma) ** 2, MOST))


@dataclass(frozen=True, eq=False)
class Recorded:
    """Noisy objects of walks, with the guess that is wanted at each.

    Arguments:
        times: of the levels `(levels,)`.
        x, y: `(levels, n, *shape)`.
        weights: of the levels `(levels,)`.
    """

    times: Tensor
    x: Tensor
    y: Tensor
    weights: Tensor

    def draw(self, target: Target, rows: int, at: float, stream: Stream) -> Draw:
        k, n = int(at * len(self.times)), self.x.shape[1]
        u = stream.uniform([0], (rows,))[0].double()
        some = Systematic()(torch.full((n,), 1 / n).double(), u) if rows < n else torch.arange(n)
        return Draw(self.x[k][some], self.times[k], self.y[k][some], float(self.weights[k]))
