r"""Zero-order search: a hill climb on the shell of the noise.

From the incumbent z, neighbours at a fixed cosine keep its norm:

    y = |z| (c u + sqrt(1 - c^2) w),    u = z / |z|,    w uniform among unit vectors orthogonal to u
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream import Stream
from ..target import Target
from ..templates import Search
from ..types import InputError, ranked
from .guards import Guard, Typical

__all__ = ["ZeroOrder"]


@dataclass
class ZeroOrderState:
    """The incumbent `(d,)` and its reward, and how many rounds it has stood; -inf before the first round."""

    shape: tuple[int, ...]
    pivot: Tensor
    reward: float
    stalled: int


@dataclass(frozen=True)
class ZeroOrder(Search):
    """Zero-order search that never loses its incumbent and never scores it again.

    The first round is prior noise. After `patience` rounds without a better neighbour the search starts again from
    fresh noise; the run keeps the best of all.

    Arguments:
        population: neighbours a round.
        cosine: of the angle to the incumbent, in (0, 1).
        patience: rounds without improvement before a restart.
        guard: where candidates may be.

    Raises:
        InputError: if an argument is out of range.

    References:
        Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps (Ma et al., 2025),
        arXiv:2501.09732.

    Differences:
        The paper gives no neighbour rule; this one keeps the norm. A round without improvement keeps the incumbent,
        where public code throws it away.
    """

    population: int = 16
    cosine: float = 0.95
    patience: int = 50
    guard: Guard = Typical()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if self.population < 1 or not 0 < self.cosine < 1 or self.patience < 1:
            raise InputError(
                f"ZeroOrder({self.population}, {self.cosine}, {self.patience}): give population and patience of at "
                "least 1 and a cosine between 0 and 1."
            )

    def init(self, target: Target, stream: Stream) -> ZeroOrderState:
        shape = tuple(target.prior.shape)
        d = torch.Size(shape).numel()
        if d < 2:
            raise InputError("The noise is one number and has no neighbours on a shell: use RandomSearch or Elites.")
        return ZeroOrderState(shape, torch.zeros(d, dtype=torch.float32), -torch.inf, 0)

    def ask(self, state: ZeroOrderState, stream: Stream, ids: Sequence[int]) -> Tensor:
        v = stream.normal(ids, (len(state.pivot),))
        if state.reward == -torch.inf:
            return self.guard.place(v).reshape(-1, *state.shape)
        norm = state.pivot.norm()
        u = state.pivot / norm
        w = v - (v * u).sum(1, keepdim=True) * u
        w = w / w.norm(dim=1, keepdim=True)
        return (norm * (self.cosine * u + (1 - self.cosine**2) ** 0.5 * w)).reshape(-1, *state.shape)

    def tell(self, state: ZeroOrderState, ids: Sequence[int], rewards: Tensor, stream: Stream) -> ZeroOrderState:
        order = ranked(rewards)
        if len(order) and rewards[order[0]] > state.reward:
            best = int(order[0])
            z = self.ask(state, stream, [ids[best]]).flatten()
            return ZeroOrderState(state.shape, z, float(rewards[best]), 0)
        if state.stalled + 1 >= self.patience:
            return ZeroOrderState(state.shape, torch.zeros_like(state.pivot), -torch.inf, 0)
        return ZeroOrderState(state.shape, state.pivot, state.reward, state.stalled + 1)
