"""Scored objects, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Samples", "ranked"]


def ranked(reward: Tensor) -> Tensor:
    """Indices of the rewards `(n,)` from best to worst, ties by index; failures (-inf, NaN) are left out."""
    known = reward.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    best, order = torch.sort(known, descending=True, stable=True)
    return order[int((best == torch.inf).sum()) : int((best > -torch.inf).sum())]


@dataclass
class Samples:
    """Scored objects in latent space.

    Attributes:
        x: clean latents `(n, *shape)`; `prior.decode` turns them into objects.
        reward: `(n,)` float32, -inf for failures.
        keys: `(n, 2)` int64, the step and the candidate that draw each object again.
        z: noise `(n, *shape)` it came from, if it came from one.
        logw: log weights `(n,)` of particle methods.
    """

    x: Tensor
    reward: Tensor
    keys: Tensor
    z: Tensor | None = None
    logw: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> Samples:
        """The samples at a slice or tensor of indices."""
        picked: list[Any] = [None if v is None else v[index] for v in vars(self).values()]
        return Samples(*picked)

    def top(self, k: int) -> Samples:
        """The k best, best first; failures never count."""
        return self[ranked(self.reward)[:k]]

    @staticmethod
    def cat(parts: Sequence[Samples]) -> Samples:
        """All parts in order, on the device of the last; a field that one of them lacks is dropped."""
        columns = zip(*(vars(p).values() for p in parts), strict=True)
        whole = [None if any(v is None for v in c) else torch.cat([v.to(c[-1].device) for v in c]) for c in columns]
        return Samples(*whole)  # type: ignore[arg-type]
