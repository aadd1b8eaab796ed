"""What workers build in the tests: targets on exact priors, and rewards that go wrong over some of their objects."""

import ctypes
import os
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from helpers import PRIORS, assert_same, hill, on

from elites import DPS, Target, Worst
from elites.parallel import worker_number
from elites.rewards import per_sample

BAD = 3.2  # rewards go wrong where the first coordinate is larger


def same(got, want):
    """Equal to the bit but for clocks, and for the order in which failures were met."""
    assert Counter(got.failures) == Counter(want.failures)
    assert_same(replace(got, failures=[]), replace(want, failures=[]))


def pooled(target, pool):
    target.pool = pool
    return target


def letters(words):
    """Lengths of words."""
    return [float(len(w)) for w in words]


def on_prior(name, *, batch=8, reward=None):
    return on(PRIORS[name], reward=reward or (letters if name == "one step" else hill), batch=batch)


def forever():
    time.sleep(1e6)


def leave():
    os._exit(3)


def crash():
    ctypes.string_at(0)


def raises():
    raise ValueError("no dock")


def flood():
    print("x" * 1_000_000, flush=True)


class Unsendable:
    """Neither a number nor to be pickled."""

    def __reduce__(self):
        raise TypeError("stay here")


FAULTS = {
    "forever": forever,
    "leave": leave,
    "crash": crash,
    "raises": raises,
    "nan": lambda: torch.nan,
    "unsendable": Unsendable,
}


def one(fault, x):
    return FAULTS[fault]() if x[0] > BAD and fault in FAULTS else float(hill(x[None])[0])


def all_at_once(fault, x):
    bad = x[:, 0] > BAD
    if fault == "nan":
        return torch.where(bad, torch.nan, hill(x))
    if bad.any() and fault in FAULTS:
        FAULTS[fault]()
    return hill(x)


def faulty(fault, *, singly=True, batch=8, **changes):
    """A target whose reward goes wrong over some objects."""
    reward = per_sample(partial(one, fault)) if singly else partial(all_at_once, fault)
    return on(PRIORS["mixture"], reward=reward, batch=batch, **changes)


def once(folder, fault, x):
    """Goes wrong over an object the first time that it is scored."""
    mark = Path(folder) / f"{float(x[0]):.6f}"
    if x[0] > BAD and not mark.exists():
        mark.touch()
        return FAULTS[fault]()
    return float(hill(x[None])[0])


def faulty_once(folder, fault, **changes):
    return on(PRIORS["mixture"], reward=per_sample(partial(once, folder, fault)), batch=8, **changes)


def slow(x, seconds=0.01):
    time.sleep(seconds * len(x))
    return hill(x)


def loud(x):
    flood()
    return hill(x)


def slow_target(seconds=0.01):
    return on(PRIORS["mixture"], reward=partial(slow, seconds=seconds), batch=4)


def loud_target():
    return on(PRIORS["mixture"], reward=loud)


def numbered():
    """A target whose reward is the number of the worker, and a half or a quarter."""
    mine = worker_number()
    return on(PRIORS["mixture"], reward=lambda x: mine * torch.ones(len(x)) + 0.25 * (1 + mine))


def broken():
    raise ImportError("no dock here")


def dies():
    os._exit(7)


def holed(x):
    """A number for most objects."""
    return torch.where(x[:, 1] > 0.5, torch.nan, hill(x))


def guided():
    """A walk that asks for rewards on its way, of which some fail."""
    return Target(PRIORS["mixture"], holed, walk=DPS(steps=4), on_error=Worst(limit=1))
