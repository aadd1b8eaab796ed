"""Items spread over a crew: who gets which, and what to do about silence, deaths and stragglers.

Items are named by hashable ids and handed out in jobs. Workers draw everything else themselves, so which worker gets
which item, and when, changes nothing but the time. An answer counts once, whoever gives it first.

- A worker that gives no answer for `timeout` seconds is given up and replaced. A worker that dies is replaced.
- Which item was at fault is known where a server answers one by one; else the first ones of the job are tried alone.
  An item that was silent for `again` + 1 times, or at whose turn `deaths` workers died, has failed.
- While workers idle at the end, a job that takes `straggler` times as long as its like is handed out again, and the
  worker that is late is given up once the job is done without it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from .crew import ANSWER, BROKEN, DONE, LOST, RAISED, READY, Crew, Message

__all__ = ["Failed", "Rules", "Source", "WorkerError", "spread"]

GRAIN = 0.1  # seconds that a job should take: far above what handing it out does
LATE = 0.05  # seconds under which nobody is late
TICK = 0.25  # seconds between two looks at the clock


class WorkerError(RuntimeError):
    """A worker could not be built, or raised something that is no failure of a reward."""


@dataclass(frozen=True)
class Rules:
    """When a worker is given up, and an item has failed."""

    timeout: float | None = None
    straggler: float | None = 10.0
    deaths: int = 2
    again: int = 0


@dataclass(frozen=True)
class Failed:
    """The answer about an item that no worker could answer, and how often it was tried."""

    reason: str
    tries: int


class Source(Protocol):
    """Items to hand out."""

    def take(self, n: int) -> Sequence[Any]:
        """The next ids, at most n; none if all are handed out."""

    @property
    def left(self) -> int:
        """How many there are at most."""


@dataclass
class _Job:
    ids: list[Any]
    began: float = 0.0
    heard: float = 0.0
    raced: bool = False  # another worker has the same items


def spread(
    crew: Crew,
    source: Source,
    call: Callable[[int, list[Any]], Any],
    rules: Rules,
    batch: int,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[int, list[tuple[Any, Any]]]]:
    """(Worker, [(id, answer), ...]) as answers come; `Failed` for what could not be answered, from worker -1.

    Arguments:
        crew: all of whose workers are idle.
        source: of the items.
        call: (worker, ids) to the call that is sent; answers to it are lists of (id, answer).
        rules: see the module.
        batch: items that a worker takes at a time at the same cost as one.
        clock: seconds.

    Raises:
        WorkerError: if a worker cannot be built, or raises.
    """
    yield from _Spread(crew, source, call, rules, batch, clock).run()


class _Spread:
    def __init__(
        self,
        crew: Crew,
        source: Source,
        call: Callable[[int, list[Any]], Any],
        rules: Rules,
        batch: int,
        clock: Callable[[], float],
    ) -> None:
        self.crew, self.source, self.call, self.rules, self.batch, self.clock = crew, source, call, rules, batch, clock
        self.idle = deque(range(crew.size))
        self.busy: dict[int, _Job] = {}
        self.again: deque[list[Any]] = deque()  # items to hand out once more
        self.open: set[Any] = set()  # items handed out and not answered
        self.tries: dict[Any, int] = {}
        self.deaths: dict[Any, int] = {}
        self.paces: deque[float] = deque(maxlen=64)  # seconds an item of the jobs that ended last
        self.about: dict[str, Any] = {}
        self.failed: list[tuple[Any, Any]] = []
        self.dry = False

    def run(self) -> Iterator[tuple[int, list[tuple[Any, Any]]]]:
        try:
            while True:
                self._hand_out()
                if not self.open and self.dry:
                    break
                for message in self.crew.wait(self._patience()):
                    answers = self._hear(message)
                    if answers:
                        yield message.worker, answers
                self._look()
                if self.failed:
                    failed, self.failed = self.failed, []
                    yield -1, failed
        finally:
            self._end()

    def _end(self) -> None:
        """Leave every worker idle: those that only have to say so are heard out, the late ones are given up."""
        while self.busy:
            for message in self.crew.wait(LATE):
                if message.kind in (DONE, RAISED, LOST):
                    self.busy.pop(message.worker, None)
            now = self.clock()
            for worker, job in list(self.busy.items()):
                if self.open or now - job.heard > (LATE if job.raced else 1.0):
                    self.crew.replace(worker)
                    del self.busy[worker]

    def _hand_out(self) -> None:
        while self.idle:
            job = self._again() or self._next() or self._late()
            if job is None:
                return
            worker = self.idle.popleft()
            self.busy[worker] = job
            job.began = job.heard = self.clock()
            self.crew.send(worker, self.call(worker, job.ids))
        if not self.dry and not self.source.left:
            self.dry = True

    def _again(self) -> _Job | None:
        while self.again:
            ids = [i for i in self.again.popleft() if i in self.open]
            if ids:
                return _Job(ids)
        return None

    def _next(self) -> _Job | None:
        ids = [] if self.dry else list(self.source.take(self._size()))
        self.dry = not ids
        self.open.update(ids)
        return _Job(ids) if ids else None

    def _size(self) -> int:
        """Items of the next job: about `GRAIN` seconds, whole batches unless rewards cost more, and some for all."""
        share = max(-(-self.source.left // (2 * self.crew.size)), 1)
        if not self.paces:
            return max(min(self.batch, -(-self.source.left // self.crew.size)), 1)
        costly = self.about.get("reward", 0.0) > self.batch * self.about.get("network", 0.0)
        n = min(max(int(GRAIN / max(median(self.paces), 1e-9)), 1), share)
        return n if costly else max(n // self.batch, 1) * self.batch

    def _late(self) -> _Job | None:
        """A job to race for, because it takes far longer than its like."""
        if self.rules.straggler is None or len(self.paces) < 3:
            return None
        now, pace = self.clock(), median(self.paces)
        for job in self.busy.values():
            rest = [] if job.raced else [i for i in job.ids if i in self.open]
            if rest and now - job.began > max(self.rules.straggler * pace * len(job.ids), LATE):
                job.raced = True
                return _Job(rest, raced=True)
        return None

    def _patience(self) -> float:
        """How long nothing has to be looked at."""
        return TICK if self.rules.timeout is None else min(TICK, max(self.rules.timeout / 4, 0.01))

    def _hear(self, message: Message) -> list[tuple[Any, Any]]:
        worker, kind = message.worker, message.kind
        job = self.busy.get(worker)
        if kind == BROKEN:
            raise WorkerError(f"A worker could not be built: {message.value}")
        if kind in (READY, DONE):
            self.about = message.value or self.about
        if job is None:
            return []
        job.heard = self.clock()
        if kind == READY:
            job.began = job.heard
        elif kind == ANSWER:
            new = [(i, answer) for i, answer in message.value if i in self.open]
            self.open.difference_update(i for i, _ in new)
            return new
        elif kind == DONE:
            self._free(worker)
            rest = [i for i in job.ids if i in self.open]
            if rest:
                raise WorkerError(f"A worker did not answer about {len(rest)} of {len(job.ids)} items.")
            if not job.raced:
                self.paces.append((job.heard - job.began) / len(job.ids))
        elif kind == RAISED:
            raise WorkerError(f"A worker failed: {message.value}")
        elif kind == LOST:
            self._free(worker)
            self._lost([i for i in job.ids if i in self.open], message.value)
        return []

    def _free(self, worker: int) -> None:
        del self.busy[worker]
        self.idle.append(worker)

    def _look(self) -> None:
        """Give up workers that have been silent for too long, or are still at what another has answered."""
        now = self.clock()
        for worker, job in list(self.busy.items()):
            late = job.raced and now - job.heard > LATE and not any(i in self.open for i in job.ids)
            silent = self.rules.timeout is not None and now - job.heard > self.rules.timeout
            if late or silent:
                self.crew.replace(worker)
                self._free(worker)
                self._silent([i for i in job.ids if i in self.open])

    def _silent(self, rest: list[Any]) -> None:
        if not self._at_fault(rest):
            self._apart(rest)
            return
        first = rest[0]
        self.tries[first] = self.tries.get(first, 0) + 1
        if self.tries[first] > self.rules.again:
            self._fail(first, f"no answer in {self.rules.timeout:g} seconds", self.tries[first])
        else:
            self.again.append([first])
        self.again.append(rest[1:])

    def _lost(self, rest: list[Any], why: str) -> None:
        if not self._at_fault(rest):
            self._apart(rest)
            return
        first = rest[0]
        self.deaths[first] = self.deaths.get(first, 0) + 1
        if self.deaths[first] >= self.rules.deaths:
            self._fail(first, why, self.deaths[first])
        self.again.append(rest)

    def _at_fault(self, rest: list[Any]) -> bool:
        """Whether the first of the rest is to blame."""
        return len(rest) == 1 or (bool(rest) and bool(self.about.get("singly")))

    def _apart(self, rest: list[Any]) -> None:
        """The first batch one by one, as one of it is at fault; the others were not begun."""
        self.again.extend([i] for i in rest[: self.batch])
        self.again.append(rest[self.batch :])

    def _fail(self, item: Any, why: str, tries: int) -> None:
        self.open.discard(item)
        self.failed.append((item, Failed(why, tries)))
