r"""Whether objects lie where the data do: how far off a linear subspace they are, over how far along it.

The subspace is known, or fitted to data, or the network's own: J = d x0 / d x_t is alpha_t / sigma_t^2 times the
covariance of the clean objects that x_t may be, so that its leading directions span the data around x.

References:
    Gradient Guidance for Diffusion Models: An Optimization Perspective (Guo, Yuan, Yang, Chen and Wang, 2024),
    arXiv:2404.14743, for the ratio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["Subspace", "local_subspace"]


@dataclass(frozen=True, eq=False)
class Subspace:
    """Orthonormal columns through a mean.

    Arguments:
        basis: `(d, k)`, or one for each object `(B, d, k)`.
        mean: `(d,)` or `(B, d)`; zero by default.

    Raises:
        InputError: if the columns are not orthonormal.
    """

    basis: Tensor
    mean: Tensor | None = None

    def __post_init__(self) -> None:
        gram = self.basis.mT @ self.basis
        if not torch.allclose(gram, torch.eye(gram.shape[-1]).to(gram), atol=1e-3):
            raise InputError("The columns of a subspace are not orthonormal: take Q of torch.linalg.qr.")

    @staticmethod
    def fitted(data: Tensor, rank: int) -> Subspace:
        """The principal components of data `(n, *shape)`.

        Raises:
            InputError: if there are fewer objects or dimensions than components.
        """
        flat = data.flatten(1).double()
        if not 0 < rank <= min(len(flat) - 1, flat.shape[1]):
            raise InputError(f"{rank} components of {len(flat)} objects of {flat.shape[1]} numbers: give fewer.")
        mean = flat.mean(0)
        return Subspace(torch.linalg.svd(flat - mean, full_matrices=False).Vh[:rank].T, mean)

    @staticmethod
    def holding(data: Tensor, share: float = 0.95) -> Subspace:
        """The fewest principal components of data `(n, *shape)` that hold a share of its variance.

        Ratios `off` are then compared between objects: with prior samples or data that it was not fitted to, since
        those that it was fitted to lie nearer to it.

            space = Subspace.holding(some)
            quantile(space.off(objects), space.off(others), higher=False)

        Raises:
            InputError: if the share is not between 0 and 1, or fewer than two objects differ.
        """
        flat = data.flatten(1).double()
        if not 0 < share < 1 or len(flat) < 2 or not flat.var(0).sum() > 0:
            raise InputError(f"{share} of the variance of {len(flat)} objects: give a share below 1, or more objects.")
        held = torch.linalg.svdvals(flat - flat.mean(0)).square().cumsum(0)
        return Subspace.fitted(data, 1 + int((held < share * held[-1]).sum()))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The parts of x `(B, *shape)`, less the mean, on the subspace and off it, both `(B, d)`."""
        flat = x.flatten(1).to(self.basis)
        flat = flat if self.mean is None else flat - self.mean.to(flat)
        along = (self.basis.mT @ flat[..., None] if self.basis.ndim == 3 else (flat @ self.basis)[..., None])[..., 0]
        on = (self.basis @ along[..., None])[..., 0]
        return on, flat - on

    def off(self, x: Tensor) -> Tensor:
        """The norm off the subspace over that on it, `(B,)` float64, for x `(B, *shape)`."""
        on, off = self.split(x)
        return (off.norm(dim=1) / (on.norm(dim=1) + 1e-8)).double().cpu()


def local_subspace(
    denoise: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor, rank: int, iterations: int = 4
) -> tuple[Subspace, Tensor]:
    """The subspace of the data around each x, by the network's own Jacobian, and how much J stretches along it.

    By power iteration with products J^T v: `iterations` (rank + 4) backward passes through one forward pass.

    Arguments:
        denoise: (x, t) to clean guesses, such as `prior.denoise`.
        x: noisy objects `(B, *shape)` at t; a little noise asks for the data nearby, much for more of them.
        t: 0-dim.
        rank: dimensions of each subspace.
        iterations: of the power method.

    Returns:
        Subspaces `(B, d, rank)` through the clean guesses, and singular values `(B, rank)`, falling.

    Raises:
        InputError: if the rank is not between 1 and the dimensions.
    """
    d = x[0].numel()
    if not 1 <= rank <= d or iterations < 1:
        raise InputError(f"rank={rank}, iterations={iterations}: give a rank from 1 to {d}, and an iteration.")
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        x0 = denoise(leaf, t)
        draws = torch.Generator().manual_seed(0)
        q = torch.randn(len(x), d, min(rank + 4, d), generator=draws, dtype=torch.float64)
        for _ in range(iterations):
            q = torch.linalg.qr(q).Q
            columns = [v.reshape(x0.shape).to(x0) for v in q.unbind(2)]
            pulled = [
                torch.autograd.grad(x0, leaf, v, retain_graph=True)[0].flatten(1).double().cpu() for v in columns
            ]
            q = torch.stack(pulled, 2)
    u, s, _ = torch.linalg.svd(q, full_matrices=False)
    return Subspace(u[..., :rank], x0.detach().flatten(1).double().cpu()), s[:, :rank]
