r"""Transitions: how a particle at (x_t, t), whose clean guess is known, moves to a lower noise level at random.

Particles need random steps, or those with the same parent never part. A Gaussian prior whose kernel draws noise has
them of its own: on flows, too, `DDIM(1.0)` keeps the marginals at any step size. That step puts the mean of the
clean object where its law should be, which is wrong for few large steps; `Glass` draws from the law itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..levels import gaussian, time_of
from ..stream import Id, Stream
from ..target import Target
from ..templates import fresh
from ..types import InputError, Prior

__all__ = ["Glass", "Native", "Transition"]


class Transition(Protocol):
    """One random step."""

    def check(self, prior: Prior) -> None:
        """Raise an InputError that says what to use, if particles with one parent would never part."""

    def calls(self) -> int:
        """Calls of `denoise` of one step, the first clean guess not counted."""

    def __call__(
        self, target: Target, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, stream: Stream, ids: Sequence[Id]
    ) -> Tensor:
        """x at s `(B, *shape)` from x at t and its clean guess, with the noise of `ids`."""


@dataclass(frozen=True)
class Native:
    """The transition of the prior."""

    def check(self, prior: Prior) -> None:
        if not prior.noisy:
            raise InputError(
                "The prior walks without noise, so particles with one parent never part: give it kernel=el.DDIM(1.0)."
            )

    def calls(self) -> int:
        return 0

    def __call__(
        self, target: Target, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, stream: Stream, ids: Sequence[Id]
    ) -> Tensor:
        return target.prior.move(x, x0, t, s, fresh(target, stream, ids, x))


@dataclass(frozen=True)
class Glass:
    r"""A draw of x_s given x_t from an inner flow of the same network, for any correlation rho of their noises.

    With x_t = alpha_t x0 + sigma_t e and x_s = alpha_s x0 + sigma_s e', corr(e, e') = rho,

        x_s = g x_t + Z,    Z = h x0 + sqrt(v) n,    g = rho sigma_s / sigma_t,  h = alpha_s - g alpha_t,
        v = sigma_s^2 (1 - rho^2)

    and Z given x_t is the end at u = 1 of the flow from W(0) = n

        dW/du = h xh + ((u v - (1 - u)) / b^2) (W - u h xh),    b^2 = (1 - u)^2 + u^2 v

    where xh = E[x0 | x_t, W] is the clean guess at the noise level tau and the point S of both observations together,

        1 / tau^2 = alpha_t^2 / sigma_t^2 + u^2 h^2 / b^2,    S = tau^2 (alpha_t x_t / sigma_t^2 + u h W / b^2).

    It is integrated by Heun's method, and needs a network that takes any noise level. The first guess is that of x_t,
    which all children share.

    Arguments:
        steps: of the inner flow; 2 halve the error of the covariance several times, 1 leaves most of it.
        rho: correlation of the noises, or `None` for that of the reversed diffusion, alpha_t sigma_s / (sigma_t
            alpha_s).

    Raises:
        InputError: if an argument is out of range, or the prior is not Gaussian.

    References:
        GLASS Flows: Transition Sampling for Alignment of Flow and Diffusion Models (Holderrieth, Singer, Jaakkola,
        Chen, Lipman and Karrer, 2025), arXiv:2509.25170; the formulas were derived anew.
    """

    steps: int = 2
    rho: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or (self.rho is not None and not 0 <= self.rho < 1):
            raise InputError(f"{self}: give at least one step, and a rho in [0, 1) or None.")

    def check(self, prior: Prior) -> None:
        gaussian(prior, "use transition=Native()")

    def calls(self) -> int:
        return 2 * self.steps - 1

    def __call__(
        self, target: Target, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, stream: Stream, ids: Sequence[Id]
    ) -> Tensor:
        schedule, ends = gaussian(target.prior, "use Native()").schedule, target.prior.grid(1)
        alpha, sigma, alpha_s, sigma_s = (float(v) for v in (*schedule(t), *schedule(s)))
        if sigma_s == 0:
            return x0
        rho = alpha * sigma_s / (sigma * alpha_s) if self.rho is None else self.rho
        g = rho * sigma_s / sigma
        h, v = alpha_s - g * alpha, sigma_s**2 * (1 - rho**2)

        def slope(w: Tensor, u: float) -> Tensor:
            b2 = (1 - u) ** 2 + u**2 * v
            guess = x0
            if u > 0:
                tau2 = 1 / (alpha**2 / sigma**2 + u**2 * h**2 / b2)
                when = time_of(schedule, tau2**0.5, ends)
                point = tau2 * (alpha / sigma**2 * x + u * h / b2 * w)
                guess = target.denoise(schedule(when)[0].to(x) * point, when)
            return h * guess + (u * v - (1 - u)) / b2 * (w - u * h * guess)

        w = stream.normal(ids, target.prior.shape).to(x)
        du = 1 / self.steps
        for k in range(self.steps):
            here = slope(w, k * du)
            there = slope(w + du * here, (k + 1) * du)
            w = w + du / 2 * (here + there)
        return g * x + w
