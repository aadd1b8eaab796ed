"""The same prior on another schedule: its law and its clean guesses are kept, and walked otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..kernel import DDIM
from ..levels import gaussian, time_of, trainable
from ..schedule import Schedule
from ..stream import Id, Stream
from ..types import Gaussian

__all__ = ["Reschedule"]


@dataclass(frozen=True, eq=False)
class Reschedule:
    r"""Interpolant conversion: a flow walked as a variance-preserving diffusion, or anything as anything.

    At equal sigma / alpha, noisy objects of two schedules differ by a factor, so that the clean guess of a network on
    its own schedule (alpha, sigma) is the clean guess on another (A, S):

        x0(x, s) = x0_own(x alpha_t / A_s, t),    t with sigma_t / alpha_t = S_s / A_s

    exactly, for any network that takes every noise level. Nothing is retrained. Another schedule spends its steps at
    other levels, and gives kernels with noise other steps between them.

    Arguments:
        prior: any Gaussian prior.
        schedule: to walk on.
        kernel: of the walk, by default with noise, for methods that need random steps.

    Raises:
        InputError: if the prior has no schedule.

    References:
        Inference-Time Scaling for Flow Models via Stochastic Generation and Rollover Budget Forcing (Kim, Yoon, Hwang
        and Sung, 2025), arXiv:2503.19385.
        Elucidating the Design Space of Diffusion-Based Generative Models (Karras, Aittala, Aila and Laine, 2022),
        arXiv:2206.00364.

    Differences:
        The conversion is of clean guesses and not of velocities, so that it needs no derivative of a schedule. Where
        the new schedule has more noise than the prior knows, the prior is asked at its noisiest level.
    """

    prior: Gaussian
    schedule: Schedule
    kernel: Any = DDIM(1.0)  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        gaussian(self.prior, "give a Gaussian prior")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one object in latent space."""
        return self.prior.shape

    @property
    def cost(self) -> int:
        """That of the prior."""
        return self.prior.cost

    @property
    def noisy(self) -> bool:
        """Whether the kernel draws noise."""
        return bool(self.kernel.noisy)

    def noise(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Standard normal noise of the candidates."""
        return self.prior.noise(stream, ids)

    def decode(self, x0: Tensor) -> Any:
        """Clean latents to objects."""
        return self.prior.decode(x0)

    def grid(self, steps: int) -> Tensor:
        """The times of the new schedule."""
        return self.schedule.times(steps)

    def start(self, z: Tensor) -> Tensor:
        """Noise at the first time, scaled from that of the prior."""
        own = float(self.prior.schedule(self.prior.grid(1)[0])[1])
        return self.prior.start(z) * (float(self.schedule(self.schedule.times(1)[0])[1]) / own)

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """The clean guess of the prior at the same noise level."""
        alpha, sigma = (float(v) for v in self.schedule(t))
        ratio = sigma / alpha if alpha > 0 else torch.inf
        when = time_of(self.prior.schedule, ratio, self.prior.grid(1))
        own_alpha, own_sigma = (float(v) for v in self.prior.schedule(when))
        by = own_sigma / sigma if sigma > alpha else own_alpha / alpha  # the one that is not nearly zero
        return self.prior.denoise(x * by, when, z)

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """a x + b x0 + c z on the new schedule."""
        a, b, c = (float(v) for v in self.kernel(self.schedule, t, s))
        mean = a * x + b * x0
        return mean if z is None else mean + c * z

    def weights(self) -> dict[str, Tensor]:
        """Those of the prior."""
        return trainable(self.prior).weights()

    def with_weights(self, weights: Mapping[str, Tensor]) -> Reschedule:
        """The same schedule for a prior with other weights."""
        return replace(self, prior=trainable(self.prior).with_weights(weights))

    def module(self) -> nn.Module:
        """That of the prior."""
        return trainable(self.prior).module()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the prior."""
        trainable(self.prior).save_pretrained(folder)
