r"""The hacking alarm: a sequential test of whether the winners still look like the best of the prior.

A reward is hacked where it rises and the object does not follow. The null hypothesis is that the winner looks, in
every respect but its reward, like one of the prior samples of the highest rewards. At each look there is a p-value for
each respect:

- the noise: `whiteness`, times the number of candidates that the winner is the best of;
- the distance: the lower tail of Student's t for one more draw of a normal law, whose mean and spread are those of the
  prior samples, times the number of candidates;
- the judge: the same, for one more of the best prior samples. An eighth of them at either end is trimmed, because a
  loophole that the prior itself finds now and then is among the best of its rewards; and the spread is not taken below
  a quarter of that of all prior samples. On normal laws such p-values are right to a fifth, from 0.1 down to 0.001.

The least of them times their number is compared with a level. There is a look whenever the number of steps has grown
by about the square root of two, and one at the end; half of the rate is spent at the end, and the m-th look spends
3 / (pi m)^2 of it. By Bonferroni's inequality the alarm rings by chance in no more than `rate` of the runs whose
winners obey the null hypothesis, however their looks depend on one another.

References:
    The two-sample trimmed t for unequal population variances (Yuen, 1974), Biometrika 61, for means and spreads that
        are trimmed.
    Discrete sequential boundaries for clinical trials (Lan and DeMets, 1983), Biometrika 70, for spending a rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from scipy.special import stdtr
from torch import Tensor

from ..types import Event, InputError

__all__ = ["Spending", "StopWhen", "alarmed", "unlike"]


@dataclass(frozen=True)
class Spending:
    """The levels of the looks.

    Arguments:
        rate: the share of honest runs in which the alarm may ring.

    Raises:
        InputError: if it is no share.
    """

    rate: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise InputError(f"rate={self.rate}: give the share of honest runs in which the alarm may ring.")

    def at(self, step: int) -> float:
        """The level of the look after a step; 0 where there is none."""
        look = _looks(step)
        return 3 * self.rate / (math.pi * look) ** 2 if step > 0 and look > _looks(step - 1) else 0.0

    @property
    def end(self) -> float:
        """The level of the last look."""
        return self.rate / 2


def _looks(step: int) -> int:
    """Looks up to a step: at 1, 2, 3, 4, 6, 8, 12, 16, 23, ..."""
    return math.floor(2 * math.log2(step)) + 1 if step > 0 else 0


def unlike(value: float, reference: Tensor, best: Tensor | None = None) -> float:
    """P-value that a number, where higher is more real, is as low as this for one more of the prior samples.

    Arguments:
        value: of the winner.
        reference: of prior samples `(n,)`.
        best: indices of those of the highest rewards, if it is to be one more of these; an eighth at either end of
            them is trimmed, if there are at least eight.

    Returns:
        1 if there are too few numbers, or the value is missing.
    """
    every = reference[reference.isfinite()]
    kept = every if best is None else reference[best][reference[best].isfinite()].sort().values
    if len(kept) < 4 or math.isnan(value):
        return 1.0
    cut = len(kept) // 8 if best is not None else 0
    inner = kept[cut : len(kept) - cut]
    drawn_in = kept.clamp(inner.min(), inner.max())
    spread = max(float(drawn_in.std()) * len(kept) / len(inner), float(every.std()) / 4)
    if spread == 0:
        return 1.0
    t = (value - float(inner.mean())) / (spread * math.sqrt(1 + 1 / len(inner)))
    return float(stdtr(len(inner) - 1, t))


@dataclass
class StopWhen:
    """Subscriber that ends the run at the first event of which `when` is true.

        on=[Evidence(judge), StopWhen(alarmed)]

    Arguments:
        when: event to whether to stop; it is asked when all subscribers have seen the event.
        why: what the result says.

    Raises:
        InputError: if `when` cannot be called.
    """

    when: Callable[[Event], bool]
    why: str = ""
    _event: Event | None = field(default=None, init=False, repr=False)
    _ends: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.when):
            raise InputError(f"StopWhen has a {type(self.when).__name__}: give a function of an event, like alarmed.")

    def __call__(self, event: Event) -> None:
        self._event, self._ends = event if event.result is None else None, False

    def ends(self) -> str:
        """Why the run is to end, or nothing."""
        if self._event is not None:
            self._ends, self._event = bool(self.when(self._event)), None
        return (self.why or f"stopped: {getattr(self.when, '__name__', self.when)}") if self._ends else ""


def alarmed(event: Event) -> bool:
    """Whether the hacking alarm has rung."""
    return event.row.get("alarm", 0.0) > 0
