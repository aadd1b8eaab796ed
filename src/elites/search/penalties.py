r"""Penalties: what an ascent over noise pays for leaving the law of the noise.

A guard moves noise to where it may be. A penalty lets it go and charges for it: the ascent climbs the reward minus the
penalty, so weights are in units of the reward. The two go together too, since the shell says nothing about structure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..types import InputError

__all__ = ["ChiNorm", "Penalty", "Whiteness"]


class Penalty(Protocol):
    """Charges noise for not being typical."""

    def __call__(self, z: Tensor, stream: Stream) -> Tensor:
        """The charge, 0-dim and differentiable, of one noise `(d,)`; the stream is that of the step."""


@dataclass(frozen=True)
class ChiNorm:
    r"""Minus the log-density of the norm, which has the chi law, up to a constant.

        weight (|z|^2 / 2 - (d - 1) log |z|)

    It is least at |z|^2 = d - 1 and sees the norm alone.

    Arguments:
        weight: in units of the reward.

    Raises:
        InputError: if the weight is negative.

    References:
        ReNO: Enhancing One-step Text-to-Image Models through Reward-based Noise Optimization (Eyring et al., 2024),
        arXiv:2406.04312.
    """

    weight: float = 0.01

    def __post_init__(self) -> None:
        _check(self, self.weight)

    def __call__(self, z: Tensor, stream: Stream) -> Tensor:
        norm2 = z.square().sum()
        return self.weight * (norm2 - (len(z) - 1) * norm2.log()) / 2


@dataclass(frozen=True)
class Whiteness:
    r"""Minus log bounds on the probability of the means and covariances of blocks, as they stand and permuted.

    z is cut into m blocks of k numbers, the rows of Z `(m, k)`; what is left over is not looked at. With

        M1 = |mean of the rows|,    M2 = |Z^T Z / m - I|_2 (the largest singular value)

        log p1 = min(-m M1^2 / (2 k), -log 2)
        log p2 = min(-m max(sqrt(1 + M2) - 1 - sqrt(k / m), 0)^2 / 2, -log 2)

    the penalty is weight times -(log p1 + log p2) of z, plus the average of the same over random permutations of z,
    drawn anew at each step and the same for all chains. The least charge is 4 log 2 times the weight: there, or a
    little above it, is typical noise, which feels next to no slope. This is a wall, not a well.

    Arguments:
        weight: in units of the reward.
        block: k; at most half of the noise is taken.
        permutations: how many to average over; each costs a sort of d numbers.

    Raises:
        InputError: if the weight is negative, or there is no block or no permutation.

    References:
        Inference-Time Alignment of Diffusion Models with Direct Noise Optimization (Tang et al., 2025),
        arXiv:2405.18881.
    """

    weight: float = 1.0
    block: int = 4
    permutations: int = 100

    def __post_init__(self) -> None:
        _check(self, self.weight, self.block, self.permutations)

    def __call__(self, z: Tensor, stream: Stream) -> Tensor:
        keys = stream.at(purpose=Purpose.METHOD)
        orders = keys.uniform(range(self.permutations), z.shape).argsort(stable=True).to(z.device)
        return self.weight * (self._charge(z[None])[0] + self._charge(z[orders]).mean())

    def _charge(self, z: Tensor) -> Tensor:
        """-(log p1 + log p2) `(n,)` of noise `(n, d)`."""
        k = max(1, min(self.block, z.shape[1] // 2))
        m = z.shape[1] // k
        rows = z[:, : m * k].reshape(len(z), m, k)
        mean = m * rows.mean(1).square().sum(1) / (2 * k)
        spread = rows.mT @ rows / m - torch.eye(k, dtype=z.dtype, device=z.device)
        largest = torch.linalg.eigvalsh(spread).abs().amax(1)
        excess = ((1 + largest).sqrt() - 1 - math.sqrt(k / m)).clamp(min=0)
        return mean.clamp(min=math.log(2)) + (m * excess.square() / 2).clamp(min=math.log(2))


def _check(penalty: Penalty, weight: float, *counts: int) -> None:
    if not weight >= 0 or not all(count >= 1 for count in counts):
        raise InputError(f"{penalty}: give a weight that is not negative, and at least one of everything counted.")
