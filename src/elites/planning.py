"""What a run will take, from one batch of prior samples, before anything else is spent.

The batch is drawn and scored once. What it took, times what the method says of its steps, under the budget, is the
plan. Evaluations are exact for methods whose steps all cost what the first does; time is an estimate.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from .answers import Streaming
from .probe import Probe
from .run import Final
from .stream import Stream
from .target import Target
from .templates import Finite
from .types import Budget, InputError, Meter, Method

__all__ = ["Plan", "plan"]

BACKWARD = 2.0  # times what its network evaluations take, a backward pass is taken for
FEW = 10  # steps


@dataclass(frozen=True)
class Plan:
    """What a run is expected to take.

    Attributes:
        steps: of the method; `None` for one that ends by itself.
        nfe, rewards, grads: expected in all, with the probe and the finalists, if nothing fails.
        seconds: expected wall time, for `workers` of them.
        network_seconds: of one network evaluation of one object, in a batch.
        reward_seconds: of one reward.
        reward_share: of the time that goes to rewards, where they do not work while the network does.
        memory: most bytes of main memory that the process has taken so far; NaN where the system does not say.
        gpu_memory: most bytes of the accelerator that the batch took; 0 without one.
        workers: processes that share the work.
        spent: what the plan itself has cost.
        ends: what ends the run.
        notes: what to look out for.
    """

    steps: int | None
    nfe: int
    rewards: int
    grads: int
    seconds: float
    network_seconds: float
    reward_seconds: float
    reward_share: float
    memory: float
    gpu_memory: int
    workers: int
    spent: Meter
    ends: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Speed:
    """What the batch took: seconds of a network batch for one object's walk, and of a reward."""

    target: Target
    walk: float  # of a whole batch through the walk
    each: Meter
    reward: float  # of one object
    workers: int

    def seconds(self, cost: Meter) -> tuple[float, float]:
        """Of (network, rewards), for one step of this cost."""
        per, size = max(self.each.nfe, 1), self.target.batch
        objects = cost.nfe * (1 + BACKWARD * (cost.grads > 0)) / per
        scored = cost.rewards / self.target.tries
        batches = math.ceil(objects / size - 1e-9)  # a batch that is not full takes as long as one that is
        network = self.walk * math.ceil(batches / self.workers)
        return network, self.reward * math.ceil(scored / self.workers)

    @property
    def aside(self) -> bool:
        """Whether rewards work while the network does."""
        return isinstance(self.target.reward, Streaming) and self.target.reward.width > 0

    def wall(self, cost: Meter) -> float:
        """Seconds of one step of this cost."""
        both = self.seconds(cost)
        return max(both) if self.aside else sum(both)


def plan(
    method: Method,
    target: Target,
    budget: Budget = Budget(),  # noqa: B008 (frozen)
    seed: int = 0,
    *,
    probe: Probe | None = Probe(),  # noqa: B008 (frozen)
    final: Final | None = None,
    workers: int = 1,
) -> Plan:
    """What `run` with the same arguments will take: one batch of prior samples is drawn and scored to find out.

    Arguments:
        method, target, budget, seed, probe, final: of the run.
        workers: processes that it will be spread over.

    Raises:
        InputError: before the first network call, if the budget has no limit and the method no end.
    """
    if workers < 1:
        raise InputError(f"There are {workers} workers: give at least one.")
    if budget.empty and not isinstance(method, Finite):
        raise InputError("The budget has no limit: give nfe, rewards, seconds or steps.")
    state = method.init(target, Stream(seed))
    step, each = method.cost(target, state), target.cost
    before = replace(target.meter)
    speed, failed, gpu = _measured(target, seed, workers)
    spent = target.meter - before

    size = probe.size(target, budget) if probe is not None else 0
    reserve = final.cost(target) if final else Meter()
    looked = Meter()
    if probe is not None and size and not budget.lacks(probe.cost(target, size), step + reserve, 0):
        looked = Meter(size * each.nfe, size * (each.rewards // target.tries) + size // 4, size * each.grads)
    begun = replace(looked, seconds=speed.wall(looked))
    steps: int | None
    if isinstance(method, Finite):
        work, steps, ends = method.whole(target, state), None, "the method has finished"
        took = speed.wall(work)
        if short := replace(budget, steps=None, seconds=None).lacks(begun, work + reserve, 0):
            work, took, ends = Meter(), 0.0, short
    else:
        at = replace(step, seconds=speed.wall(step))
        steps, ends = _steps(budget, begun, at, replace(reserve, seconds=speed.wall(reserve)), target.tries)
        work, took = _times(step, steps), steps * at.seconds
    nothing = (steps == 0) if steps is not None else work == Meter()
    after = Meter() if nothing else reserve
    total = looked + _expected(work, target) + _expected(after, target)
    seconds = begun.seconds + took + (speed.wall(reserve) if after.nfe else 0.0)
    network, scoring = speed.seconds(step)
    portion = scoring / (network + scoring) if network + scoring > 0 else math.nan
    memory = _memory()
    notes = list(_notes(steps, nothing, ends, portion, speed, memory, workers, failed))
    return Plan(
        steps,
        total.nfe,
        total.rewards,
        total.grads,
        seconds,
        speed.walk / (target.batch * max(each.nfe, 1)),
        speed.reward,
        portion,
        memory,
        gpu,
        workers,
        replace(spent, seconds=speed.walk + speed.reward * target.batch),
        ends,
        tuple(notes),
    )


def _measured(target: Target, seed: int, workers: int) -> tuple[_Speed, str, int]:
    """One batch drawn and scored: its speed, what is wrong with its rewards, and the memory of the accelerator."""
    stream, ids = Stream(seed), range(target.batch)
    pool, target.pool = target.pool, None  # this process measures, whoever works later
    try:
        with target.account.alone(), torch.no_grad():
            target.account.begin(0, None)
            z = target.prior.noise(stream, ids)
            where = target.prior.start(z[:1]).device
            if where.type == "cuda":
                torch.cuda.reset_peak_memory_stats(where)
            with _clock(where) as network:
                x = target.generate(z, stream, ids)
            with _clock(where) as scoring:
                rewards = target.score(x, stream, ids)
            peak = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else 0
    finally:
        target.pool = pool
    good = rewards[torch.isfinite(rewards)]
    failed = ""
    if len(good) < len(rewards):
        failed = f"{len(rewards) - len(good)} of {len(rewards)} rewards failed: {target.failures[-1].reason}."
    elif len(good) > 1 and bool((good == good[0]).all()):
        failed = f"The reward is {good[0]:g} on all {len(good)} prior samples: give it a slope."
    return _Speed(target, network[0], target.cost, scoring[0] / len(ids), workers), failed, peak


@contextmanager
def _clock(device: torch.device) -> Iterator[list[float]]:
    """Seconds of what is inside, waiting for the accelerator."""
    out = [0.0]
    began = time.perf_counter()
    yield out
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    out[0] = time.perf_counter() - began


def _steps(budget: Budget, begun: Meter, step: Meter, reserve: Meter, tries: int) -> tuple[int, str]:
    """How many steps fit, as the loop of a run counts, and why no more: the last one has to fit with all its tries."""
    most = [] if budget.steps is None else [budget.steps]
    likely = replace(step, rewards=step.rewards // tries)
    for name in ("nfe", "rewards", "seconds"):
        limit, each = getattr(budget, name), getattr(likely, name)
        if limit is not None and each > 0:
            left = limit - getattr(begun, name) - getattr(reserve, name) - getattr(step, name)
            most.append(int(left / each + 1e-9) + 1 if left >= 0 else 0)
    if not most:
        raise InputError("The steps cost nothing that the budget limits: give it steps, seconds or nfe.")
    n = min(most)
    return n, budget.lacks(begun + _times(likely, n), step + reserve, n) or "the budget is spent"


def _times(cost: Meter, n: int) -> Meter:
    return Meter(n * cost.nfe, n * cost.rewards, n * cost.grads, 0, n * cost.seconds)


def _expected(cost: Meter, target: Target) -> Meter:
    """Of the most, what it is if nothing fails."""
    return replace(cost, rewards=cost.rewards // target.tries)


def _memory() -> float:
    """Most bytes that this process has held."""
    try:
        import resource
    except ImportError:  # not on Windows
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _notes(
    steps: int | None,
    nothing: bool,
    ends: str,
    portion: float,
    speed: _Speed,
    memory: float,
    workers: int,
    failed: str,
) -> Iterator[str]:
    if nothing:
        yield f"The budget is smaller than one step: {ends}."
    elif steps is not None and steps < FEW:
        yield f"There are only {steps} steps, too few for most methods: raise the budget, or lower the population."
    if failed:
        yield failed
    if portion > 0.5:
        more = "" if speed.aside else ", or let it work while the network does"
        yield f"The reward takes {portion:.0%} of the work: cache it, give it more workers{more}."
    cores = os.cpu_count() or 1
    if workers > cores:
        yield f"{workers} workers share {cores} cores, so they are slower than planned."
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if workers * memory > 0.9 * whole:
        yield f"{workers} workers of {memory / 1e9:.1f} GB do not fit into {whole / 1e9:.1f} GB of memory."
