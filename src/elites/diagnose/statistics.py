r"""How much better, and how sure: best of n without simulation, and intervals that hold what they promise.

**Best of n.** Of m independent prior samples with rewards r_(1) <= ... <= r_(m), the best of n that are drawn without
replacement is r_(i) with probability C(i - 1, n - 1) / C(m, n). The mean over that law is the only unbiased estimate
of the expected best of n that is symmetric in the samples (a U-statistic), for every n up to m. Nothing is known of a
best of more samples than there are.

**Within a run**, the winner is a fact; what is uncertain is the prior that it is held against. So the samples of the
prior are drawn again, by key. The bootstrap of a maximum holds only while m is much larger than n: on normal,
exponential and uniform laws, nominal intervals of 95 % hold the truth in 0.87 to 0.95 of the cases at m = 8 n, and in
0.72 to 0.90 at m = 4 n. So no interval is given below m = 8 n, nor below 16 samples, where that of a mean holds 0.85.

**Over seeds**, only runs tell how a method does. Student's t below 16 seeds, where bootstraps are far too narrow (they
hold 0.79 at 4 seeds); from 16 on, the bootstrap of the interquartile mean, which one lucky run cannot move. None below
3. Shares of successes get Wilson's interval, which holds for few runs and near 0 and 1.

References:
    A class of statistics with asymptotically normal distribution (Hoeffding, 1948).
    Better bootstrap confidence intervals (Efron, 1987).
    Probable inference, the law of succession, and statistical inference (Wilson, 1927).
    Deep Reinforcement Learning at the Edge of the Statistical Precipice (Agarwal, Schwarzer, Castro, Courville and
    Bellemare, 2021), arXiv:2108.13264, for the interquartile mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ..types import InputError

__all__ = ["Interval", "expected_best", "improvement", "interval", "middle", "paired", "share"]

FEW, MANY = 3, 16  # seeds: no interval below the first, Student's t below the second
ROOM, LEAST = 8, 16  # prior samples for each of the n of an interval, and in all
DRAWS = 4_000_000  # numbers drawn at a time

Numbers = Any  # a tensor, an array or a list of numbers


@dataclass(frozen=True)
class Interval:
    """A number with its confidence interval.

    Attributes:
        estimate: the number.
        low, high: ends of the interval; NaN if there is none.
        n: how many numbers it was made of.
        how: what was estimated and how, or why there is no interval.
    """

    estimate: float
    low: float
    high: float
    n: int
    how: str

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def expected_best(rewards: Numbers, n: int = 1) -> float:
    """The expected best of n prior samples, of m >= n that were scored; the mean for n = 1.

    Arguments:
        rewards: of the m samples `(m,)`; those that are not finite failed: they are drawn, and never the best.
        n: samples of which the best is taken.

    Raises:
        InputError: if n is below 1, there are fewer samples than n, or none of them has a reward.
    """
    r = np.sort(_finite(rewards, n))
    weights = _weights(len(r), n)
    good = np.isfinite(r)
    return float(weights[good] @ r[good] / weights[good].sum())


def improvement(
    winner: float,
    rewards: Numbers,
    n: int = 1,
    *,
    strata: Numbers | None = None,
    level: float = 0.95,
    times: int = 2000,
    seed: int = 0,
) -> Interval:
    """How far a winner is above the expected best of n prior samples, with a percentile bootstrap over the samples.

    Arguments:
        winner: its reward; of a noisy one, a fresh mean (`reevaluated`).
        rewards: of m >= n prior samples `(m,)`, failures not finite.
        n: samples of which the best is taken; 1 to compare with the mean of the prior.
        strata: labels `(m,)`, such as steps: samples are drawn again among those of their own label. Leave it out for
            samples of one law: many small strata make an interval too narrow.
        level: share of such intervals that hold the truth.
        times: samples of the bootstrap.
        seed: of its draws.

    Returns:
        An interval without ends where m < 8 n, or m < 16.

    Raises:
        InputError: if n is below 1, there are fewer samples than n, or none of them has a reward.
    """
    r = _finite(rewards, n)
    m, gain = len(r), winner - expected_best(r, n)
    what = "the mean of the prior" if n == 1 else f"the best of {n:,}"
    if m < (need := max(ROOM * n, LEAST)):
        return Interval(gain, math.nan, math.nan, m, f"no interval: {what} takes {need:,} prior samples, not {m:,}")
    labels = np.zeros(m, dtype=np.int64) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    if len(labels) != m:
        raise InputError(f"There are {m} rewards and {len(labels)} labels of strata: give one for each.")
    r = r[np.argsort(labels, kind="stable")]
    sizes = np.bincount(labels)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    width, weights = np.repeat(sizes, sizes), _weights(m, n)
    draws, rows = _generator(seed), max(DRAWS // m, 1)
    found: list[np.ndarray] = []
    for done in range(0, times, rows):
        picked = np.sort(r[first + (draws.random((min(rows, times - done), m)) * width).astype(np.int64)], axis=1)
        good = np.where(np.isfinite(picked), weights, 0.0)
        some = good.sum(1) > 0
        found.append((good * np.where(np.isfinite(picked), picked, 0.0)).sum(1)[some] / good.sum(1)[some])
    low, high = np.quantile(winner - np.concatenate(found), _tails(level))
    return Interval(gain, float(low), float(high), m, f"over {what}; bootstrap over {m:,} prior samples")


def interval(values: Numbers, level: float = 0.95, *, times: int = 2000, seed: int = 0) -> Interval:
    """The level of a method over seeds: mean with Student's t below 16, interquartile mean with the bootstrap above.

    Arguments:
        values: one number for each seed `(n,)`; those that are not finite are left out.
        level: share of such intervals that hold the truth.
        times: samples of the bootstrap (bias-corrected and accelerated).
        seed: of its draws.

    Returns:
        An interval without ends below 3 seeds.
    """
    x = _array(values)
    x = x[np.isfinite(x)]
    n = len(x)
    if n < FEW:
        estimate = float(x.mean()) if n else math.nan
        why = f"no interval: {n} {'seed says' if n == 1 else 'seeds say'} nothing about the spread, run at least {FEW}"
        return Interval(estimate, math.nan, math.nan, n, why)
    if n < MANY:
        half = float(stdtrit(n - 1, _tails(level)[1])) * float(x.std(ddof=1)) / math.sqrt(n)
        return Interval(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, n, f"mean of {n} seeds; t")
    low, high = _bca(x, middle, level, times, seed)
    return Interval(middle(x), low, high, n, f"interquartile mean of {n} seeds; bootstrap")


def paired(
    ours: Mapping[int, float], theirs: Mapping[int, float], level: float = 0.95, *, times: int = 2000, seed: int = 0
) -> Interval:
    """How far one method is above another, over the seeds that both have run; as `interval` of the differences.

    Arguments:
        ours, theirs: seed to number.
        level, times, seed: as of `interval`.
    """
    both = [s for s in ours if s in theirs]
    return interval([ours[s] - theirs[s] for s in both], level, times=times, seed=seed)


def share(successes: int, n: int, level: float = 0.95) -> Interval:
    """The share of n runs that succeeded, with Wilson's interval; without ends below 3 runs.

    Raises:
        InputError: if there are more successes than runs, or no runs.
    """
    if not 0 <= successes <= n or n < 1:
        raise InputError(f"{successes} of {n} runs cannot have succeeded: give 0 to n successes of n runs.")
    p, z = successes / n, NormalDist().inv_cdf((1 + level) / 2)
    if n < FEW:
        why = f"no interval: {n} {'run says' if n == 1 else 'runs say'} nothing about a share, run at least {FEW}"
        return Interval(p, math.nan, math.nan, n, why)
    middle_ = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (0.0 if successes == 0 else middle_ - half), (1.0 if successes == n else middle_ + half)
    return Interval(p, low, high, n, f"{successes} of {n}; Wilson")


def middle(values: Numbers) -> float:
    """The interquartile mean: of what is left when a quarter of the numbers is cut off at either end."""
    x = np.sort(_array(values))
    cut = len(x) // 4
    return float(x[cut : len(x) - cut].mean())


def _array(values: Numbers) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float64).reshape(-1)


def _finite(rewards: Numbers, n: int) -> np.ndarray:
    """Rewards with -inf for failures, checked against n."""
    r = _array(rewards)
    if n < 1:
        raise InputError(f"n={n}: give the number of samples of which the best is taken, at least 1.")
    if n > len(r):
        raise InputError(f"The best of {n:,} cannot be told from {len(r):,} prior samples: score at least {n:,}.")
    r = np.where(np.isfinite(r), r, -np.inf)
    if not np.isfinite(r).any():
        raise InputError("None of the prior samples has a reward: there is nothing to compare with.")
    return r


def _weights(m: int, n: int) -> np.ndarray:
    """C(i - 1, n - 1) / C(m, n) for i = 1 ... m."""
    i = np.arange(1, m + 1)
    log = np.array([math.lgamma(k) for k in range(1, m + 2)])  # log (k - 1)!
    out = np.zeros(m)
    k = i[n - 1 :]
    whole = log[m] - log[n] - log[m - n]
    out[n - 1 :] = np.exp(log[k - 1] - log[n - 1] - log[k - n] - whole)
    return out


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _bca(x: np.ndarray, f: Callable[[np.ndarray], float], level: float, times: int, seed: int) -> tuple[float, ...]:
    """Ends of the bias-corrected and accelerated bootstrap."""
    n, normal, at = len(x), NormalDist(), f(x)
    draws = x[_generator(seed).integers(n, size=(times, n))]
    found = np.array([f(row) for row in draws])
    below = ((found < at).sum() + (found == at).sum() / 2) / times
    bias = normal.inv_cdf(min(max(below, 0.5 / times), 1 - 0.5 / times))
    left = np.array([f(np.delete(x, i)) for i in range(n)])
    away = left.mean() - left
    scale = float((away**2).sum()) ** 1.5
    bend = float((away**3).sum()) / (6 * scale) if scale > 0 else 0.0
    ends = []
    for tail in _tails(level):
        z = bias + normal.inv_cdf(tail)
        ends.append(normal.cdf(bias + z / max(1 - bend * z, 1e-6)))
    return tuple(float(v) for v in np.quantile(found, ends))
