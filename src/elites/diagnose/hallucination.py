r"""Samples between the modes: how much the clean guess still moves at the end of a walk.

Where the data have gaps, the true score jumps from one mode to the next, and a network makes a ramp of the jump. A
walk that ends on the ramp ends where there are no data. On the way there its guess E[x0 | x_t] is pulled to both
sides, and keeps moving when the guesses of other walks have settled:

    v = mean over coordinates of 1/|W| sum_(i in W) (x0_i - mean_W x0)^2,    W the guesses in a late window.

The window is everything. Early in a walk all guesses move, and the signal drowns. What counts is the noise that is
left and not how many steps: two schedules take very different numbers of steps over the same noise. So a window is
best given in log-SNR, log(alpha^2 / sigma^2), as `LogSNR(low)`: from where sigma / alpha = exp(-low / 2) is about a
seventh of the gap between modes (`docs/hallucination.md`). `Last(share)` counts steps, and needs to know nothing.

References:
    Understanding Hallucinations in Diffusion Models through Mode Interpolation (Aithal, Maini, Lipton and Kolter,
    2024), arXiv:2406.09358.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor

from ..levels import gaussian
from ..types import InputError, Prior

if TYPE_CHECKING:
    from ..stream import Id, Stream
    from ..target import Target
    from ..templates import Walk

__all__ = ["Last", "LogSNR", "Moving", "TrajectoryVariance", "Window"]


class Window(Protocol):
    """Which of the guesses of a walk count."""

    def __call__(self, prior: Prior, times: Tensor) -> Tensor:
        """Bool `(m,)` for the guesses that are made at `times` `(m,)`."""


@dataclass(frozen=True)
class LogSNR:
    """The guesses made where log(alpha^2 / sigma^2) is at least `low` and at most `high`; needs a noise schedule."""

    low: float
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(f"LogSNR({self.low}, {self.high}) is empty: give low < high.")

    def __call__(self, prior: Prior, times: Tensor) -> Tensor:
        schedule = gaussian(prior, "give the window as Last(share)").schedule
        alpha, sigma = (torch.stack(v).double().cpu() for v in zip(*(schedule(t) for t in times), strict=True))
        ratio = 2 * (alpha / sigma).log()
        return (ratio >= self.low - 1e-9) & (ratio <= self.high + 1e-9)


@dataclass(frozen=True)
class Last:
    """The last `share` of the guesses of a walk, at least two of them."""

    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"Last({self.share}) is no share of a walk: give a number above 0, at most 1.")

    def __call__(self, prior: Prior, times: Tensor) -> Tensor:
        few = max(2, math.ceil(self.share * len(times) - 1e-9))
        return torch.arange(len(times)) >= len(times) - few


class Moving:
    """Running variance of guesses `(B, *shape)`, by Welford's recurrence: one sample of memory beside the guess."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = None
        self.total: Tensor | None = None

    def add(self, x0: Tensor) -> None:
        """One more guess."""
        x0 = x0.detach().flatten(1).double()
        self.count += 1
        if self.mean is None or self.total is None:
            self.mean, self.total = x0, x0[:, 0] * 0  # NaN stays NaN
            return
        off = x0 - self.mean
        self.mean = self.mean + off / self.count
        self.total = self.total + (off * (x0 - self.mean)).mean(1)

    def value(self) -> Tensor:
        """Population variance, mean over coordinates, `(B,)` float64 on the CPU."""
        assert self.total is not None
        return (self.total / self.count).cpu()


@dataclass(frozen=True)
class TrajectoryVariance:
    """How much the clean guess moves at the end of the walk, of each noise; high is less real.

        moves = TrajectoryVariance(LogSNR(4))
        latents, values = moves.walked(target, z, stream, ids)
        latents, prior_values = moves.walked(target, target.prior.noise(stream, many), stream, many)
        real = values <= threshold(prior_values, keep=0.96, higher=False)
        quantile(values, prior_values, higher=False)

    The walk is the target's, with its kernel. The metric was made for stochastic walks, `DDIM(1.0)`: there the late
    noise probes the network around the object. Over many steps of such a walk the object depends on that noise and
    hardly on z, so give an object that was found the stream and the id that it was found with. In a deterministic
    walk, `DDIM(0.0)` or an ODE solver, nothing probes, and the guess moves as the path bends: noise that no prior
    draws shows, samples between modes show less, and in an earlier window (`DenoisingLoss` sees them well). Values
    depend on the window, the steps and the units of the latents, so that only the comparison with prior samples of
    the same target says anything. Rare but honest modes look like gaps, too.

    Arguments:
        window: which guesses count: `Last(share)` or `LogSNR(low, high)`.
    """

    window: Window = field(default_factory=Last)

    def __call__(self, target: Target, z: Tensor, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Values `(n,)` float64 on the CPU, of noise z `(n, *shape)`, where `ids` draw what noise the walk injects.

        The walks are network evaluations of the target that is given, and no rewards but those that its walk asks for.

        Raises:
            InputError: if fewer than two guesses fall into the window, or z does not have the shape of the prior.
        """
        return self.walked(target, z, stream, ids)[1]

    def walked(self, target: Target, z: Tensor, stream: Stream, ids: Sequence[Id]) -> tuple[Tensor, Tensor]:
        """Clean latents `(n, *shape)`, the same as of `target.generate`, and the values `(n,)`."""
        latents, (values,) = moved(target, z, stream, ids, [self.window])
        return latents, values


def moved(
    target: Target, z: Tensor, stream: Stream, ids: Sequence[Id], windows: Sequence[Window]
) -> tuple[Tensor, list[Tensor]]:
    """As `TrajectoryVariance.walked`, with values of several windows of one and the same walk."""
    times = target.prior.grid(target.walk.steps)[:-1]
    inside = [window(target.prior, times) for window in windows]
    for window, some in zip(windows, inside, strict=True):
        if some.sum() < 2:
            raise InputError(
                f"{int(some.sum())} of {len(times)} guesses of the walk are in {window}: give a wider window, or a "
                "walk of more steps."
            )
    if not len(z):
        raise InputError("There is no noise to walk from: give z (n, *shape) with n of at least 1.")
    watched = _Watched(target.walk, torch.stack(inside), [])
    # generate asks of a walk that it solves, and nothing else
    latents = target.with_walk(cast("Walk", watched)).generate(z, stream, ids)
    return latents, [torch.cat(column) for column in zip(*watched.values, strict=True)]


@dataclass(frozen=True)
class _Watched:
    """A walk that keeps the values of each batch it solves."""

    walk: Walk
    inside: Tensor
    values: list[list[Tensor]]

    def solve(
        self, target: Target, z: Tensor, stream: Stream, ids: Sequence[Id], *, recompute: bool = False
    ) -> Tensor:
        moving = [Moving() for _ in self.inside]
        state = self.walk.begin(target, z)
        for level in range(len(state.times) - 1):
            state, x0 = self.walk.on(target, state, level + 1, stream, ids, recompute=recompute)
            for one, some in zip(moving, self.inside[:, level].tolist(), strict=True):
                if some:
                    one.add(x0)
        self.values.append([one.value() for one in moving])
        return state.x
