"""Items spread over a crew: who gets which, and what to do about silence, deaths and stragglers.

Items are named by hashable ids and handed out in jobs. Workers draw everything else themselves, so which worker gets
which item, and when, changes nothing but the time. An answer counts once, whoever gives it first.

- A worker that gives no answer for `timeout` seconds is given up and replaced. A worker that dies is replaced. The
  time that a worker takes to be built is not held against it, and nobody waits for it while others work.
- Which item was at fault is known where a server answers one by one; else the first ones of the job are tried alone.
  An item that was silent for `again` + 1 times, or at whose turn `deaths` workers died, has failed.
- While workers idle at the end, a job that takes `straggler` times as long as its like is handed out again, and the
  worker that is late is given up once the job is done without it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
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


@dataclass(eq=False)
class _Job:
    ids: list[Any]
    copy: int = 0  # of a job that was late: the first, or a copy of that
    raced: bool = False  # there is a copy
    began: float = 0.0
    heard: float = 0.0


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
        crew: all of whose workers are idle, or being started.
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
        self.idle = deque(worker for worker, about in enumerate(crew.about) if about is not None)
        self.busy: dict[int, _Job] = {}  # those that have been silent for longest first
        self.racing: dict[int, _Job] = {}  # of which there are two
        self.again: deque[list[Any]] = deque()  # items to hand out once more
        self.open: set[Any] = set()  # items handed out and not answered
        self.tries: Counter[Any] = Counter()
        self.deaths: Counter[Any] = Counter()
        self.paces: deque[float] = deque(maxlen=64)  # seconds an item of the jobs that ended last
        self.about: dict[str, Any] = next(filter(None, crew.about), {})
        self.failed: list[tuple[Any, Any]] = []
        self.error: WorkerError | None = None
        self.looked = -LATE  # when nobody was late
        self.dry = False

    def run(self) -> Iterator[tuple[int, list[tuple[Any, Any]]]]:
        try:
            seconds = 0.0  # at first, only to hear what has befallen workers since they were needed last
            while self.open or not self.dry:
                heard = self.crew.wait(seconds)
                now = self.clock()  # who spoke while the caller was busy has been heard by now: the rest are silent
                said = [(message.worker, new) for message in heard if (new := self._hear(message, now))]
                self._look(now)
                if self.failed:
                    said.append((-1, self.failed))
                    self.failed = []
                if self.error is None:
                    self._hand_out()
                yield from said  # workers go on while the caller takes what they said
                if self.error is not None:
                    raise self.error
                seconds = self._patience()
        finally:
            self._end()

    def _end(self) -> None:
        """Leave every worker idle: those that only have to say so are heard out, all others are given up."""
        while self.busy:
            for message in [] if self.open else self.crew.wait(LATE):
                if message.kind in (DONE, RAISED, LOST):
                    self.busy.pop(message.worker, None)
                elif message.kind == BROKEN:
                    self.crew.replace(message.worker)  # so that it is said again, to who needs the worker
            now = self.clock()
            for worker, job in list(self.busy.items()):
                if self.open or now - job.heard > (LATE if job.copy or job.raced else 1.0):
                    self._give_up(worker)

    def _hand_out(self) -> None:
        while self.idle and (job := self._again() or self._next() or self._late()) is not None:
            worker = self.idle.popleft()
            self.busy[worker] = job
            if job.copy:
                self.racing[worker] = job
            job.began = job.heard = self.clock()
            self.crew.send(worker, self.call(worker, job.ids))
        self.dry = self.dry or not self.source.left

    def _again(self) -> _Job | None:
        while self.again:
            ids = self._open(self.again.popleft())
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
        left, workers, pace = self.source.left, self.crew.size, self._pace()
        n = self.batch
        if pace:
            n = min(max(int(GRAIN / pace), 1), max(-(-left // (2 * workers)), 1))
            n = n if self._costly else max(n // self.batch, 1) * self.batch
        return max(min(n, -(-left // (workers - len(self.busy)))), 1)  # an even share for all who have none

    def _pace(self) -> float:
        """Seconds an item; 0 if nobody knows."""
        return median(self.paces) if self.paces else self.about.get("network", 0.0) + self.about.get("reward", 0.0)

    @property
    def _costly(self) -> bool:
        """Whether a reward takes longer than the network does for a whole batch."""
        return self.about.get("reward", 0.0) > self.batch * self.about.get("network", 0.0)

    def _due(self, n: int) -> int:
        """What n items cost, in items."""
        return n if self._costly else -(-n // self.batch) * self.batch

    def _late(self) -> _Job | None:
        """A copy of a job that takes far longer than its like."""
        now = self.clock()
        if self.rules.straggler is None or len(self.paces) < 3 or now - self.looked < LATE:
            return None
        most = self.rules.straggler * median(self.paces)
        for worker, job in self.busy.items():
            if job.raced or (job.copy and self.rules.timeout is not None) or now - job.heard < LATE:
                continue  # one copy will do, where the silent are given up
            late = now - job.began > max(most * self._due(len(job.ids)), LATE) * 2**job.copy
            if late and (rest := self._open(job.ids)):
                job.raced = True
                self.racing[worker] = job
                return _Job(rest, job.copy + 1)
        self.looked = now
        return None

    def _patience(self) -> float:
        """How long nothing has to be looked at."""
        return TICK if self.rules.timeout is None else min(TICK, max(self.rules.timeout / 4, 0.01))

    def _hear(self, message: Message, now: float) -> list[tuple[Any, Any]]:
        """What is new in a message."""
        worker, kind = message.worker, message.kind
        job = self.busy.get(worker)
        if job is not None:
            job.heard = now
            self.busy[worker] = self.busy.pop(worker)
        if kind == BROKEN:
            self.error = WorkerError(f"A worker could not be built: {message.value}")
        elif kind == RAISED:
            self.error = WorkerError(f"A worker failed: {message.value}")
        elif kind == READY:
            self.about = message.value or self.about
            self.idle.append(worker)
        elif kind == ANSWER and job is not None:
            new = [(i, answer) for i, answer in dict(message.value).items() if i in self.open]
            self.open.difference_update(i for i, _ in new)
            return new
        elif kind == DONE and job is not None:
            self.about = message.value or self.about
            self.paces.append((now - job.began) / self._due(len(job.ids)))
            del self.busy[worker]
            self.idle.append(worker)
            if rest := self._open(job.ids):
                self.error = WorkerError(f"A worker did not answer about {len(rest)} of {len(job.ids)} items.")
        elif kind == LOST and job is not None:
            del self.busy[worker]
            self._blame(self._open(job.ids), self.deaths, self.rules.deaths, message.value)
        elif kind == LOST and worker in self.idle:
            self.idle.remove(worker)
        return []

    def _look(self, now: float) -> None:
        """Give up workers that have been silent for too long, or are still at what another has answered."""
        for worker, job in list(self.racing.items()):
            if self.busy.get(worker) is not job:
                del self.racing[worker]
            elif now - job.heard > LATE and not self._open(job.ids):
                self._give_up(worker)
        while self.rules.timeout is not None and self.busy:
            worker, job = next(iter(self.busy.items()))
            if now - job.heard <= self.rules.timeout:
                return
            self._give_up(worker)
            self._silent(job)

    def _give_up(self, worker: int) -> None:
        del self.busy[worker]
        self.crew.replace(worker)

    def _silent(self, job: _Job) -> None:
        rest = self._open(job.ids)
        if job.copy or job.raced:  # what another worker is still at is left to that one
            others = set[Any]().union(*(j.ids for j in self.busy.values() if j.copy or j.raced))
            rest = [i for i in rest if i not in others]
        self._blame(rest, self.tries, self.rules.again + 1, f"no answer in {self.rules.timeout:g} seconds")

    def _blame(self, rest: list[Any], counts: Counter[Any], most: int, why: str) -> None:
        """One of the rest of a job is at fault: it fails at the last time; what is not known to be is tried apart."""
        if len(rest) > 1 and not self.about.get("singly"):  # the first batch one by one; the others were not begun
            self.again.extend([i] for i in rest[: self.batch])
            self.again.append(rest[self.batch :])
            return
        for first in rest[:1]:
            counts[first] += 1
            if counts[first] >= most:
                self.open.discard(first)
                self.failed.append((first, Failed(why, counts[first])))
        self.again += [rest[:1], rest[1:]]

    def _open(self, ids: Sequence[Any]) -> list[Any]:
        return [i for i in ids if i in self.open]
