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

from .types import InputError

__all__ = ["DDIM", "Renoise", "log_ratio"]


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


def log_ratio(x: Tensor, mean_p: Tensor, mean_q: Tensor, c: Tensor | float) -> Tensor:
    """log N(x; mean_p, c^2 I) - log N(x; mean_q, c^2 I), `(B,)`, for tensors `(B, *shape)` and c > 0."""
    p, q = (x - mean_p).flatten(1), (x - mean_q).flatten(1)
    return (q.square().sum(1) - p.square().sum(1)) / (2 * c**2)
