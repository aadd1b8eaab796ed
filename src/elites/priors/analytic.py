r"""Laws with closed-form denoisers: the ground truth of every test, and priors to try a method on.

A mixture of Gaussians with weights w_k, means m_k and variances v_ki along the columns q_i of an orthonormal basis
keeps that form under x = alpha x0 + sigma eps: the components have means alpha m_k and variances alpha^2 v_ki +
sigma^2. With the responsibilities r_k(x), the clean guess is in the basis

    E[x0|x]_i = sum_k r_k (m_ki + alpha v_ki / (alpha^2 v_ki + sigma^2) (x_i - alpha m_ki)).

A variance of zero along a direction puts the law on a linear subspace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..kernel import DDIM
from ..schedule import Schedule, VPLinear
from ..stream import Id, Purpose, Stream
from ..types import InputError

__all__ = ["Mixture", "mixture", "normal", "subspace"]


@dataclass(frozen=True, eq=False)
class Mixture:
    """An exact Gaussian mixture prior on vectors; built by `normal`, `mixture` or `subspace`.

    Every row is computed by elementwise products and sums alone, never by a matrix product, so that a candidate has
    the same bits in any batch.

    Arguments:
        means: `(K, d)`, in the basis.
        variances: `(K, d)`, along the basis.
        log_weights: `(K,)`, normalised.
        basis: orthonormal columns `(d, d)`, or `None` for the coordinate axes.
        schedule, kernel: as of a `GaussianPrior`.
    """

    means: Tensor = field(repr=False)
    variances: Tensor = field(repr=False)
    log_weights: Tensor = field(repr=False)
    basis: Tensor | None = field(default=None, repr=False)
    schedule: Schedule = VPLinear()  # noqa: RUF009 (frozen)
    kernel: DDIM = DDIM()  # noqa: RUF009 (frozen)
    cost: int = field(default=1, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self.means.shape[1],)

    @property
    def noisy(self) -> bool:
        """Whether the kernel draws noise."""
        return self.kernel.noisy

    def noise(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Standard normal noise of the candidates."""
        return stream.normal(ids, self.shape)

    def decode(self, x0: Tensor) -> Tensor:
        """The latents are the objects."""
        return x0

    def grid(self, steps: int) -> Tensor:
        """The times of the schedule."""
        return self.schedule.times(steps)

    def start(self, z: Tensor) -> Tensor:
        """sigma z at the first time."""
        return self.schedule(self.schedule.times(1)[0])[1] * z

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """E[x0 | x], exact; x is `(B, d)`."""
        alpha, sigma = self.schedule(t)
        y = self._into(x)
        spread = alpha**2 * self.variances + sigma**2
        gain = torch.where(spread > 0, alpha * self.variances / spread, 0.0)
        offset = y[:, None] - alpha * self.means
        guess = self.means + gain.to(y) * offset  # (B, K, d)
        weight = self._joint(offset, spread).softmax(1)[..., None]
        return self._out_of((weight * guess).sum(1)).to(x.dtype)

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """a x + b x0 + c z."""
        a, b, c = self.kernel(self.schedule, t, s)
        mean = a * x + b * x0
        return mean if z is None else mean + c * z

    def log_density(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(x) `(B,)`, exact; needs positive variances or sigma > 0."""
        alpha, sigma = self.schedule(t)
        offset = self._into(x)[:, None] - alpha * self.means
        return self._joint(offset, alpha**2 * self.variances + sigma**2).logsumexp(1).to(x.dtype)

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Gradient of `log_density` `(B, d)`, exact; needs sigma > 0."""
        alpha, sigma = self.schedule(t)
        return (alpha * self.denoise(x, t) - x) / sigma**2

    def sample(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Exact clean draws `(len(ids), d)`."""
        stream = stream.at(purpose=Purpose.DATA)
        edges = self.log_weights.exp().cumsum(0)
        k = torch.searchsorted(edges, stream.uniform(ids).to(edges)).clamp(max=len(edges) - 1)
        z = stream.at(draw=stream.draw + 1).normal(ids, self.shape)
        return self._out_of(self.means[k] + self.variances[k].sqrt() * z).float()

    def _joint(self, offset: Tensor, spread: Tensor) -> Tensor:
        """log w_k + log N(offset; 0, spread) `(B, K)`."""
        each = offset.square() / spread + spread.log() + math.log(2 * math.pi)
        return self.log_weights - each.sum(-1) / 2

    def _into(self, x: Tensor) -> Tensor:
        x = x.double()
        return x if self.basis is None else (x[:, :, None] * self.basis).sum(1)

    def _out_of(self, y: Tensor) -> Tensor:
        return y if self.basis is None else (y[:, None] * self.basis).sum(2)


def mixture(
    means: Tensor,
    stds: Tensor | float,
    weights: Tensor | None = None,
    *,
    schedule: Schedule = VPLinear(),  # noqa: B008 (frozen)
    kernel: DDIM = DDIM(),  # noqa: B008 (frozen)
) -> Mixture:
    """A mixture with means `(K, d)`, standard deviations `(K,)`, `(K, d)` or a number, and weights `(K,)`.

    Raises:
        InputError: if means are no matrix, or weights do not match them.
    """
    means = torch.as_tensor(means, dtype=torch.float64)
    if means.ndim != 2:
        raise InputError(f"The means have shape {tuple(means.shape)}: give (components, dimensions).")
    count = len(means)
    weights = torch.ones(count) if weights is None else torch.as_tensor(weights)
    if weights.shape != (count,) or not (weights > 0).all():
        raise InputError(f"There are {count} means: give as many positive weights.")
    stds = torch.as_tensor(stds, dtype=torch.float64)
    stds = stds[:, None] if stds.ndim == 1 else stds
    log_weights = (weights.double() / weights.double().sum()).log()
    variances = stds.square().expand(means.shape)
    return Mixture(means, variances, log_weights, None, schedule, kernel)


def normal(
    mean: Tensor,
    cov: Tensor,
    *,
    schedule: Schedule = VPLinear(),  # noqa: B008 (frozen)
    kernel: DDIM = DDIM(),  # noqa: B008 (frozen)
) -> Mixture:
    """The normal law with mean `(d,)` and covariance `(d, d)`, which may be singular."""
    mean, cov = torch.as_tensor(mean, dtype=torch.float64), torch.as_tensor(cov, dtype=torch.float64)
    if cov.shape != (len(mean), len(mean)):
        raise InputError(f"The covariance has shape {tuple(cov.shape)} for a mean of {len(mean)}: give (d, d).")
    values, basis = torch.linalg.eigh(cov)
    zero = torch.zeros(1, dtype=torch.float64)
    return Mixture((mean @ basis)[None], values.clamp(min=0)[None], zero, basis, schedule, kernel)


def subspace(
    frame: Tensor,
    means: Tensor,
    stds: Tensor | float,
    weights: Tensor | None = None,
    *,
    schedule: Schedule = VPLinear(),  # noqa: B008 (frozen)
    kernel: DDIM = DDIM(),  # noqa: B008 (frozen)
) -> Mixture:
    """A mixture on the linear subspace spanned by the columns of `frame` `(d, k)`; means are `(K, k)`."""
    frame = torch.as_tensor(frame, dtype=torch.float64)
    d, k = frame.shape
    inner = mixture(means, stds, weights, schedule=schedule, kernel=kernel)
    if inner.shape != (k,):
        raise InputError(f"The frame has {k} columns and the means {inner.shape[0]} entries: they must agree.")
    if not torch.allclose(frame.T @ frame, torch.eye(k, dtype=torch.float64), atol=1e-6):
        raise InputError("The columns of the frame are not orthonormal: take the q of torch.linalg.qr.")
    # the complete QR keeps the span; its first k columns equal the frame up to sign, so put the frame itself there
    basis = torch.cat([frame, torch.linalg.qr(frame, mode="complete").Q[:, k:]], 1)
    pad = (0, d - k)
    pad_means, pad_variances = (torch.nn.functional.pad(v, pad) for v in (inner.means, inner.variances))
    return Mixture(pad_means, pad_variances, inner.log_weights, basis, schedule, kernel)
