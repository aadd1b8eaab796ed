"""From whatever a reward returns to numbers, and what to do when it does not return one.

A failed reward is not a number: an exception, NaN, infinity, a string or a wrong count is a *failure* with a reason.
Nothing is silently zero. A reward may also put an exception in the place of one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .types import Failure, Reward

__all__ = ["Policy", "Raise", "Retry", "RewardError", "Worst", "score"]


class RewardError(RuntimeError):
    """A reward failed and the policy is to raise, or every object of a probe failed."""


class Policy(Protocol):
    """What to do about failures."""

    @property
    def again(self) -> int:
        """How often a failed object is scored again."""

    def settle(self, failures: Sequence[Failure]) -> None:
        """Called with what has failed for good, after it was counted and listed; may raise."""


@dataclass(frozen=True)
class Worst:
    """A failure is counted, listed and ranks below every number."""

    again: int = 0

    def settle(self, failures: Sequence[Failure]) -> None:
        pass


@dataclass(frozen=True)
class Raise:
    """The first failure ends the run."""

    again: int = 0

    def settle(self, failures: Sequence[Failure]) -> None:
        for f in failures:
            raise RewardError(f"The reward failed on candidate {f.candidate} of step {f.step}: {f.reason}.")


@dataclass(frozen=True)
class Retry:
    """Failed objects are scored up to `again` more times; each try counts as a reward."""

    again: int = 2

    def settle(self, failures: Sequence[Failure]) -> None:
        pass


def score(reward: Reward, objects: Any, n: int, policy: Policy) -> tuple[Tensor, dict[int, str], int]:
    """Rewards `(n,)` float32 with -inf for failures, the reason of each failed row, and the objects scored.

    Arguments:
        reward: callable on a batch.
        objects: tensor, array or list of length n.
        n: how many there are.
        policy: `Worst()`, `Raise()` or `Retry(again)`.
    """
    values, reasons = _once(reward, objects, n)
    calls = n
    for _ in range(policy.again):
        if not reasons:
            break
        rows = sorted(reasons)
        calls += len(rows)
        again, why = _once(reward, _take(objects, rows), len(rows))
        values = values.index_copy(0, torch.tensor(rows), again)
        reasons = {rows[i]: reason for i, reason in why.items()}
    return values, reasons, calls


def _zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float32, device="cpu")


def _take(objects: Any, rows: list[int]) -> Any:
    return objects[rows] if isinstance(objects, Tensor | np.ndarray) else [objects[i] for i in rows]


def _once(reward: Reward, objects: Any, n: int) -> tuple[Tensor, dict[int, str]]:
    try:
        values, reasons = _numbers(reward(objects), n)
    except torch.OutOfMemoryError:
        raise  # the target halves the batch
    except (Exception, SystemExit) as error:  # a user's code may raise anything, and a simulator's main() exits
        values, reasons = _zeros(n), dict.fromkeys(range(n), f"{type(error).__name__}: {error}".strip(": "))
    for i in range(n) if not torch.isfinite(values).all() else ():
        if not torch.isfinite(values[i]):
            reasons.setdefault(i, "it is NaN" if values[i].isnan() else "it is infinite")
    if reasons:
        failed = torch.tensor([i in reasons for i in range(n)])
        values = torch.where(failed, -torch.inf, values)
    return values, reasons


def _numbers(out: Any, n: int) -> tuple[Tensor, dict[int, str]]:
    """Float32 `(n,)` on the CPU, gradients kept, and the rows that are no numbers."""
    reasons: dict[int, str] = {}
    if isinstance(out, list | tuple):
        if len(out) != n:
            return _zeros(n), dict.fromkeys(range(n), f"it returned {len(out)} numbers for {n} objects")
        if any(not isinstance(v, int | float) for v in out):
            values = [_number(v, i, reasons) for i, v in enumerate(out)]
            if any(v.requires_grad for v in values):
                return torch.stack(values), reasons
            out = torch.stack([v.detach() for v in values])
        else:
            out = torch.tensor(out, dtype=torch.float64)
    elif not isinstance(out, Tensor):
        array = np.asarray(out)
        if array.dtype.kind not in "biuf":
            what = "nothing" if out is None else f"{type(out).__name__} of {array.dtype}"
            return _zeros(n), dict.fromkeys(range(n), f"it returned {what}, not {n} real numbers")
        out = torch.from_numpy(np.array(array, np.float64))  # a copy: torch takes no reversed views
    if out.is_complex():
        return _zeros(n), dict.fromkeys(range(n), "it returned complex numbers")
    if out.shape not in ((n,), (n, 1)) and not (n == 1 and out.ndim == 0):
        return _zeros(n), dict.fromkeys(range(n), f"it returned shape {tuple(out.shape)} for {n} objects")
    return out.reshape(n).float().cpu(), reasons


def _number(value: Any, row: int, reasons: dict[int, str]) -> Tensor:
    """A 0-dim float32 tensor; if the value is no number, zero and a reason."""
    if isinstance(value, BaseException):
        reasons[row] = f"{type(value).__name__}: {value}".strip(": ")
    elif isinstance(value, Tensor) or (
        isinstance(value, np.ndarray | np.generic | int | float) and np.asarray(value).dtype.kind in "biuf"
    ):
        tensor = torch.as_tensor(value)
        if tensor.numel() == 1 and not tensor.is_complex():
            return tensor.reshape(()).float().cpu()
        reasons[row] = f"it returned shape {tuple(tensor.shape)} of {tensor.dtype} for one object"
    else:
        reasons[row] = "it returned nothing" if value is None else f"it returned a {type(value).__name__}, no number"
    return torch.tensor(0.0, dtype=torch.float32)
