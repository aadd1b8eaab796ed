"""Tails of laws that torch lacks: the incomplete beta function, and Student's t."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["beta_tails", "student"]


def beta_tails(x: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The tail of Beta(a, b) that x lies in, and whether it is the upper one, by the continued fraction (Lentz).

    Arguments:
        x: float64 in [0, 1].
        a, b: float64, positive.
    """
    a, b = a.expand_as(x), b.expand_as(x)
    upper = x > a / (a + b)  # the tail that x is in is computed, not one minus the other
    a, b, x = torch.where(upper, b, a), torch.where(upper, a, b), torch.where(upper, 1 - x, x)
    front = a * x.log() + b * torch.log1p(-x) + torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    c, d = torch.ones_like(x), 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 2000):
        before = value
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + step * d), 1 + step / c
            value = value * d * c
        if torch.allclose(value, before, rtol=1e-12, atol=0, equal_nan=True):
            break
    return front.exp() * value / a, upper


def student(t: Tensor, freedom: Tensor | float) -> Tensor:
    """P(T <= t) of Student's t with that many degrees of freedom, float64, exact in the lower tail."""
    nu = torch.as_tensor(freedom, dtype=torch.float64).expand_as(t)
    tail, upper = beta_tails(nu / (nu + t.square()), nu / 2, torch.full_like(t, 0.5))
    both = torch.where(upper, 1 - tail, tail)  # P(|T| > |t|)
    return torch.where(t < 0, both / 2, 1 - both / 2)
