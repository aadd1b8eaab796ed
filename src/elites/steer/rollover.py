r"""Rollover budget forcing: a walk that goes on as soon as it finds a better child, and saves what it did not spend.

A stream stands at a level with a particle and proposes children at the next one, each worth the reward of its clean
guess. The first that is good enough is taken, and the evaluations that its level did not need roll over to the next;
where the level's quota runs out, the best child is taken. At the last level with noise the stream stays, and spends
what is left on children there.

References:
    Inference-Time Scaling for Flow Models via Stochastic Generation and Rollover Budget Forcing (Kim, Yoon, Hwang and
    Sung, 2025), arXiv:2503.19385.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..target import Target
from ..templates import FIRST, KEEP, Finite, chance
from ..types import Info, InputError, Meter, Samples
from .transitions import Native, Transition

__all__ = ["Rollover", "RolloverState"]


@dataclass
class RolloverState:
    """Where n streams stand.

    Attributes:
        x, x0: particles `(n, *shape)` and their clean guesses.
        value: reward `(n,)` of the guess, and `record` the best of the stream's guesses so far.
        level: `(n,)` int64, times[level] is where the particle is.
        quota, used: evaluations `(n,)` int64 that this level may spend, and has.
        child_x, child_x0, child: the best child of the level `(n, *shape)` and its reward `(n,)`, -inf for none.
        best_x0, best: the best guess of the last level `(n, *shape)` and its reward `(n,)`.
        round, spent: proposals so far, and clean guesses they took.
    """

    times: Tensor
    x: Tensor
    x0: Tensor
    value: Tensor
    record: Tensor
    level: Tensor
    quota: Tensor
    used: Tensor
    child_x: Tensor
    child_x0: Tensor
    child: Tensor
    best_x0: Tensor
    best: Tensor
    round: int
    spent: int


@dataclass(frozen=True)
class Rollover(Finite):
    """Rollover budget forcing.

    Arguments:
        evaluations: clean guesses to spend in all, each one network evaluation and one reward.
        n: streams, which share nothing.
        first: draws of noise of each, of which the best begins.
        steps: noise levels asked of the prior.
        width: children that a stream proposes at once; with 1, as published, a stream follows the first small gain
            and may be in the wrong mode before it sees another.
        strict: whether a child has to beat every guess that the stream has seen, as published, and not its parent
            alone. Guesses at high noise are blurred, and a lucky one can be out of reach for good.
        transition: `Native()` or `Glass()`.

    Raises:
        InputError: if a number is out of range, or the evaluations do not pay for one child at each level; at the
            start, if the walk of the prior has no noise.

    References:
        Inference-Time Scaling for Flow Models via Stochastic Generation and Rollover Budget Forcing (Kim, Yoon, Hwang
        and Sung, 2025), arXiv:2503.19385.

    Differences:
        Exact transitions of the prior instead of Euler-Maruyama steps on a converted schedule; `strict=False`; the
        answer is the best guess ever made at the last level, where the published code gives the last level's own
        best; fewer than n times `width` evaluations are left over.
    """

    evaluations: int = 500
    n: int = 2
    first: int = 25
    steps: int = 10
    width: int = 8
    strict: bool = False
    transition: Transition = Native()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if min(self.n, self.first, self.width) < 1 or self.steps < 2:
            raise InputError(f"{self}: give at least one stream, draw and child, and two steps.")
        if self._quota < self.width:
            raise InputError(f"{self}: {self.evaluations} evaluations do not pay for the children: give more.")

    @property
    def _quota(self) -> int:
        return (self.evaluations - self.first * self.n) // (self.steps * self.n)

    def init(self, target: Target, stream: Stream) -> RolloverState:
        self.transition.check(target.prior)
        x = target.prior.start(target.prior.noise(stream.at(step=FIRST), range(self.n)))
        times = target.prior.grid(self.steps)
        if len(times) < 3:
            raise InputError(f"The prior walks {len(times) - 1} levels: rollover needs at least two.")
        none = torch.full((self.n,), -torch.inf, dtype=torch.float32)
        zero = torch.zeros(self.n, dtype=torch.int64)
        value, record, child, best = (none.clone() for _ in range(4))  # streams change them one by one
        x0, child_x, child_x0, best_x0 = (torch.zeros_like(x) for _ in range(4))
        level, used, quota = zero, zero.clone(), zero + self._quota
        return RolloverState(
            times, x, x0, value, record, level, quota, used, child_x, child_x0, child, best_x0, best, round=0, spent=0
        )

    def step(self, target: Target, state: RolloverState, stream: Stream) -> tuple[RolloverState, Info]:
        """Children of all streams, and what each makes of its own; the first step draws the noise to begin with."""
        stream = stream.at(step=FIRST)
        state = deepcopy(state)
        x, x0, reward = (self._begun if state.round == 0 else self._children)(target, state, stream)
        each = len(x) // self.n
        top = reward.reshape(self.n, each).max(1)
        rows = torch.arange(self.n) * each + top.indices
        for i, (row, value) in enumerate(zip(rows.tolist(), top.values.tolist(), strict=True)):
            if state.round == 0:
                state.x[i], state.x0[i], state.value[i], state.record[i] = x[row], x0[row], value, value
            else:
                self._take(state, i, x[row], x0[row], value)
        state = replace(state, round=state.round + 1, spent=state.spent + len(x))
        keys = torch.tensor([(FIRST, i) for i in range(self.n)], dtype=torch.int64)
        found = Samples(x=state.best_x0, reward=state.best, keys=keys)
        scalars: dict[str, Tensor | float] = {"level": state.level.double().mean()}
        ended = bool((state.best > -torch.inf).any())
        return state, Info(samples=found.top(KEEP) if ended else None, rewards=reward, scalars=scalars, x0=state.x0)

    def done(self, state: RolloverState) -> bool:
        """Whether the evaluations are spent."""
        return state.round > 0 and state.spent + self._asked(state) > self.evaluations

    def whole(self, target: Target, state: RolloverState) -> Meter:
        """The evaluations, and what the transitions of the children take besides."""
        later = max(self.evaluations - self.n * self.first, 0) * self.transition.calls()
        return Meter(nfe=(self.evaluations + later) * target.prior.cost, rewards=self.evaluations * target.tries)

    def cost(self, target: Target, state: RolloverState) -> Meter:
        """One proposal of all streams."""
        n, calls = self._asked(state), 1 + (self.transition.calls() if state.round else 0)
        return Meter(nfe=n * calls * target.prior.cost, rewards=n * target.tries)

    def _asked(self, state: RolloverState) -> int:
        return self.n * (self.width if state.round else self.first)

    def _begun(self, target: Target, state: RolloverState, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
        ids = range(self.n * self.first)
        x = target.prior.start(target.prior.noise(stream, ids))
        x0 = target.denoise(x, state.times[0], chance(target, stream.at(purpose=Purpose.WALK), ids, x))
        return x, x0, target.score(x0, stream, ids)

    def _children(self, target: Target, state: RolloverState, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Children `(n width, *shape)`, their clean guesses and rewards; streams at one level share its calls."""
        x, x0 = (v.repeat_interleave(self.width, 0) for v in (state.x, state.x0))
        walk = stream.at(purpose=Purpose.WALK, draw=2 * state.round)
        levels = state.level.repeat_interleave(self.width)
        for level in levels.unique().tolist():
            ids = (levels == level).nonzero()[:, 0]
            t, s, rows = state.times[level], state.times[level + 1], ids.to(x.device)
            x[rows] = self.transition(target, x[rows], x0[rows], t, s, walk.at(draw=walk.draw + 1), ids.tolist())
            x0[rows] = target.denoise(x[rows], s, chance(target, walk, ids.tolist(), x))
        return x, x0, target.score(x0, stream, range(len(x)))

    def _take(self, state: RolloverState, i: int, x: Tensor, x0: Tensor, value: float) -> None:
        """What stream i does about its best new child; changes the state."""
        state.used[i] += self.width
        if value > state.child[i]:
            state.child_x[i], state.child_x0[i], state.child[i] = x, x0, value
        last = int(state.level[i]) == len(state.times) - 3  # from here children are at the last level with noise
        if last:
            if value > state.best[i]:
                state.best_x0[i], state.best[i] = x0, value
            return
        better = value > float(state.record[i] if self.strict else state.value[i])
        if not better and state.used[i] + self.width <= state.quota[i]:
            return
        if state.child[i] > -torch.inf:
            state.x[i], state.x0[i], state.value[i] = state.child_x[i], state.child_x0[i], state.child[i]
        else:  # every child failed: any will do
            state.x[i], state.x0[i] = x, x0
        saved = max(int(state.quota[i] - state.used[i]), 0) if better else 0
        state.record[i] = max(float(state.record[i]), value)
        state.level[i], state.used[i], state.quota[i] = state.level[i] + 1, 0, saved + self._quota
        state.child[i] = -torch.inf
