"""From whatever a reward returns to numbers, and what to do when it does not return one.

A failed reward is not a number: an exception, NaN, infinity, a string or a wrong count is a *failure* with a reason.
Nothing is silently zero. A reward may also put an exception in the place of one number.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .account import RewardError
from .answers import Scored, Streaming, readings
from .types import Failure, InputError, Reward

__all__ = ["Part", "Policy", "Raise", "Retry", "RewardError", "Worst", "score"]


BROKEN = ValueError("the object is not finite")
MOST = float(np.finfo(np.float32).max)


class Policy(Protocol):
    """What to do about failures."""

    @property
    def again(self) -> int:
        """How often a failed object is scored again."""

    @property
    def limit(self) -> float:
        """The share of a step that may fail before the run ends."""

    def pause(self, tries: int) -> float:
        """Seconds to wait after so many tries."""

    def settle(self, failures: Sequence[Failure]) -> None:
        """Called with what has failed for good, after it was counted and listed; may raise."""


@dataclass(frozen=True)
class Worst:
    """A failure is counted, listed and ranks below every number.

    Arguments:
        limit: share of a step that may fail before the run ends with a summary; 1 for no limit.
    """

    limit: float = 0.5
    again: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        _share(self.limit)

    def pause(self, tries: int) -> float:
        return 0.0

    def settle(self, failures: Sequence[Failure]) -> None:
        pass


@dataclass(frozen=True)
class Raise:
    """The first failure ends the run."""

    again: int = field(default=0, init=False, repr=False)
    limit: float = field(default=1.0, init=False, repr=False)

    def pause(self, tries: int) -> float:
        return 0.0

    def settle(self, failures: Sequence[Failure]) -> None:
        for f in failures:
            raise RewardError(f"The reward failed on candidate {f.candidate} of step {f.step}: {f.reason}.")


@dataclass(frozen=True)
class Retry:
    """Failed objects are scored up to `again` more times; each try counts as a reward.

    Arguments:
        again: further tries.
        backoff: seconds before the first of them, doubled before each of the next.
        limit: share of a step that may fail for good before the run ends with a summary; 1 for no limit.
    """

    again: int = 2
    backoff: float = 0.0
    limit: float = 0.5

    def __post_init__(self) -> None:
        _share(self.limit)
        if self.again < 0 or not self.backoff >= 0:
            raise InputError(f"{self}: give tries and seconds that are not negative.")

    def pause(self, tries: int) -> float:
        return self.backoff * 2.0 ** (tries - 1)

    def settle(self, failures: Sequence[Failure]) -> None:
        pass


def _share(limit: float) -> None:
    if not 0 <= limit <= 1:
        raise InputError(f"limit={limit}: give the share of a step that may fail, from 0 to 1.")


@dataclass
class Part:
    """Answers about some rows of a batch.

    Attributes:
        rows: which ones.
        values: their rewards `(len(rows),)` float32 on the CPU, gradients kept; -inf for failures.
        reasons: of the failures, by row.
        calls: of the reward for each row.
        terms: named parts of the reward, each `(len(rows),)`.
    """

    rows: list[int]
    values: Tensor
    reasons: dict[int, str] = field(default_factory=dict)
    calls: int = 1
    terms: dict[str, list[float]] = field(default_factory=dict)


def score(
    reward: Reward, view: Callable[[Any], Any], latents: Any, n: int, policy: Policy, wait: Callable[[float], Any]
) -> Iterator[Part]:
    """Rewards of n objects, in parts as they come; failures after their last try.

    Arguments:
        reward: callable on a batch.
        view: latents to the batch of objects, called anew for each try; what it raises fails them all.
        latents: tensor, array or list of length n.
        n: how many there are.
        policy: how often to try, and the pause between.
        wait: called with seconds.
    """
    rows, last = list(range(n)), 1 + policy.again
    for tries in range(1, last + 1):
        failed: dict[int, str] = {}
        for part in _once(reward, view, latents if tries == 1 else _take(latents, rows), len(rows)):
            part = replace(part, rows=[rows[i] for i in part.rows], calls=tries) if tries > 1 else part
            part.reasons = {rows[i]: reason for i, reason in part.reasons.items()}
            failed |= part.reasons
            if not part.reasons:
                yield part
            elif tries == last:
                bad = torch.tensor([row in part.reasons for row in part.rows])
                yield replace(part, values=torch.where(bad, -torch.inf, part.values))  # a graph stays whole
            elif len(part.reasons) < len(part.rows):
                yield _without(part, set(part.reasons))
        rows = sorted(failed)
        if not rows:
            return
        if tries < last:
            wait(policy.pause(tries))


def _without(part: Part, bad: set[int]) -> Part:
    keep = [k for k, row in enumerate(part.rows) if row not in bad]
    terms = {name: [v[k] for k in keep] for name, v in part.terms.items()}
    return replace(part, rows=[part.rows[k] for k in keep], values=part.values[keep], reasons={}, terms=terms)


def _take(objects: Any, rows: list[int]) -> Any:
    return objects[rows] if isinstance(objects, Tensor | np.ndarray) else [objects[i] for i in rows]


def _once(reward: Reward, view: Callable[[Any], Any], latents: Any, n: int) -> Iterator[Part]:
    """One try: parts with rows of this batch, where failed rows have a reason."""
    left = set(range(n))
    try:
        objects = view(latents)
        broken = _broken(objects, n)
        if isinstance(reward, Streaming):
            sound = [i for i in range(n) if not broken[i]]
            for i in set(range(n)) - set(sound):
                left.discard(i)
                yield _numbers([BROKEN], [i])
            for k, answer in reward.each(objects if len(sound) == n else _take(objects, sound)) if sound else ():
                row = sound[k]
                if row in left:
                    left.discard(row)
                    plain = type(answer) is float and -MOST <= answer <= MOST
                    yield (
                        Part([row], torch.tensor([answer], dtype=torch.float32, device="cpu"))
                        if plain
                        else _numbers([answer], [row])
                    )
            if left:
                yield _numbers([ValueError("it gave no answer")] * len(left), sorted(left))
            return
        out = _awaited(reward(objects))
        told, terms = (out.values, out.terms) if isinstance(out, Scored) else (out, {})
        if all(broken):  # the reward of one object may be a bare number
            told = [BROKEN] * n
        elif any(broken) and hasattr(told, "__len__") and len(told) == n:
            told = [BROKEN if bad else value for bad, value in zip(broken, told, strict=True)]
        yield _numbers(Scored(told, terms), list(range(n)))
    except torch.OutOfMemoryError:
        raise  # the target halves the batch
    except (Exception, SystemExit) as error:  # a user's code may raise anything, and a simulator's main() exits
        yield _numbers([error] * len(left), sorted(left))


def _awaited(out: Any) -> Any:
    """What an `async def` reward returns in the end, whether or not a loop runs in this thread."""
    if not inspect.isawaitable(out):
        return out

    async def wait() -> Any:
        return await out

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    box: list[Any] = []

    def run() -> None:
        try:
            box.append(asyncio.run(wait()))
        except BaseException as error:
            box.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]


def _broken(objects: Any, n: int) -> list[bool]:
    """Which objects hold numbers that are not finite."""
    if isinstance(objects, np.ndarray) and objects.dtype.kind == "f":
        objects = torch.from_numpy(np.ascontiguousarray(objects))
    if not isinstance(objects, Tensor) or not objects.is_floating_point() or len(objects) != n:
        return [False] * n
    finite = torch.isfinite(objects.detach()).reshape(n, -1).all(1)
    return [False] * n if bool(finite.all()) else (~finite).tolist()


def _numbers(out: Any, rows: list[int]) -> Part:
    """What a reward returned for `rows`, with a reason for each row that is no number."""
    values, reasons, parts = readings(out, len(rows))
    return Part(rows, values, {rows[i]: reason for i, reason in reasons.items()}, terms=parts)
