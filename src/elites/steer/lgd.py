"""Guidance by the rewards of several objects that a noisy one may become."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..levels import gaussian
from ..stream import Id, Purpose, Stream
from ..target import Target
from ..templates import chance
from ..types import InputError
from .guidance import NONE, Guidance
from .slopes import finite

__all__ = ["LGDMC"]


@dataclass(frozen=True)
class LGDMC(Guidance):
    r"""Loss-guided diffusion with Monte Carlo: the gradient of log mean_i exp(reward(x0 + r_t e_i) / temperature).

    r_t = `spread` sigma_t / sqrt(alpha_t^2 + sigma_t^2) is the standard deviation of an object given x_t if those of
    the prior have variance `spread`^2 = 1; the network's pass is shared by all draws. Exact, up to the number of
    draws, where objects given x_t are normal with that variance; on data that live on a thin set draws leave it.

    Arguments:
        steps, n, temperature, strength, repeat: as of `Guidance`.
        draws: objects for each guess; they come in pairs x0 +- r_t e, the last of an odd number alone.
        spread: factor of r_t.

    Raises:
        InputError: if a number is out of range.

    References:
        Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation (Song et al., 2023), ICML.

    Differences:
        Draws come in mirrored pairs.
    """

    draws: int = 8
    spread: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1 or not self.spread >= 0:
            raise InputError(f"{self}: give at least one draw, and a spread that is not negative.")

    def asks(self) -> tuple[int, int]:
        return self.draws, 1

    def slope(
        self, target: Target, x: Tensor, t: Tensor, ids: Sequence[Id], stream: Stream, walk: Stream
    ) -> tuple[Tensor, Tensor]:
        alpha, sigma = (float(v) for v in gaussian(target.prior, NONE).schedule(t))
        r, shape = self.spread * sigma / math.hypot(alpha, sigma), (-(-self.draws // 2), *target.prior.shape)

        def value(leaf: Tensor, rows: Sequence[Id]) -> tuple[Tensor, Tensor]:
            x0 = target.denoise(leaf, t, chance(target, walk, rows, leaf))
            e = walk.at(purpose=Purpose.METHOD, draw=walk.draw + 1).normal(rows, shape).to(x0)
            signs = torch.tensor([(-1.0) ** i for i in range(self.draws)]).to(x0)
            apart = r * e[:, torch.arange(self.draws) // 2] * signs.reshape(-1, *[1] * (x0.ndim - 1))
            objects = (x0[:, None] + apart).flatten(0, 1)  # candidate by candidate, as failures are listed
            found = target.score(objects, stream, [i for i in rows for _ in range(self.draws)])
            rewards = (found.reshape(len(x0), self.draws) / self.temperature).unbind(1)
            return _log_sum_exp(rewards), x0.detach()

        _, parts, g = target.grad(value, x, ids)
        return torch.cat(parts), finite(g)


def _log_sum_exp(rows: Sequence[Tensor]) -> Tensor:
    """Of rewards `(n,)` each, without those that failed, and 0 where all did; added in order, whatever n is."""
    good = [torch.isfinite(v) for v in rows]
    best = torch.stack([torch.where(on, v.detach(), -torch.inf) for on, v in zip(good, rows, strict=True)]).amax(0)
    some = torch.isfinite(best)
    best = torch.where(some, best, 0.0)
    total = torch.zeros_like(best)
    for on, v in zip(good, rows, strict=True):
        total = total + torch.where(on, (torch.where(on, v, best) - best).exp(), 0.0)
    return torch.where(some, torch.where(some, total, 1.0).log() + best, 0.0)
