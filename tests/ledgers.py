"""What the tests of the ledger share: rewards with accidents, runs that end by them, and what was written."""

import contextlib
import os
import signal
from collections import Counter

import pytest
import torch
from helpers import assert_same, hill, on_humps

import elites as el
from elites.answers import digest
from elites.ledger import KEY, read
from elites.rewards import per_sample

METHOD = el.Elites(8)
BUDGET = el.Budget(steps=4)
NEVER = 10**9


class Named:
    """A reward with the same name in every run."""

    def __init__(self, f):
        self.f = f

    def __call__(self, x):
        return self.f(x)


class Reward:
    """`hill`, no number on some objects, and an accident at one of its calls; it counts what it has answered."""

    def __init__(self, at=NEVER, accident=None, each=False):
        self.at, self.accident = at, accident
        self.calls, self.answered = 0, Counter()
        self.reward = per_sample(self.one) if each else Named(self.batch)

    def batch(self, x):
        self.calls += 1
        if self.calls == self.at:
            self.accident()
        self.answered.update(digest(v) for v in x.detach())
        return torch.where(x[:, 1] > 1, torch.nan, hill(x))

    def one(self, x):
        return self.batch(x[None])[0]


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def target(reward=None, make=on_humps, **changes):
    """A target whose reward sees its objects in threes."""
    return make(reward=reward or Reward().reward, **{"batch": 4, "decode_batch": 3, "steps": 3, **changes})


def stopped(folder, method, t, budget=BUDGET, seconds=0.0, **options):
    """A run that ends by a Ctrl-C."""
    with pytest.raises(KeyboardInterrupt):
        el.run(method, t, budget, 7, on=[el.Checkpoint(folder, seconds=seconds)], **options)


def in_a_child(work):
    """Do it in a process of its own, and say how that ended."""
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def killed(folder, reward, budget=BUDGET, seconds=1.0):
    """A run in a process of its own, which kills itself."""
    checkpoint = lambda: el.Checkpoint(folder, seconds=seconds)
    assert in_a_child(lambda: el.run(METHOD, target(reward), budget, 7, on=[checkpoint()])) == signal.SIGKILL


def written(folder, state=None):
    """The rows of the ledger."""
    return list(read(folder / "ledger.sqlite", state))


def held(folder):
    """How often the ledger has an answer about each object."""
    return Counter(bytes.fromhex(row["digest"]) for row in written(folder) if row["state"] != "pending")


def key_of(row):
    return tuple(row[name] for name in KEY)


def contents(folder):
    """The ledger as it is, with its log; a reader may leave an empty log and its index beside it."""
    files = {p.name: p.read_bytes() for p in folder.glob("ledger*") if not p.name.endswith("-shm")}
    return {name: data for name, data in files.items() if data}


def goes_on(folder, budget=BUDGET, each=True):
    """The run goes on to the bits of an undisturbed one, and asks for nothing that is written."""
    clean, rest, known = Reward(each=each), Reward(each=each), held(folder)
    want = el.run(METHOD, target(clean.reward), budget, 7)
    got = el.resume(folder, METHOD, target(rest.reward))
    for result in (got, want):  # where some are known, others may come after them
        result.failures.sort(key=lambda f: (f.step, f.candidate))
    assert_same(got, want)
    assert rest.answered == clean.answered - known
    assert held(folder) == clean.answered
