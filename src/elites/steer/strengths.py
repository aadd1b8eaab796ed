r"""How far a walk is pushed along a gradient.

With g the gradient of log E[exp(reward / temperature) | x_t] at x_t, as a method estimates it, the step

    x_s = a x_t + b x0 + c z

is taken with a clean guess x0 that is shifted. The score of the tilted law is that of the prior plus g, which is a
shift of x0 by sigma_t^2 / alpha_t g. The unit of a push is the noise of the same step taken with exact variance,
`DDIM(1.0)`, also where the walk is deterministic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..kernel import DDIM
from ..types import Gaussian, InputError

__all__ = ["Raw", "Share", "Strength", "Tilt"]


class Strength(Protocol):
    """Shift of the clean guess for a gradient g `(B, *shape)` on the way from t to s."""

    def __call__(self, prior: Gaussian, g: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """`(B, *shape)`."""


@dataclass(frozen=True)
class Tilt:
    """What Bayes' rule says: `scale` times sigma_t^2 / alpha_t g.

    Where alpha is 0, at the pure noise of a flow, nothing is pushed.

    Arguments:
        scale: 1 is the tilted law.
        limit: most that a step is moved, root mean square in units of its own noise; the last step, which has none,
            is not limited.
    """

    scale: float = 1.0
    limit: float = math.inf

    def __post_init__(self) -> None:
        if not (self.scale >= 0 and self.limit > 0):
            raise InputError(f"{self}: give a scale that is not negative and a positive limit.")

    def __call__(self, prior: Gaussian, g: Tensor, t: Tensor, s: Tensor) -> Tensor:
        alpha, sigma = (float(v) for v in prior.schedule(t))
        if alpha <= 0:
            return g * 0
        shift = self.scale * sigma**2 / alpha * g
        noise, b = _units(prior, t, s)
        if math.isinf(self.limit) or noise == 0:
            return shift
        return shift * (self.limit * noise / (b * _size(shift))).clamp(max=1)


@dataclass(frozen=True)
class Share:
    """Each step moves by the same share of its own noise, root mean square, however large the gradient is.

    Arguments:
        of: the share.
    """

    of: float = 0.5

    def __post_init__(self) -> None:
        if not self.of >= 0:
            raise InputError(f"{self}: give a share that is not negative.")

    def __call__(self, prior: Gaussian, g: Tensor, t: Tensor, s: Tensor) -> Tensor:
        noise, b = _units(prior, t, s)
        return g * (self.of * noise / (b * _size(g)))


@dataclass(frozen=True)
class Raw:
    """Each step moves by zeta times the gradient, as guidance was first published; zeta has no calibrated value."""

    zeta: float = 1.0

    def __call__(self, prior: Gaussian, g: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return g * (self.zeta / _units(prior, t, s)[1])


def _units(prior: Gaussian, t: Tensor, s: Tensor) -> tuple[float, float]:
    """The noise of the exact-variance step, and b of the walk's own."""
    return float(DDIM(1.0)(prior.schedule, t, s)[2]), float(prior.kernel(prior.schedule, t, s)[1])


def _size(v: Tensor) -> Tensor:
    """Root mean square of each row, that can be divided by."""
    return v.flatten(1).square().mean(1).sqrt().clamp(min=1e-30).reshape(-1, *[1] * (v.ndim - 1))
