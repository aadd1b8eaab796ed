r"""One transition for every first-order sampler.

A Gaussian prior moves from t to s < t by

    x_s = a x_t + b x0 + c z,    z ~ N(0, I)

    c^2 = eta^2 sigma_s^2 (1 - (alpha_t sigma_s / (alpha_s sigma_t))^2)
    a   = sqrt(sigma_s^2 - c^2) / sigma_t
    b   = alpha_s - a alpha_t

which keeps the marginals of any schedule for every eta: a alpha_t + b = alpha_s and a^2 sigma_t^2 + c^2 = sigma_s^2.
`eta = 0` is DDIM and, on the flow schedule, Euler; `eta = 1` is DDPM and, on flows, the SDE sampling that particle
methods need.

References:
    Denoising Diffusion Implicit Models (Song, Meng and Ermon, 2020), arXiv:2010.02502.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .schedule import rates
from .types import InputError

__all__ = ["DDIM", "EulerMaruyama", "Renoise"]


@dataclass(frozen=True)
class DDIM:
    """The transition of the module docstring; `eta` in [0, 1] scales the standard deviation of its noise."""

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"DDIM(eta={self.eta}) would leave the law of the prior: give eta between 0 and 1.")

    @property
    def noisy(self) -> bool:
        """Whether the transition draws noise."""
        return self.eta > 0

    def __call__(
        self, schedule: Callable[[Tensor], tuple[Tensor, Tensor]], t: Tensor, s: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (a, b, c), 0-dim float64; `sigma_t` must be positive, `sigma_s` may be 0."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        # rounding can leave a tiny negative number under either root
        c2 = (self.eta * sigma_s) ** 2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2).clamp(min=0)
        a = (sigma_s**2 - c2).clamp(min=0).sqrt() / sigma_t
        return a, alpha_s - a * alpha_t, c2.sqrt()


@dataclass(frozen=True)
class Renoise:
    """The clean guess with fresh noise, x_s = alpha_s x0 + sigma_s z: a = 0, b = alpha_s and c = sigma_s.

    The sampler of consistency models, whose guess is a clean object from any level. It keeps the marginals like every
    kernel here and forgets x_t, which is more noise than `DDIM(1.0)` draws.

    References:
        Consistency Models (Song, Dhariwal, Chen and Sutskever, 2023), arXiv:2303.01469, algorithm 1.
        Latent Consistency Models: Synthesizing High-Resolution Images with Few-Step Inference (Luo, Tan, Huang, Li and
        Zhao, 2023), arXiv:2310.04378.
    """

    @property
    def noisy(self) -> bool:
        """Whether the transition draws noise: always."""
        return True

    def __call__(
        self, schedule: Callable[[Tensor], tuple[Tensor, Tensor]], t: Tensor, s: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (a, b, c), 0-dim float64."""
        alpha, sigma = schedule(s)
        return torch.zeros_like(alpha), alpha, sigma


@dataclass(frozen=True)
class EulerMaruyama:
    r"""One Euler-Maruyama step of the diffusion that shares the marginals of the probability-flow ODE dx/dt = u:

        x_s = x_t - (u - g^2 score / 2) (t - s) + g sqrt(t - s) z

    with u = alpha' x0 + sigma' e, score = -e / sigma and e = (x_t - alpha x0) / sigma. It keeps the marginals only as
    the steps shrink, where `DDIM(1.0)` has no such error; it is how particle methods on flows were published.

    Arguments:
        scale, power: of the diffusion coefficient g = scale t^power.

    References:
        Inference-Time Scaling for Flow Models via Stochastic Generation and Rollover Budget Forcing (Kim, Yoon, Hwang
        and Sung, 2025), arXiv:2503.19385, with 3 t^2 as its default.
    """

    scale: float = 3.0
    power: float = 2.0

    def __post_init__(self) -> None:
        if not (self.scale >= 0 and self.power >= 0):
            raise InputError(f"{self}: give a scale and a power that are not negative.")

    @property
    def noisy(self) -> bool:
        """Whether the transition draws noise."""
        return self.scale > 0

    def __call__(
        self, schedule: Callable[[Tensor], tuple[Tensor, Tensor]], t: Tensor, s: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (a, b, c), 0-dim float64; `sigma_t` must be positive."""
        (alpha, sigma), (da, ds) = schedule(t), rates(schedule, t)
        dt, g2 = t.double() - s.double(), (self.scale * t.double() ** self.power) ** 2
        of_noise = ds + g2 / (2 * sigma)  # what multiplies e = (x - alpha x0) / sigma in the drift
        return 1 - dt * of_noise / sigma, -dt * (da - of_noise * alpha / sigma), (g2 * dt).sqrt()
