"""A crew whose workers, clock and faults are simulated: hours of a cluster in milliseconds, the same for every run."""

import heapq
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from elites.parallel.crew import ANSWER, DONE, LOST, RAISED, READY, Message


def always(seconds):
    """A latency that is always the same."""
    return lambda rng: seconds


def lognormal(middle, spread=0.5):
    """A latency in seconds that is log-normal around `middle`."""
    return lambda rng: middle * float(np.exp(spread * rng.standard_normal()))


def both(item, worker):
    """An answer that says who gave it."""
    return item, worker


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        hang, kill: items at which a worker is silent for ever, and at which it dies.
        once: items at which the first worker hangs, and no other.
        slow: items that take a hundred times as long at the first worker that is given them.
        loss, stall: chance that a worker dies, or is silent for ever, at any item.
        lag: chance that a worker takes a hundred times as long over an item.
        raises: items at which the server raises.
    """

    hang: set = field(default_factory=set)
    kill: set = field(default_factory=set)
    once: set = field(default_factory=set)
    slow: set = field(default_factory=set)
    loss: float = 0.0
    stall: float = 0.0
    lag: float = 0.0
    raises: set = field(default_factory=set)


class SimulatedCrew:
    """Workers that answer calls `(worker, ids)` with `(id, (id, worker))`, batch by batch or one by one.

    Arguments:
        size: workers.
        latency: generator to the seconds of an item, or of a batch of a server that answers by batch.
        faults: what goes wrong.
        batch: items of a batch.
        singly: whether the server answers one by one.
        build: seconds until a worker is ready.
        warm: whether all are ready in the beginning.
        about: what the servers say of themselves besides.
        seed: of latencies and faults.
        answer: (item, worker) to the answer.
    """

    def __init__(
        self,
        size,
        latency,
        faults=None,
        *,
        batch=1,
        singly=True,
        build=1.0,
        warm=True,
        about=None,
        seed=0,
        answer=both,
    ):
        self.size, self.latency, self.faults = size, latency, faults or Faults()
        self.batch, self.singly, self.build = batch, singly, build
        self.says = {"singly": singly} | (about or {})
        self.answer = answer
        self.rng = np.random.Generator(np.random.Philox(seed))
        self.now = 0.0
        self.lives = [1] * size
        self.about = [self.says if warm else None] * size
        self.working = [False] * size
        self.events = []  # (time, number, worker, life, kind, value, whether the worker idles after it)
        self.numbers = itertools.count()
        self.begun = Counter()  # how often each item was begun
        self.replaced = 0
        self.quiet = 0  # how often it was waited for when nothing more would come
        self.calls = Counter()  # of each worker
        self.items = Counter()  # of each worker, in its calls
        self.sizes = defaultdict(list)  # of the jobs of each worker
        if not warm:
            for worker in range(size):
                self._say(self.build, worker, READY, self.says)

    def clock(self):
        return self.now

    def _say(self, after, worker, kind, value=None, idle=False):
        event = (self.now + after, next(self.numbers), worker, self.lives[worker], kind, value, idle)
        heapq.heappush(self.events, event)

    def send(self, worker, call):
        assert self.about[worker] is not None, "a call for a worker that is not ready"
        assert not self.working[worker], "a call for a worker that is at another"
        number, ids = call
        assert number == worker
        assert len(set(ids)) == len(ids) > 0
        self.working[worker] = True
        self.calls[worker] += 1
        self.items[worker] += len(ids)
        self.sizes[worker].append(len(ids))
        at, f = 0.0, self.faults
        step = 1 if self.singly else self.batch
        for k in range(0, len(ids), step):
            few = ids[k : k + step]
            first = [i for i in few if not self.begun[i]]
            self.begun.update(few)
            luck = self.rng.random(3)
            seconds = self.latency(self.rng)
            if luck[2] < f.lag or f.slow.intersection(first):
                seconds *= 100
            at += seconds
            if f.raises.intersection(few):
                return self._say(at, worker, RAISED, "ValueError: what servers raise", True)
            if f.kill.intersection(few) or luck[0] < f.loss:
                return self._say(at, worker, LOST, "the worker died with signal SIGSEGV")
            if f.hang.intersection(few) or f.once.intersection(first) or luck[1] < f.stall:
                return None
            self._say(at, worker, ANSWER, [(i, self.answer(i, worker)) for i in few])
        return self._say(at, worker, DONE, self.says, True)

    def wait(self, seconds):
        out, end = [], self.now + seconds
        self.quiet = self.quiet + 1 if not self.events else 0
        assert self.quiet < 100_000, "everybody waits for ever"
        while self.events and self.events[0][0] <= (self.now if out else end):
            at, _, worker, life, kind, value, idle = heapq.heappop(self.events)
            if life != self.lives[worker]:
                continue
            self.now = max(self.now, at)
            if kind == LOST:
                self.replace(worker)
            if kind == READY:
                self.about[worker] = value
            if idle:
                self.working[worker] = False
            out.append(Message(worker, kind, value))
        if not out:
            self.now = end
        return out

    def replace(self, worker):
        self.replaced += 1
        self.lives[worker] += 1
        self.about[worker], self.working[worker] = None, False
        self._say(self.build, worker, READY, self.says)

    def close(self):
        self.events = []


@dataclass
class Items:
    """The source of 0 to n - 1."""

    n: int
    at: int = 0

    @property
    def left(self):
        return self.n - self.at

    def take(self, n):
        began, self.at = self.at, min(self.at + n, self.n)
        return range(began, self.at)
