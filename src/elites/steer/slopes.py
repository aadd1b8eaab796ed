"""Gradients of rewards of clean guesses, through the network or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..stream import Id, Stream
from ..target import Target
from ..templates import chance

__all__ = ["finite", "of_clean", "through"]


def through(
    target: Target, x: Tensor, t: Tensor, ids: Sequence[Id], stream: Stream, walk: Stream
) -> tuple[Tensor, Tensor, Tensor]:
    """Clean guesses of x `(B, *shape)` at t, their rewards `(B,)`, and the gradients of those at x.

    `stream` keys failures, `walk` draws the noise of the guesses. Where a reward fails, the gradient is zero.
    """

    def value(leaf: Tensor, rows: Sequence[Id]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x0 = target.denoise(leaf, t, chance(target, walk, rows, leaf))
        reward = target.score(x0, stream, rows)
        return torch.where(torch.isfinite(reward), reward, 0.0), (x0.detach(), reward.detach())

    _, parts, slope = target.grad(value, x, ids)
    x0, reward = (torch.cat(v) for v in zip(*parts, strict=True))
    return x0, reward, finite(slope)


def of_clean(
    target: Target,
    x0: Tensor,
    ids: Sequence[Id],
    stream: Stream,
    project: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Gradients of the rewards of clean latents `(B, *shape)`, or of what they are projected to; zero for failures."""

    def value(leaf: Tensor, rows: Sequence[Id]) -> tuple[Tensor, None]:
        reward = target.score(leaf if project is None else project(leaf), stream, rows)
        return torch.where(torch.isfinite(reward), reward, 0.0), None

    return finite(target.grad(value, x0, ids)[2])


def finite(slope: Tensor) -> Tensor:
    """The gradients, zero in the rows where they are not finite."""
    good = torch.isfinite(slope).flatten(1).all(1).reshape(-1, *[1] * (slope.ndim - 1))
    return torch.where(good, slope, 0.0)
