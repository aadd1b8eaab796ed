"""The subscriber that says how real the winner of a run is, and rings when its reward is being hacked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..types import Event, InputError, Reading, Result, Samples, Setup
from .alarm import Spending, unlike
from .readings import Respect, read, respects
from .reference import LEAST, Reference
from .typicality import whiteness
from .watch import one

if TYPE_CHECKING:
    from ..run import Start

__all__ = ["Evidence"]

MANY, SHARE = 128, 20  # prior samples by default, and the candidates of the budget for each


class Evidence:
    """Subscriber that reads how real the winner is, beside prior samples, and rings the hacking alarm.

        on=[Evidence(judge, DistanceToData(images, held_out)), StopWhen(alarmed)]

    It adds the columns `judge`, `distance` and `white` to the history, `alarm` (1 from the step at which it rang) and
    `alarm.p` (where it looked), and `readings` to the evidence of the result. List it before `Checkpoint` and
    `Report`.

    The prior samples are drawn and scored before the first step, on a meter of their own, `reference.meter`. Draw them
    once for all runs of a target with `Reference.of(target)`, and keep them with its `save`.

    Without a judge, a hack that stays on the manifold of the data, such as a loophole of the reward, is not seen.

    Arguments:
        judge: a callable on a batch of objects that the search never sees; higher is more real.
        distance: such as `DistanceToData`; lower is more real.
        reference: how many prior samples, or a `Reference`; by default 128, or fewer if they were more than a
            twentieth of the candidates that a budget in network evaluations or rewards pays for. Where that makes
            fewer than 16, or the budget has neither, there are none: the columns are read, and nothing is compared.
        rate: the share of honest runs in which the alarm may ring; see `elites.diagnose.alarm`.

    Attributes:
        reference: the prior samples, once a run has begun.
        rang: the step at which the alarm rang; `None` if it did not.
        began: the first of the looks, up to that one, that were all suspicious.
        honest: the best sample at the last look before that; `None` if there was none, or if it was before a resume
            and is no longer among the best.

    Raises:
        InputError: if the rate is no share, or the reference no reference; when the run begins, if it is too small
            or of another shape, or if the judge or the distance fails on all of it.
    """

    def __init__(
        self,
        judge: Callable[[Any], Any] | None = None,
        distance: Callable[[Any], Any] | None = None,
        *,
        reference: int | Reference | None = None,
        rate: float = 0.05,
    ) -> None:
        self.judge, self.distance, self.given = judge, distance, reference
        if not isinstance(reference, Reference | int | None):
            what = type(reference).__name__
            raise InputError(
                f"The reference is a {what}: give a number, or what Reference.load(target, path) returns."
            )
        self.spending = Spending(rate)
        self.reference: Reference | None = None
        self._of: Any = None  # whose prior samples were drawn here, and how many
        self._n = 0
        self._forget()

    def _forget(self) -> None:
        self.rang: int | None = None
        self.began: int | None = None
        self.honest: Samples | None = None
        self._trusted: float | None = None  # its reward
        self._least = 1.0  # p-value of the worst look
        self._seen: tuple[Any, ...] = ()
        self._values: dict[str, float] = {}

    @contextmanager
    def around(self, setup: Setup) -> Iterator[None]:
        """Draw the prior samples, and measure them."""
        self._forget()
        n = _affordable(setup) if self.given is None else self.given
        if isinstance(n, Reference):
            self.reference = n
            n.check(setup.target)
        elif (self._of, self._n) != (setup.target, n):
            self._of, self._n, self.reference = setup.target, n, Reference.of(setup.target, n) if n else None
        self._respects: list[Respect] = respects(self.reference, self.judge, self.distance)
        yield

    def inherits(self, start: Start) -> None:
        """Go on from the looks in the history of a saved run."""
        for row in start.history if self.reference is not None else ():
            if "alarm.p" in row:
                step, reward = int(row["step"]), row.get("best", math.nan)
                known = None if start.best is None else start.best[start.best.reward == reward][:1]
                best = known if known is not None and len(known) else None
                self._note(step, row["alarm.p"], self.spending.at(step), reward, best)

    def __call__(self, event: Event) -> None:
        best = event.best
        if best is None or not len(best):
            return
        if event.result is not None:
            self._end(event, event.result)
            return
        key = (*best.keys[0].tolist(), "final" in event.row)
        if key != self._seen:
            self._seen, self._values = key, self._measured(event, best)
        event.row.update(self._values)
        level = self.spending.at(event.step)
        if self.reference is None:
            return
        if level and "final" not in event.row:
            event.row["alarm.p"] = self._look(event, best, self.reference, level)
        event.row["alarm"] = float(self.rang is not None)

    def _measured(self, event: Event, best: Samples) -> dict[str, float]:
        objects = event.setup.target.decode(best.x[:1])
        with torch.no_grad():
            found = {r.name: one(r.name, r.function, objects) for r in self._respects}
        if best.z is not None:
            known = event.row.get("white")  # from `Typicality`
            found["white"] = float(whiteness(best.z[:1])[0]) if known is None else known
        return found

    def _look(self, event: Event, best: Samples, reference: Reference, level: float) -> float:
        """The p-value of this look, and what follows from it."""
        p = self._p(event, best, reference)
        self._note(event.step, p, level, float(best.reward[0]), best[:1])
        return p

    def _note(self, step: int, p: float, level: float, reward: float, best: Samples | None) -> None:
        """What follows from a look."""
        self._least = min(self._least, p)
        if self.rang is None:
            if p > self.spending.rate:
                self.began, self.honest, self._trusted = None, best, reward
            elif self.began is None:
                self.began = step
            if p <= level:
                self.rang = step

    def _p(self, event: Event, best: Samples, reference: Reference) -> float:
        """That the winner looks like the best of the prior in every respect; 1 while its reward is one of theirs."""
        rewards = reference.samples.reward
        rewards = rewards[rewards.isfinite()]
        if len(rewards) and float(best.reward[0]) <= float(rewards.max()):
            return 1.0
        top = reference.best()
        many = max(event.meter.rewards, 1)
        found = []
        for r in self._respects:
            value, values = float(r.scale(self._values[r.name])), r.scale(r.values)
            found.append(unlike(value, values, top) if r.follows else many * unlike(value, values))
        if best.z is not None:
            found.append(many * self._values["white"])
        return min(1.0, len(found) * min(found)) if found else 1.0

    def _end(self, event: Event, result: Result) -> None:
        if self.reference is None:
            return
        self._look(event, result.best, self.reference, self.spending.end)
        try:
            for reading in read(result.samples, self.reference, self._respects):
                result.evidence.append(reading)
        except Exception as error:  # of a decoder or a network: the result of the run stands
            warnings.warn(f"The other readings are missing: {type(error).__name__}: {error}.", stacklevel=2)
        result.evidence.append(self._alarm(len(self.reference.samples)))

    def _alarm(self, n: int) -> Reading:
        rate = f"beside {n} prior samples it rings by chance in at most {self.spending.rate:.0%} of honest runs"
        if self.rang is None:
            return Reading("alarm", self._least, math.nan, f"no sign that the reward was hacked; {rate}")
        last = "" if self._trusted is None else f"; the last honest best has reward {self._trusted:.4g}"
        if self.honest is not None:
            step, candidate = self.honest.keys[0].tolist()
            last += f", candidate {candidate} of step {step}"
        says = f"the reward is being hacked: seen at step {self.rang}, begun by step {self.began}{last}; {rate}"
        return Reading("alarm", self._least, math.nan, says, warns=True)


def _affordable(setup: Setup) -> int:
    """How many prior samples a run may have by default; 0 for none."""
    each, budget = setup.target.cost, setup.budget
    pays = [
        limit // (SHARE * k) for limit, k in ((budget.nfe, each.nfe), (budget.rewards, each.rewards)) if limit and k
    ]
    n = min(*pays, MANY) if pays else 0
    return n if n >= 2 * LEAST else 0
