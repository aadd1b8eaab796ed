"""Guidance on the clean guess itself: no gradient through the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..levels import gaussian
from ..stream import Id, Stream
from ..target import Target
from ..templates import chance
from ..types import InputError
from .guidance import NONE, Guidance
from .slopes import of_clean

__all__ = ["MPGD"]


@dataclass(frozen=True, eq=False)
class MPGD(Guidance):
    r"""Manifold preserving guided diffusion: the reward's gradient at the clean guess x0, and none of the network's.

    As cheap as a plain walk but for the rewards, and fit for networks without gradients. A gradient at x0 stands for
    one at x_t as if objects given x_t had the variance sigma_t^2 / (alpha_t^2 + sigma_t^2) in every direction,
    g = alpha_t / (alpha_t^2 + sigma_t^2) grad reward / temperature. Nothing keeps such a push on the data's structure
    but `project`, an autoencoder that has learned it: then the gradient is that of reward(project(x0)).

    Arguments:
        steps, n, temperature, strength, repeat: as of `Guidance`.
        project: clean latents `(B, *shape)` to the nearest of the data, differentiable, or `None`.
        climbs: gradients at each level, each taken where those before lead to by that variance, as the backward
            guidance of universal guidance does; the strength applies to their sum.

    Raises:
        InputError: if there is not at least one climb.

    References:
        Manifold Preserving Guided Diffusion (He et al., 2023), arXiv:2311.16424.
        Universal Guidance for Diffusion Models (Bansal et al., 2023), arXiv:2302.07121.

    Differences:
        The noise of a step follows the shifted guess, where the published one keeps that of the guess before.
    """

    project: Callable[[Tensor], Tensor] | None = None
    climbs: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.climbs < 1:
            raise InputError(f"{self}: climb at least once.")

    def asks(self) -> tuple[int, int]:
        return self.climbs, self.climbs

    def slope(
        self, target: Target, x: Tensor, t: Tensor, ids: Sequence[Id], stream: Stream, walk: Stream
    ) -> tuple[Tensor, Tensor]:
        alpha, sigma = (float(v) for v in gaussian(target.prior, NONE).schedule(t))
        x0 = target.denoise(x, t, chance(target, walk, ids, x))
        to_g, to_x0 = alpha / (alpha**2 + sigma**2), sigma**2 / (alpha**2 + sigma**2)

        total = torch.zeros_like(x0)
        for _ in range(self.climbs):
            total = total + of_clean(target, x0 + to_x0 * total, ids, stream, self.project) / self.temperature
        return x0, to_g * total
