"""Where a number lies among those of prior samples: what makes evidence read without a manual."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["quantile", "threshold"]


def quantile(values: Tensor | float, reference: Tensor, higher: bool) -> Tensor:
    """The share of prior samples that look less real than each value; those that look the same count half.

    Of values that are themselves of prior samples it is uniform, up to steps of 1/m: 0.02 says that one prior sample
    in fifty looks so unreal.

    Arguments:
        values: `(n,)`, or one number.
        reference: the same number of prior samples `(m,)`; those that are not finite are left out.
        higher: whether a higher value looks more real.

    Returns:
        `(n,)` float64 on the CPU, 0 to 1; NaN for a value that is NaN.

    Raises:
        InputError: if no number of the reference is finite.
    """
    values = torch.as_tensor(values, dtype=torch.float64).detach().cpu().reshape(-1)
    ordered = _finite(reference).sort().values
    below = torch.searchsorted(ordered, values, right=False).double()
    up_to = torch.searchsorted(ordered, values, right=True).double()
    share = (below + up_to) / (2 * len(ordered))
    share = share if higher else 1 - share
    return torch.where(values.isnan(), values, share)


def threshold(reference: Tensor, keep: float, higher: bool) -> float:
    """The value that at least a share `keep` of the prior samples do not fall short of, and no more than need be.

    Arguments:
        reference: numbers of prior samples `(m,)`; those that are not finite are left out.
        keep: above 0, at most 1.
        higher: whether a higher value looks more real: then what is at least the threshold is kept, else at most.

    Raises:
        InputError: if the share is out of range, or no number of the reference is finite.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep={keep} is no share of prior samples: give a number above 0, at most 1.")
    ordered = _finite(reference).sort(descending=higher).values
    kept = int(-(-(keep * len(ordered) - 1e-9) // 1))  # the k best, ties of the last with them
    return float(ordered[max(kept, 1) - 1])


def _finite(reference: Tensor) -> Tensor:
    flat = torch.as_tensor(reference, dtype=torch.float64).detach().cpu().reshape(-1)
    flat = flat[flat.isfinite()]
    if not len(flat):
        raise InputError("No number of the prior samples is finite: give a reference that has one.")
    return flat
