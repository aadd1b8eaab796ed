r"""Previews: discard candidates that a cheap look says are poor, and walk only the others to the end.

    1. the search asks for `widen` times its population
    2. every candidate gets a preview; the best go on, by equal factors over the rungs, until the population is left
    3. these are walked to the end and scored; the search learns

Whether that pays is a matter of the rank correlation rho of preview and reward. With normal scores, a candidate at u
survives the choice of p among n with probability

    S(rho) = Phi((rho u - q) / sqrt(1 - rho^2)),    q = Phi^-1(1 - p / n)

and a race costs a share h of what it costs to walk all n to the end. So a race finds S n good candidates where
the same evaluations, spent on whole walks, find h n: it pays where S(rho) > h, and at rho = 0, where S = p / n < h, it
cannot. The break-even is taken at u = the expected best of n, and rho is measured, again and again, along the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from ..stream import Stream
from ..target import Target
from ..templates import KEEP, Search
from ..types import Info, InputError, Meter, Samples
from .elites import Elites
from .fidelity import FewSteps, Fidelity
from .refit import DISCARDED

NORMAL = NormalDist()
FEWEST = 4  # pairs that have a correlation with an error

__all__ = ["Previews", "PreviewsState"]


@dataclass
class PreviewsState:
    """The state of the search inside, and what is known of the previews.

    Attributes:
        inside: the state of the search.
        on: whether candidates are discarded.
        wait: steps until the next trial; 0 if the next step is one.
        rest: how long the next pause is.
        total: sum of Fisher's z of the correlations of the trials, each times its weight.
        weight: sum of the weights; that of a trial with n pairs is n - 3, and each verdict halves what there is.
    """

    inside: Any
    on: bool
    wait: int
    rest: int
    total: float
    weight: float


@dataclass(frozen=True)
class Previews:
    """A search that sees more candidates than it walks to the end.

    A step is a *race*, a *trial* or a *plain* step. A race asks for `widen` times the population, discards by
    previews until the population is left, and walks that to the end. A trial previews as many, walks all of them to
    the end, and measures the rank correlation of preview and reward on all of them: on survivors alone it would be
    that of a range without its lower part, and across steps it would be the rise of the rewards. Nothing in a
    trial is wasted, for the search learns from all. A plain step is one of the search inside, at its own cost.

    The first step is a trial. Fisher's z of the correlations, averaged over trials, has the variance
    1.06 / sum(n - 3). Where it lies a standard error above the break-even, the next `again` steps are races; a
    standard error below it, they are plain, and the pause doubles with every such verdict in a row, so that hopeless
    previews cost a logarithm of the run; in between, the next step is another trial. With several rungs the worst
    counts. Each verdict halves the weight of what was known, since previews of a converged search say less.

    What the search is told: of survivors the reward, of candidates that were discarded a number far below every
    reward, in the order of their last preview. So it has to learn by ranks, and to draw any number of candidates of
    a step, as `Elites`, `Evolve`, `ZeroOrder`, `RandomSearch` and `Spectral` around them do; `CMA` and `AskTell` draw
    their populations beforehand, a chain of `PCN` needs the reward of its proposal, and both are refused. No such
    number is reported: samples and rewards are those of whole walks. A search that keeps more candidates than survive
    keeps some of the discarded until better ones come. A preview that fails is listed as a failure of its candidate,
    is discarded first, and told as one unless its candidate survives; where all survivors fail, all are told to have.

    Previews are objects scored, and count as rewards; the break-even looks at network evaluations alone, so raise
    `gain` where the reward is the costly part. All noise of a step is held in memory. The columns `previews` (1 on,
    0 off), `discarded` (the share) and `correlation` of the history say what happened.

    They pay in long walks: at 50 steps, not at 10, where a search that learns gains more from another round. Where
    objects of few steps are good enough to search with, `run(..., final=Final(walk))` gains more.

    Arguments:
        search: to widen; with a small population, since it is the rounds that a search learns from, and it sees
            `widen` times as many.
        fidelity: `FewSteps(steps)` or `EarlyGuess(levels)`.
        widen: times the population of the search, at the first rung.
        again: races from one trial to the next, and the first pause after previews were switched off.
        gain: what a race has to find, in good candidates for its evaluations, relative to whole walks.

    Raises:
        InputError: if an argument is out of range, or at the start, if the walk has no such previews, the
            search cannot be widened, or no correlation makes the previews pay.

    References:
        Non-stochastic Best Arm Identification and Hyperparameter Optimization (Jamieson and Talwalkar, 2016),
        arXiv:1502.07943, for successive halving.
        Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization (Li, Jamieson, DeSalvo, Rostamizadeh
        and Talwalkar, 2018), arXiv:1603.06560.
        Tests for rank correlation coefficients (Fieller, Hartley and Pearson, 1957), Biometrika, for the variance.

    Differences:
        Halving spends the same on every rung; here the rungs are the user's, and the factor between them is equal.
        The papers never ask whether the low fidelity ranks as the high one does.
    """

    search: Search = Elites(4)  # noqa: RUF009 (frozen)
    fidelity: Fidelity = FewSteps()  # noqa: RUF009 (frozen)
    widen: int = 4
    again: int = 8
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.widen < 2 or self.again < 1 or self.gain < 1:
            raise InputError(
                f"Previews(widen={self.widen}, again={self.again}, gain={self.gain}): give a population that is "
                "widened at least twice, at least one step between trials and a gain of at least 1."
            )

    def init(self, target: Target, stream: Stream) -> PreviewsState:
        state = PreviewsState(self.search.init(target, stream), False, 0, self.again, 0.0, 0.0)
        try:
            self.search.ask(state.inside, stream, [self._counts(state)[0] - 1])
        except IndexError as error:
            raise InputError(
                f"The candidates of a step of {self.search!r} cannot be more than its population: wrap a search such "
                "as Elites, Evolve, ZeroOrder or RandomSearch."
            ) from error
        if self._counts(state)[0] < FEWEST:
            raise InputError(f"A trial of {self._counts(state)[0]} candidates measures nothing: widen to {FEWEST}.")
        if self.gain * self._share(target, state) >= 1:
            raise InputError(
                f"Previews by {self.fidelity!r} cannot pay in a walk of {target.walk.steps} steps: make them cheaper, "
                "or leave them out."
            )
        return state

    def step(self, target: Target, state: PreviewsState, stream: Stream) -> tuple[PreviewsState, Info]:
        """A trial, a race, or, with previews off, a step of the search inside."""
        if state.wait and not state.on:
            inside, info = self.search.step(target, state.inside, stream)
            after, discarded = replace(state, inside=inside, wait=state.wait - 1), 0.0
        else:
            after, info = self._race(target, state, stream)
            discarded = 1 - len(info.rewards) / self._counts(state)[0]  # type: ignore[arg-type]
        info.scalars |= {"previews": float(state.on), "discarded": discarded}
        if after.weight:
            info.scalars["correlation"] = math.tanh(after.total / after.weight)
        return after, info

    def done(self, state: PreviewsState) -> bool:
        return self.search.done(state.inside)

    def cost(self, target: Target, state: PreviewsState) -> Meter:
        """What the next step costs: a trial, a race, or a step of the search inside."""
        if state.wait and not state.on:
            return self.search.cost(target, state.inside)
        counts, each, own = self._counts(state), target.cost.rewards, self.fidelity.nfe(target)
        if not state.wait:
            counts = [counts[0]] * len(counts)
        nfe = sum(n * nfe for n, nfe in zip(counts, [*own[0], own[1]], strict=True))
        return Meter(nfe=nfe, rewards=sum(counts) * each)

    def break_even(self, target: Target, state: PreviewsState) -> float:
        """The rank correlation above which a race pays: rho of the module docstring with S(rho) = gain h."""
        counts = self._counts(state)
        q = NORMAL.inv_cdf(1 - counts[-1] / counts[0])
        u = NORMAL.inv_cdf((counts[0] - 0.375) / (counts[0] + 0.25))  # expected best of n, by Blom
        b = NORMAL.inv_cdf(self.gain * self._share(target, state))
        return (u * q + b * math.sqrt(u * u + b * b - q * q)) / (u * u + b * b)

    def _share(self, target: Target, state: PreviewsState) -> float:
        """Network evaluations of a race over those of as many whole walks."""
        race = self.cost(target, replace(state, on=True, wait=1)).nfe
        return race / (self._counts(state)[0] * target.cost.nfe)

    def _counts(self, state: PreviewsState) -> list[int]:
        """Candidates that are walked to each rung, and to the end."""
        p, rungs = self.search.size(state.inside), len(self.fidelity)
        return [round(p * self.widen ** (1 - rung / rungs)) for rung in range(rungs + 1)]

    def _race(self, target: Target, state: PreviewsState, stream: Stream) -> tuple[PreviewsState, Info]:
        """Preview, discard, walk the others to the end, learn; a trial discards nobody, and measures."""
        counts, trial = self._counts(state), not state.wait
        n = counts[0]
        z = self.search.ask(state.inside, stream, range(n))
        walk, rows = target.walk.begin(target, z), torch.arange(n)
        looks, last, lost = [], torch.zeros(n, dtype=torch.float32), torch.zeros(0, dtype=torch.int64)
        for rung, left in enumerate(counts[1:]):
            ids = rows.tolist()
            walk, guess = self.fidelity.guess(target, z[rows], walk, rung, stream, ids)
            look = target.score(guess, stream, ids)
            looks.append(look)
            last[rows] = look
            if not trial:
                order = torch.sort(look, descending=True, stable=True).indices  # failures are last
                lost = torch.cat([rows[order[left:]], lost])
                kept = order[:left].sort().values
                rows, walk = rows[kept], walk[kept]
        ids = rows.tolist()
        x = target.walk.on(target, walk, len(walk.times) - 1, stream, ids)[0].x
        keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
        samples = Samples(x=x, reward=target.score(x, stream, ids), keys=keys, z=z[rows])
        told = torch.full((n,), -torch.inf, dtype=torch.float32)
        if torch.isfinite(samples.reward).any():  # else no reward is known that the discarded could be below
            told[lost] = torch.linspace(2.0, 4.0, len(lost), dtype=torch.float32) * DISCARDED
            told[last == -torch.inf] = -torch.inf
            told[rows] = samples.reward
        inside, scalars = self.search.learn(target, state.inside, range(n), told, stream)
        after = replace(state, inside=inside, wait=state.wait - 1)
        if trial:
            after = self._verdict(replace(after, wait=0), looks, samples.reward, self.break_even(target, state))
        return after, Info(samples=samples.top(KEEP), rewards=samples.reward, scalars=scalars)

    def _verdict(self, state: PreviewsState, looks: list[Tensor], rewards: Tensor, least: float) -> PreviewsState:
        """The state after a trial: on or off for a while, or another trial if it is too close to call."""
        good = torch.isfinite(rewards)
        pairs = int(good.sum())
        total, weight, rest = state.total, state.weight, state.rest
        if pairs >= FEWEST:
            rho = min(spearman(look[good], rewards[good]) for look in looks)
            total += (pairs - 3) * math.atanh(max(min(rho, 1 - 1 / pairs), 1 / pairs - 1))
            weight += pairs - 3
        error = math.sqrt(1.06 / weight) if weight else 0.0
        above = total / weight - math.atanh(least) if weight else -1.0  # nothing to learn from: off
        if pairs >= FEWEST and abs(above) <= error:
            return replace(state, total=total, weight=weight)
        on = above > 0
        wait = self.again if on else rest
        return replace(
            state, on=on, wait=wait, rest=self.again if on else 2 * rest, total=total / 2, weight=weight / 2
        )


def spearman(a: Tensor, b: Tensor) -> float:
    """Rank correlation of two samples `(n,)`, ties at their mean rank; 0 if all of one are equal."""
    ranks = []
    for values in (a, b):
        _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
        upto = counts.double().cumsum(0)
        ranks.append((upto - counts.double() / 2)[place])
    x, y = (r - r.mean() for r in ranks)
    norm = float((x.square().sum() * y.square().sum()).sqrt())
    return float((x * y).sum()) / norm if norm else 0.0
