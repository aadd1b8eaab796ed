r"""The winner's curse, lifted: the finalists of a noisy reward are scored again, and the winner once more after that.

The best of many noisy numbers is too high, since it was chosen for its noise too. With true rewards N(0, 1) and noise
of standard deviation s, the best of N reports

    reported = sqrt(1 + s^2) E_N,    true = E_N / sqrt(1 + s^2),    E_N the expected largest of N standard normals

so that at s = 1 and N = 4,096, 5.13 stands for 2.57. Scoring the finalists afresh and choosing again by their new
means finds a better winner (3.10 in that case); but its new mean was chosen by as well. So the winner is scored once
more, and only that last mean is reported: it is unbiased, whatever the noise.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..account import Account, Book, RewardError
from ..stream import Id, Purpose, Stream
from ..types import InputError, Meter, Result, Samples

__all__ = ["Reevaluated", "reevaluated"]

APART = -(1 << 60)  # steps of the run that fresh scores are written under: below those of all finalists


class _Target(Protocol):
    """What is asked of a target."""

    @property
    def account(self) -> Account: ...
    @property
    def meter(self) -> Meter: ...
    def score(self, x0: Tensor, stream: Stream, ids: Sequence[Id]) -> Tensor: ...


@dataclass(frozen=True)
class Reevaluated:
    """A winner chosen by fresh scores, and reported by fresher ones.

    Attributes:
        winner: a sample of length 1; its reward is the one that it was found with, and no longer counts.
        mean: of the fresh scores of the winner after it was chosen.
        error: standard error of the mean; 0 for a reward without noise.
        selected: the reward that the first of the finalists was found with.
        finalists: the samples, best first by their fresh means.
        means: of each finalist `(k,)`, by which the winner was chosen; -inf where no score is a number.
        noise: standard deviation of the reward of one object, pooled over the finalists.
        spent: what it took.
    """

    winner: Samples
    mean: float
    error: float
    selected: float
    finalists: Samples
    means: Tensor
    noise: float
    spent: Meter

    @property
    def curse(self) -> float:
        """How far the selection promised too much."""
        return self.selected - self.mean


def reevaluated(
    samples: Result | Samples,
    target: _Target,
    top: int = 8,
    times: int = 4,
    seed: int = 0,
    *,
    book: Book | None = None,
) -> Reevaluated:
    """Score the best samples afresh, choose again, and score the new winner once more.

    It takes (top + 1) times `times` rewards and no network evaluation. They count on the meter of the target, and have
    keys of their own: with a ledger, the same call again is answered from there.

    Arguments:
        samples: of a run; the reward has to draw anew at each call.
        target: of the run.
        top: finalists.
        times: fresh scores of each, and of the winner at the end; at least 2.
        seed: of the keys; another one asks for other scores.
        book: the ledger of the run, open, such as `Folder.open(path).ledger()`; nothing is written down without.

    Raises:
        InputError: if there are no samples, or fewer than one finalist or two scores.
        RewardError: if no finalist gets a number.

    References:
        The optimizer's curse: skepticism and postdecision surprise in decision analysis (Smith and Winkler, 2006).
    """
    if top < 1 or times < 2:
        raise InputError(f"top={top}, times={times}: give at least one finalist and two scores of each.")
    few = (samples.samples if isinstance(samples, Result) else samples).top(top)
    if not len(few):
        raise InputError("There is no sample with a reward: nothing can be scored again.")
    before, account = target.meter + Meter(), target.account
    with account.alone(), torch.no_grad():
        account.book = book
        account.begin(APART - zlib.crc32(str(seed).encode()), None)
        scores = _fresh(target, few, seed, range(times))
        means = _means(scores)
        order = torch.sort(means, descending=True, stable=True).indices
        chosen = few[order[:1]]
        last = _fresh(target, chosen, seed, range(times, 2 * times))
        account.begin(0, None)
    good = last[torch.isfinite(last)]
    if not len(good):
        reason = target.account.failures[-1].reason
        raise RewardError(f"None of {len(few)} finalists got a number when it was scored again: {reason}.")
    rows = [row[torch.isfinite(row)] for row in (*scores, last[0])]
    spread = sum(float((row - row.mean()).square().sum()) for row in rows if len(row))
    free = sum(len(row) - 1 for row in rows if len(row))
    return Reevaluated(
        chosen,
        float(good.mean()),
        float(good.std() / math.sqrt(len(good))) if len(good) > 1 else math.nan,
        float(few.reward[0]),
        few[order],
        means[order],
        math.sqrt(spread / free) if free else math.nan,
        target.meter - before,
    )


def _fresh(target: _Target, few: Samples, seed: int, draws: Sequence[int]) -> Tensor:
    """Scores `(k, len(draws))` float64 of k samples, -inf for failures."""
    stream = Stream(seed, Purpose.CHECK)
    ids: list[Id] = [(int(step), int(candidate)) for step, candidate in few.keys]
    return torch.stack([target.score(few.x, stream.at(draw=k), ids) for k in draws], 1).double()


def _means(scores: Tensor) -> Tensor:
    """Of the finite numbers of each row; -inf where there are none."""
    good = torch.isfinite(scores)
    mean = torch.where(good, scores, 0.0).sum(1) / good.sum(1)
    return torch.where(good.any(1), mean, -torch.inf)
