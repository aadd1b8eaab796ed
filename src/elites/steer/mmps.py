"""Posterior sampling for linear measurements, with the covariance that the network implies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..levels import gaussian
from ..stream import Id, Stream
from ..target import Target
from ..templates import WalkState, chance
from ..types import InputError
from .guidance import NONE, Guidance
from .slopes import finite

__all__ = ["MMPS"]


@dataclass(frozen=True, eq=False)
class MMPS(Guidance):
    r"""Moment matching posterior sampling: y = A x0 + noise, by the covariance V = sigma_t^2 / alpha_t J of Tweedie.

        g = J^T A^T (S + A V A^T)^{-1} (y - A x0),    J = d x0 / d x_t,    S = noise^2

    The system is solved by conjugate gradients, one product with J^T an iteration. Exact where the prior is normal and
    the iterations are as many as the measurements; three are mostly enough. The reward of the target is that of the
    finished objects alone: the guidance follows y.

    Arguments:
        operator: linear, of clean latents `(B, *shape)` to `(B, m)` or any shape after B; differentiable.
        y: what was measured, of the shape of one output.
        noise: standard deviation of the measurement, a number or of the shape of y.
        iterations: of the solver.
        steps, n, strength, repeat: as of `Guidance`; `temperature` is that of the likelihood, 1.

    Raises:
        InputError: if a number is out of range, or at the start, if the operator is not linear or y does not fit it.

    References:
        Learning Diffusion Priors from Observations by Expectation Maximization (Rozet, Andry, Lanusse and Louppe,
        2024), arXiv:2405.13712.

    Differences:
        A direction in which a learned J has no positive curvature ends the solver for that sample; the default there
        is one iteration of GMRES.
    """

    operator: Callable[[Tensor], Tensor] = field(default=lambda x: x, repr=False)
    y: Tensor | None = field(default=None, repr=False)
    noise: float | Tensor = 0.1
    iterations: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.y is None:
            raise InputError("MMPS has no measurement: give operator, y and noise.")
        if self.iterations < 1 or not (torch.as_tensor(self.noise) > 0).all():
            raise InputError(f"{self}: give at least one iteration, and noise above zero.")

    def asks(self) -> tuple[int, int]:
        return 0, self.iterations + 1

    def begin(self, target: Target, z: Tensor) -> WalkState:
        state = super().begin(target, z)
        two = torch.ones(2, *target.prior.shape).to(state.x)
        two[1] *= -2
        out = self._of(two)
        if out.shape[1] != torch.as_tensor(self.y).numel():
            raise InputError(f"The operator gives {out.shape[1]} numbers of an object and y has {self.y.numel()}.")  # type: ignore[union-attr]
        if not torch.allclose(out[1], -2 * out[0], rtol=1e-3, atol=1e-4 * float(out.abs().max()) + 1e-12):
            raise InputError("The operator is not linear: use DPS with a reward, which may be anything.")
        return state

    def slope(
        self, target: Target, x: Tensor, t: Tensor, ids: Sequence[Id], stream: Stream, walk: Stream
    ) -> tuple[Tensor, Tensor]:
        alpha, sigma = (float(v) for v in gaussian(target.prior, NONE).schedule(t))
        if alpha <= 0:
            x0 = target.denoise(x, t, chance(target, walk, ids, x))
            return x0, torch.zeros_like(x0)

        def value(leaf: Tensor, rows: Sequence[Id]) -> tuple[Tensor, Tensor]:
            x0 = target.denoise(leaf, t, chance(target, walk, rows, leaf))
            clean = x0.detach().requires_grad_()
            seen = self._of(clean)

            def back(v: Tensor) -> Tensor:
                return torch.autograd.grad(seen, clean, v.to(seen), retain_graph=True)[0]

            def times(v: Tensor) -> Tensor:
                spread = target.pull(x0, leaf, back(v))
                return self._noise(v).square() * v + sigma**2 / alpha * self._of(spread).detach().to(v)

            left = torch.as_tensor(self.y).to(seen.device).double().reshape(1, -1) - seen.detach().double()
            w = _solved(times, left, self.iterations)
            return (x0 * back(w)).flatten(1).sum(1), x0.detach()

        _, parts, g = target.grad(value, x, ids)
        return torch.cat(parts), finite(g) / self.temperature

    def _of(self, x: Tensor) -> Tensor:
        """Measurements `(B, m)`."""
        return self.operator(x).flatten(1)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.noise).to(like).reshape(1, -1)


def _solved(times: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """Conjugate gradients for every row `(B, m)` of its own system."""
    w, r = torch.zeros_like(b), b
    p, size = b, b.square().sum(1, keepdim=True)
    for _ in range(iterations):
        q = times(p)
        curve = (p * q).sum(1, keepdim=True)
        on = (curve > 0) & (size > 0)
        step = torch.where(on, size / torch.where(on, curve, 1.0), 0.0)
        w, r = w + step * p, r - step * q
        after = r.square().sum(1, keepdim=True)
        p = torch.where(on, r + after / torch.where(on, size, 1.0) * p, 0.0)
        size = torch.where(on, after, 0.0)
    return w
