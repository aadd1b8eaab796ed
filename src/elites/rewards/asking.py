"""What rewards of any kind say about the same objects, in one form: numbers, reasons of failures, named parts."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..answers import NoScore, Scored, Streaming, readings
from ..types import Reward
from .waiting import awaited

__all__ = ["Answer", "ask", "ask_all", "ask_each", "collected", "nan_at", "rows", "scored", "take"]


class Answer(NamedTuple):
    """What a reward said about n objects.

    Attributes:
        values: `(n,)` float64 on the CPU; zero where it failed.
        reasons: of the failures, by row.
        parts: named parts, each `(n,)` float64, NaN where missing.
    """

    values: Tensor
    reasons: dict[int, str]
    parts: dict[str, Tensor]

    def row(self, i: int) -> Answer:
        """About one object."""
        parts = {name: part[i : i + 1] for name, part in self.parts.items()}
        return Answer(self.values[i : i + 1], {0: self.reasons[i]} if i in self.reasons else {}, parts)

    def at(self, some: Sequence[int], n: int) -> Answer:
        """About n objects, of which these were asked about."""
        index = torch.tensor(some, device="cpu")
        zero = torch.zeros(n, dtype=torch.float64, device="cpu")
        return Answer(
            zero.index_copy(0, index, self.values),
            {some[i]: reason for i, reason in self.reasons.items()},
            {name: (zero + torch.nan).index_copy(0, index, part) for name, part in self.parts.items()},
        )


def ask(reward: Reward, objects: Any) -> Answer:
    """What a reward of any kind says about a batch, gradients kept; what it raises is a failure of every object."""
    try:
        return _answer(awaited(reward(objects)), len(objects))
    except torch.OutOfMemoryError:
        raise  # the target halves the batch
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        return _answer([error] * len(objects), len(objects))


def ask_all(objects: Any, rewards: Mapping[str, Reward]) -> dict[str, Answer]:
    """What each of them says, one after the other."""
    return {name: ask(reward, objects) for name, reward in rewards.items()}


def ask_each(reward: Streaming, objects: Any) -> Generator[tuple[int, Answer]]:
    """(Row, answer) as answers come, without gradients: each row once, whatever the reward does.

    What it raises is a failure of the objects about which it has said nothing.
    """
    left = dict.fromkeys(range(len(objects)))
    why: BaseException = ValueError("it gave no answer")
    try:
        for i, answer in reward.each(objects) if left else ():
            if i in left:
                del left[i]
                said = _answer([answer], 1)
                yield i, said._replace(values=said.values.detach())
    except torch.OutOfMemoryError:
        raise
    except (Exception, SystemExit) as error:
        why = error
    for i in left:
        yield i, _answer([why], 1)


def _answer(out: Any, n: int) -> Answer:
    values, reasons, parts = readings(out, n)
    named = {name: torch.tensor(part, dtype=torch.float64, device="cpu") for name, part in parts.items()}
    return Answer(torch.where(rows(reasons, n), 0.0, values.double()), reasons, named)


def collected(found: Mapping[str, Answer]) -> tuple[dict[str, Tensor], dict[int, str], dict[str, Tensor]]:
    """Values by name, zero where one failed; reasons by row, which name what failed first; and what to log."""
    values: dict[str, Tensor] = {}
    reasons: dict[int, str] = {}
    logged: dict[str, Tensor] = {}
    for name, answer in found.items():
        values[name] = answer.values
        logged[name] = nan_at(answer.reasons, answer.values.detach())
        logged |= {f"{name}.{part}": numbers for part, numbers in answer.parts.items()}
        reasons = {i: f"{name}: {reason}" for i, reason in answer.reasons.items()} | reasons
    return values, reasons, logged


def scored(values: Tensor, reasons: Mapping[int, str], terms: Mapping[str, Tensor]) -> Scored:
    """Values `(n,)` with the reason in the place of each that failed, and terms."""
    if not reasons:
        return Scored(values, terms)
    return Scored([NoScore(reasons[i]) if i in reasons else v for i, v in enumerate(values)], terms)


def rows(some: Collection[int], n: int) -> Tensor:
    """Booleans `(n,)`, true in these rows."""
    return torch.tensor([i in some for i in range(n)], dtype=torch.bool, device="cpu")


def nan_at(some: Collection[int], values: Tensor) -> Tensor:
    """Numbers `(n,)` with NaN in these rows."""
    return torch.where(rows(some, len(values)), torch.nan, values)


def take(objects: Any, some: Sequence[int]) -> Any:
    """These objects of a batch."""
    if list(some) == list(range(len(objects))):
        return objects
    return objects[list(some)] if isinstance(objects, Tensor | np.ndarray) else [objects[i] for i in some]
