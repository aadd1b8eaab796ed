"""The paper's simulation: normal data on a subspace of 16 of 64 dimensions, two kinds of objective, a table of levels.

Data are x = A u with A `(64, 16)` of orthonormal columns and u standard normal, so that the score is known. With
E[x0 | x] = alpha A A^T x and guidance of regularisation lambda = sigma^2 / delta, rounds settle at the maximum of

    f(x) - lambda / 2 |u|^2    over x = A u.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

import elites as el

__all__ = ["ACROSS", "BETA", "FRAME", "OBJECTIVES", "RANK", "D", "Linear", "Objective", "Robust", "cosine", "exact"]

D, RANK = 64, 16
DRAWS = torch.Generator().manual_seed(0)
FRAME = torch.linalg.qr(torch.randn(D, RANK, generator=DRAWS, dtype=torch.float64)).Q
BETA = torch.nn.functional.normalize(torch.randn(RANK, generator=DRAWS, dtype=torch.float64), dim=0)
ACROSS = torch.randn(D, generator=DRAWS, dtype=torch.float64)
ACROSS = torch.nn.functional.normalize(ACROSS - FRAME @ (FRAME.T @ ACROSS), dim=0)
NEAR = 4 + 3 * torch.randn(D, generator=DRAWS, dtype=torch.float64)


def cosine(levels: int, s: float = 0.008, most: float = 0.999) -> el.Table:
    """The cosine table of discrete levels, betas clipped."""
    f = (torch.linspace(0, 1, levels + 1, dtype=torch.float64) + s).mul(math.pi / 2 / (1 + s)).cos().square()
    return el.Table((f[1:] / f[:-1]).clamp(min=1 - most).cumprod(0))


@cache
def exact(levels: int) -> el.priors.GaussianPrior:
    """The data's own denoiser, walked by DDPM. It is `priors.subspace(FRAME, zeros, 1)` by a matrix product."""
    schedule, frame = cosine(levels), FRAME.float()

    def net(x: Tensor, t: Tensor) -> Tensor:
        return float(schedule(t[0].double())[0]) * (x @ frame) @ frame.T

    return el.priors.GaussianPrior(net, (D,), schedule, el.schedule.X0(), el.DDIM(1.0), name="exact")


@dataclass(frozen=True, eq=False)
class Linear:
    """f1(x) = 10 - (theta . x - 3)^2 with a unit vector theta."""

    theta: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return 10 - ((x * self.theta.to(x)).sum(1) - 3).square()

    def best(self, regularisation: float) -> Tensor:
        """The optimum `(D,)` of the regularised objective on the subspace."""
        c = FRAME.T @ self.theta
        return FRAME @ c * (6 / (regularisation + 2 * c.square().sum()))


@dataclass(frozen=True, eq=False)
class Robust:
    """f2(x) = 5 - |x - b| / 2."""

    b: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return 5 - (x - self.b.to(x)).norm(dim=1) / 2

    def best(self, regularisation: float) -> Tensor:
        """The optimum `(D,)` of the regularised objective on the subspace: a share of b there, by bisection."""
        on = FRAME @ (FRAME.T @ self.b)
        low, high = 0.0, 1.0
        for _ in range(60):
            share = (low + high) / 2
            pull = (1 - share) / (2 * float((share * on - self.b).norm()))
            low, high = (share, high) if pull > regularisation * share else (low, share)
        return on * low


Objective = Linear | Robust

OBJECTIVES: dict[str, Callable[[], Any]] = {
    "f1, theta on the subspace": lambda: Linear(FRAME @ BETA),
    "f1, theta 9 to 1 off it": lambda: Linear((FRAME @ BETA + 9 * ACROSS) / 82**0.5),
    "f2, b = 4": lambda: Robust(torch.full((D,), 4.0, dtype=torch.float64)),
    "f2, b normal": lambda: Robust(NEAR),
}
