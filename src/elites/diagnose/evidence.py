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
from .latest import Latest
from .readings import Respect, read, respects
from .reference import LEAST, LOSS, Reference
from .typicality import whiteness
from .watch import one

if TYPE_CHECKING:
    from ..run import Start

__all__ = ["Evidence"]

MANY, SHARE = 128, 20  # prior samples by default, and the candidates that the budget has to pay for with each


class Evidence:
    """Subscriber that reads how real the winner is, beside prior samples, and rings the hacking alarm.

        on=[Evidence(judge, DistanceToData(images, held_out)), StopWhen(alarmed)]

    It adds the columns `judge`, `distance` and `white` to the history, `alarm` (1 from the step at which it rang) and
    `alarm.p` (where it looked), and `readings` to the evidence of the result. List it before `Checkpoint` and
    `Report`.

    The prior samples are drawn and scored after the probe, or after the first step where there is none, on a meter of
    their own, `reference.meter`. Draw them once for all runs of a target with `Reference.of(target)`, and keep them
    with its `save`.

    Without a judge, a hack that stays on the manifold of the data, such as a loophole of the reward, is not seen.

    Arguments:
        judge: a callable on a batch of objects that the search never sees; higher is more real.
        distance: such as `DistanceToData`; lower is more real.
        reference: how many prior samples, or a `Reference`; by default 128, or fewer if they took more than a
            twentieth of the budget. Where that makes fewer than 16 there are none: the columns are read, and nothing
            is compared.
        rate: the share of honest runs in which the alarm may ring; see `elites.diagnose.alarm`.

    Attributes:
        reference: the prior samples, once a run has begun.
        rang: the step at which the alarm rang; `None` if it did not.
        began: the first of the looks, up to that one, that were all suspicious.
        honest: the best sample at the last look before that; `None` if there was none, or if it was before a resume
            and is no longer among the best.

    Raises:
        InputError: if the rate is no share, or the reference no reference; when the run begins, if it is too small
            or of another shape, if another reward has scored it, if the judge or the distance fails on all of it, or
            if a subscriber that is listed before it fills its columns.
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
        self._trusted = ""  # its reward, and where that was seen
        self._least = 1.0  # p-value of the worst look
        self._latest = Latest()
        self._respects: list[Respect] | None = None  # once the prior samples are drawn

    @contextmanager
    def around(self, setup: Setup) -> Iterator[None]:
        """Forget the last run."""
        self._forget()
        if isinstance(self.given, Reference):
            self.given.check(setup.target)
        yield

    def _refuse_a_second(self, event: Event) -> None:
        given = {"judge": self.judge, "distance": self.distance, "alarm": self}
        if taken := [name for name, f in given.items() if f is not None and name in event.row]:
            raise InputError(
                f"Another subscriber fills the column {taken[0]!r}: list one Evidence, and name what Watch has anew."
            )

    def _draw(self, event: Event) -> list[Respect]:
        """Draw the prior samples, and measure them."""
        target = event.setup.target
        n = _affordable(event) if self.given is None else self.given
        if isinstance(n, Reference):
            self.reference = n
        elif (self._of, self._n) != (target, n):
            self._of, self._n, self.reference = target, n, Reference.of(target, n) if n else None
        return respects(self.reference, self.judge, self.distance)

    def inherits(self, start: Start) -> None:
        """Go on from the looks in the history of a saved run."""
        for row in start.history:
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
        if self._respects is None:
            self._refuse_a_second(event)
            self._respects = self._draw(event)
        event.row.update(self._latest.of(event, self._measured))
        level = self.spending.at(event.step)
        if self.reference is None:
            return
        if level and "final" not in event.row:
            event.row["alarm.p"] = self._look(event, best, self.reference, level)
        event.row["alarm"] = float(self.rang is not None)

    @property
    def _watched(self) -> list[Respect]:
        """What is read at each step."""
        return [r for r in self._respects or () if not r.law]

    def _measured(self, event: Event, best: Samples) -> dict[str, float]:
        with torch.no_grad():
            found = {r.name: one(r.name, r.function, event.winner) for r in self._watched}
        if best.z is not None:
            known = event.row.get("white")  # from `Typicality`
            found["white"] = float(whiteness(best.z)[0]) if known is None else known
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
                self.began, self.honest = None, best
                self._trusted = f"; the last honest best has reward {reward:.4g}, at step {step}"
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
        for r in self._watched:
            value, values = float(r.scale(self._latest.values[r.name])), r.scale(r.values)
            found.append(unlike(value, values, top) if r.follows else many * unlike(value, values))
        if best.z is not None:
            found.append(many * self._latest.values["white"])
        return min(1.0, len(found) * min(found)) if found else 1.0

    def _end(self, event: Event, result: Result) -> None:
        if self._respects is None:  # it ended before its first event
            return
        if self.reference is None:
            few = f"not looked for: the budget pays for fewer than {2 * LEAST} prior samples, give reference="
            result.evidence.append(Reading("alarm", math.nan, math.nan, few))
            return
        self._look(event, result.best, self.reference, self.spending.end)
        try:
            for reading in read(result.samples, self.reference, self._respects):
                result.evidence.append(reading)
        except Exception as error:  # of a decoder or a network: the result of the run stands
            warnings.warn(f"The other readings are missing: {type(error).__name__}: {error}.", stacklevel=2)
        result.evidence.append(self._alarm(self.reference))

    def _alarm(self, reference: Reference) -> Reading:
        n = len(reference.samples)
        rate = f"beside {n} prior samples it rings by chance in at most {self.spending.rate:.0%} of honest runs"
        if unread := [r.name for r in self._watched if math.isnan(self._latest.values.get(r.name, math.nan))]:
            rate = f"the {' and the '.join(unread)} of the winner could not be read; {rate}"
        if self.rang is None:
            return Reading("alarm", self._least, math.nan, f"no sign that the reward was hacked; {rate}")
        says = (
            f"the reward is being hacked: seen at step {self.rang}, begun by step {self.began}{self._trusted}; {rate}"
        )
        return Reading("alarm", self._least, math.nan, says, warns=True)


def _affordable(event: Event) -> int:
    """How many prior samples a run may have by default; 0 for none."""
    setup, spent = event.setup, event.meter
    target, budget = setup.target, setup.budget
    each, pays = target.cost, [MANY * SHARE]
    if budget.nfe is not None:
        pays.append(budget.nfe // (each.nfe + LOSS.draws * len(LOSS.levels)))
    if budget.rewards is not None:
        pays.append(budget.rewards // max(each.rewards, 1))
    if budget.steps is not None:
        pays.append(budget.steps * setup.method.cost(target, event.state).rewards // max(each.rewards, 1))
    if budget.seconds is not None:
        pays.append(int(budget.seconds * spent.rewards / max(spent.seconds, 1e-9)))
    n = min(pays) // SHARE
    return n if n >= 2 * LEAST else 0
