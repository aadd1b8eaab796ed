"""The only loop.

`iterate` yields an event per step; `run` exhausts it, keeps the best, tells the subscribers, and renders the
finalists. Progress bars, folders, reports and diagnostics are subscribers: callables that take an event.
"""

from __future__ import annotations

import platform
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from .account import described
from .between import asked, between, inherit
from .probe import Probe, check_slope
from .stream import Id, Stream
from .target import Target
from .templates import KEEP, Finite, Walk
from .types import Budget, Event, Failure, Info, InputError, Meter, Method, Result, Samples, Setup, ranked

__all__ = ["Final", "Start", "iterate", "run", "versions"]

Subscriber = Callable[[Event], None]


@runtime_checkable
class Around(Protocol):
    """A subscriber with something to hold while a run goes on, such as a ledger."""

    def around(self, setup: Setup) -> AbstractContextManager[None]:
        """Entered before the first network call, left whatever happens."""


@dataclass(frozen=True)
class Final:
    """Decode the `top` best noises again with another walk, usually one of more steps, and score them.

    Searching at 5 to 10 steps and rendering the finalists at full steps beats searching at full steps for the same
    evaluations; the cost of the finalists is set aside from the budget.
    """

    walk: Walk
    top: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.top <= KEEP:
            raise InputError(f"Final(top={self.top}): a run keeps its {KEEP} best, so give 1 to {KEEP}.")

    def cost(self, target: Target) -> Meter:
        """The most that it can spend."""
        each = target.with_walk(self.walk).cost
        return Meter(nfe=self.top * each.nfe, rewards=self.top * each.rewards)

    def event(self, last: Event) -> Event:
        """The event after `last` whose best are the finalists, scored anew, best first."""
        target, few = last.setup.target, last.best[: self.top] if last.best is not None else None
        if few is None or few.z is None:
            raise InputError("These samples have no noise to start from: leave out final=.")
        began, before, told = time.monotonic(), replace(target.meter), len(target.failures)
        keys: list[Id] = [(int(step), int(candidate)) for step, candidate in few.keys]
        # keys of their own for each walk: what a ledger holds of finalists of another is about other objects
        walk = zlib.crc32(described(self.walk).encode()) << 24
        target.account.begin(-1 - last.step - walk, self.top)
        found = target.with_walk(self.walk).evaluate(few.z, Stream(last.setup.seed), keys)
        target.account.begin(0, None)
        best, failures = found.top(self.top), _sorted(target.failures[told:])
        best = best if len(best) else few  # every finalist failed: what the search decoded stands
        meter = last.meter + (target.meter - before) + Meter(seconds=time.monotonic() - began)
        row = _row(last.step, Info(), best, meter, failures)
        row["preview"] = float(few.reward[0])
        row["final"] = row.pop("best", float("nan"))
        return replace(last, info=Info(samples=best), meter=meter, best=best, row=row, failures=failures)


@dataclass
class Start:
    """Where a run begins: at nothing, or where a saved one stood."""

    state: Any = None
    step: int = 0
    spent: Meter = field(default_factory=Meter)
    best: Samples | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def iterate(
    method: Method,
    target: Target,
    budget: Budget = Budget(),  # noqa: B008 (frozen)
    seed: int = 0,
    *,
    probe: Probe | None = Probe(),  # noqa: B008 (frozen)
    reserve: Meter = Meter(),  # noqa: B008 (never changed)
    start: Start | None = None,
) -> Generator[Event, float | None, str]:
    """One event for the probe and one for each step; the value of the generator says why it ended.

    Sent a number, it does not charge so many seconds: those that the caller let it wait.

    Arguments:
        method, target, budget, seed: the run.
        probe: the look at the reward before the first step; `None` for none.
        reserve: cost to leave unspent.
        start: where to go on.

    Raises:
        InputError: before the first network call, if the budget has no limit or does not pay for one step.
        RewardError: if the probe finds nothing to select.
    """
    setup, root = Setup(method, target, budget, seed), Stream(seed)
    begin = start or Start()
    state = method.init(target, root) if begin.state is None else begin.state
    step, best = begin.step, begin.best
    if budget.empty and not isinstance(method, Finite):
        raise InputError("The budget has no limit: give nfe, rewards, seconds or steps.")
    short = budget.lacks(Meter(), method.cost(target, state) + reserve, 0)
    if short and step == 0:
        raise InputError(f"The budget is smaller than one step: {short}.")
    if isinstance(method, Finite) and step == 0:
        short = replace(budget, steps=None, seconds=None).lacks(Meter(), method.whole(target, state) + reserve, 0)
        if short:
            raise InputError(f"The budget does not pay for a whole {type(method).__name__}: {short}.")

    began, offset, told = time.monotonic(), replace(target.meter), len(target.failures)
    longest, waited = begin.spent.seconds / max(begin.step, 1), 0.0

    def spent() -> Meter:
        now = begin.spent + (target.meter - offset)
        return replace(now, seconds=begin.spent.seconds + time.monotonic() - began - waited)

    def event(info: Info) -> Event:
        nonlocal best, told
        failures, told = _sorted(target.failures[told:]), len(target.failures)
        if info.samples is not None:
            best = (info.samples if best is None else Samples.cat([best, info.samples])).top(KEEP)
        info.scalars |= target.account.terms()
        meter = spent()
        return Event(setup, step, state, info, meter, best, _row(step, info, best, meter, failures), failures)

    target.account.begin(begin.step, None)  # what an interrupted run has counted is not held against this one
    looked = True
    if step == 0 and not begin.history and probe is not None:  # a saved run has its probe behind it
        size = probe.size(target, budget)
        looked = size > 0 and not budget.lacks(probe.cost(target, size), method.cost(target, state) + reserve, 0)
        if looked:
            target.account.begin(0, None)
            with torch.no_grad():
                info = probe.look(target, root, size, budget.seconds)
            waited += (yield event(info)) or 0.0
            # what a step should take: objects as slow as those of the probe
            longest = spent().seconds / max(len(info.rewards), 1) * method.cost(target, state).rewards  # type: ignore[arg-type]
    while not method.done(state):
        ahead, now = method.cost(target, state) + reserve, spent()
        seconds = longest + reserve.nfe * now.seconds / max(now.nfe, 1)
        if short := budget.lacks(now, replace(ahead, seconds=seconds), step):
            target.account.begin(0, None)
            return f"budget: {short}"
        step, clock = step + 1, time.monotonic()
        target.account.begin(step, method.cost(target, state).rewards // target.tries)
        with torch.no_grad():
            state, info = method.step(target, state, root.at(step=step))
        longest = time.monotonic() - clock if step == 1 else max(longest, time.monotonic() - clock)
        if not looked and info.rewards is not None:
            check_slope(info.rewards)
            looked = True
        waited += (yield event(info)) or 0.0
    target.account.begin(0, None)
    return "done: the method has finished"


def run(
    method: Method,
    target: Target,
    budget: Budget = Budget(),  # noqa: B008 (frozen)
    seed: int = 0,
    *,
    on: Sequence[Subscriber] = (),
    probe: Probe | None = Probe(),  # noqa: B008 (frozen)
    final: Final | None = None,
    stop: Callable[[], bool] | None = None,
    start: Start | None = None,
) -> Result:
    """Run a method on a target until the budget is spent, and return the best samples ever scored.

    Arguments:
        method, target, budget, seed: what to do; the same four give the same result, bit for bit, on one machine.
        on: subscribers, called in order with each event; dropping them changes nothing.
        probe: the look at the reward before the first step; `None` for none.
        final: how to render the finalists; `None` to return what the search itself decoded.
        stop: asked after each event, and while a subscriber lets the run wait; `True` ends the run at that step.
        start: where to go on, from `store.load`.

    Raises:
        InputError: before the first network call, if what was asked for cannot be done.
        RewardError: if the probe finds nothing to select, or a reward fails under `Raise()`.
    """
    setup = Setup(method, target, budget, seed)
    with ExitStack() as stack:
        stack.enter_context(target.account.alone())
        for subscriber in on:
            if isinstance(subscriber, Around):
                stack.enter_context(subscriber.around(setup))
        return _run(setup, on, probe, final, stop, start or Start())


def _run(
    setup: Setup,
    on: Sequence[Subscriber],
    probe: Probe | None,
    final: Final | None,
    stop: Callable[[], bool] | None,
    begin: Start,
) -> Result:
    method, target, budget, seed = setup.method, setup.target, setup.budget, setup.seed
    history, failures = list(begin.history), list(begin.failures)
    event = Event(setup, begin.step, begin.state, Info(), begin.spent, begin.best, {}, [])

    def tell(now: Event) -> None:
        if now.row:
            history.append(now.row)
        failures.extend(now.failures)
        for subscriber in on:
            subscriber(now)

    inherit(on, begin)
    enders, pausers = asked(on)
    reserve = final.cost(target) if final else Meter()
    loop = iterate(method, target, budget, seed, probe=probe, reserve=reserve, start=begin)
    stopped, waited = "", None
    while not stopped:
        try:
            event = loop.send(waited)
        except StopIteration as end:
            stopped = end.value
            break
        tell(event)
        stopped, waited = between(enders, pausers, stop)
    best = event.best
    fits = final and not replace(budget, steps=None).lacks(event.meter, final.cost(target), 0)
    if final and fits and best is not None and len(best) and stopped != "interrupted":
        event = final.event(event)
        tell(event)
        best = event.best
    if best is None:
        best = Samples(torch.zeros(0, *target.prior.shape), torch.zeros(0), torch.zeros(0, 2, dtype=torch.int64))
    result = Result(best[:1], best, history, event.meter, failures, stopped, seed, versions(), event.state)
    tell(replace(event, info=Info(), row={}, failures=[], result=result))
    return result


def versions() -> dict[str, str]:
    """Versions of what decides the bits of a result."""
    from . import __version__  # set before anything is imported

    return {
        "elites": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
    }


def _sorted(failures: list[Failure]) -> list[Failure]:
    """In the order of their keys, whichever answer came first."""
    return sorted(failures, key=lambda f: (f.step, f.candidate))


def _spent(meter: Meter) -> dict[str, float]:
    return {"nfe": meter.nfe, "rewards": meter.rewards, "grads": meter.grads, "seconds": meter.seconds}


def _row(step: int, info: Info, best: Samples | None, meter: Meter, failures: list[Failure]) -> dict[str, float]:
    """The history row of a step."""
    row: dict[str, float] = {"step": step, "failures": len(failures)} | _spent(meter)
    if info.rewards is not None:
        good = info.rewards[ranked(info.rewards)]
        row["count"] = len(info.rewards)
        if len(good):
            row |= {"max": float(good[0]), "mean": float(good.double().mean())}
            points = torch.quantile(good, torch.tensor([0.1, 0.5, 0.9], dtype=good.dtype)).tolist()
            row |= dict(zip(("q10", "median", "q90"), points, strict=True))
    if best is not None and len(best):
        row["best"] = float(best.reward[0])
        if best.z is not None:
            row["shell"] = float(best.z[0].double().square().mean())  # |z|^2 / d: 1 is typical of the prior
    return row | {name: float(value) for name, value in info.scalars.items()}
