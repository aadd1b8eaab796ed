"""A function of one object, spread over workers."""

import os
import pickle
import signal
import threading
import time
from dataclasses import dataclass

import pytest
import torch
from elsewhere import gone
from helpers import PRIORS, assert_same, normal, on, on_humps

from elites import Budget, InputError, Processes, RandomSearch, Threads, per_sample, run
from elites.answers import Scored, Streaming, readings
from elites.rewards.workers import Spread

MAIN = os.getpid()


class TwoWords(Exception):
    """Cannot be sent: its copy would be made of one."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def odd(v):
    """What can go wrong, by the object."""
    if v == "exits":
        raise SystemExit(3)
    if v == "returns":
        return TwoWords("no", "number")
    if v == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if v == "hangs":
        time.sleep(60)
    if v == "terms":
        return Scored(torch.tensor(2.5), {"a": torch.tensor(1.0), "b": 3})
    if v == "pid":
        return os.getpid()
    if v == "stays":  # what it answers does not travel
        return threading.Lock()
    return 1 / v


def size(x):
    """Of what a tensor holds in memory here."""
    assert isinstance(x, torch.Tensor)
    return torch.tensor(x.untyped_storage().nbytes() + x.sum().item())


def mean(x):
    return x.mean()


def nested(v):
    """A worker that has workers."""
    with Processes(2) as pool:
        inner = Spread(odd, pool)
        try:
            pids, values = inner(["pid", "pid"]), inner([v, 0])
        finally:
            inner.close()
    assert os.getpid() not in pids
    assert isinstance(values[1], Exception)
    return values[0]


@pytest.fixture(scope="module")
def spread():
    """Two processes, which die and are replaced in the course of these tests."""
    reward = Spread(odd, Processes(2, timeout=1.5))
    yield reward
    reward.close()


def said(answers):
    """As a run reads it."""
    values, reasons, parts = readings(answers, len(answers))
    return [reasons.get(i, v) for i, v in enumerate(values.tolist())], parts


def test_answers_are_in_order_and_each_failure_is_that_of_its_object(spread):
    assert isinstance(spread, Streaming)
    assert (spread.width, repr(spread)) == (2, "Spread(odd)")
    objects = [1, 2, 0, "terms", "exits", "dies", "returns", "stays", 8, "hangs", -4]
    values, parts = said(spread(objects))
    assert values[7].startswith("WorkerError: A worker failed: TypeError: cannot pickle")
    assert values[:7] == [
        1.0,
        0.5,
        "ZeroDivisionError: division by zero",
        2.5,
        "SystemExit: 3",
        "the worker died with signal SIGKILL",
        "TwoWords: no number",
    ]
    assert values[8:] == [0.125, "no answer in 1.5 seconds", -0.25]
    assert {name: part[3] for name, part in parts.items()} == {"a": 1.0, "b": 3.0}
    assert dict(spread.each([4, 2, 0.5, 1])) == {0: 0.25, 1: 0.5, 2: 2.0, 3: 1.0}
    assert MAIN not in spread(["pid"] * 4)


def test_what_does_not_travel_fails_alone(spread):
    values, _ = said(spread([4.0, threading.Lock(), 2.0]))
    assert (values[0], values[2]) == (0.25, 0.5)
    assert "cannot be sent to a worker" in values[1]


def test_a_tensor_travels_without_the_rest_of_its_batch():
    reward = Spread(size, Processes(1))
    try:
        x = torch.arange(3.0 * 1000).reshape(3, 1000)
        assert [float(v) for v in reward(x)] == [4000 + float(row.sum()) for row in x]
        assert not x.is_shared()
        wide = torch.ones(2, 3, dtype=torch.bfloat16)
        assert [float(v) > 0 for v in reward(wide)] == [True, True]
    finally:
        reward.close()


def test_a_copy_has_its_own_workers(spread):
    assert MAIN not in spread(["pid"])  # what is held does not travel
    other = pickle.loads(pickle.dumps(spread))
    assert (repr(other), other.pool.timeout) == ("Spread(odd)", 1.5)
    try:
        assert not set(other(["pid"] * 4)) & set(spread(["pid"] * 4))
    finally:
        other.close()


def test_closing_ends_the_workers_and_they_start_anew():
    reward = Spread(odd, Processes(2))
    pids = set(reward(["pid"] * 4))
    reward.close()
    assert gone(pids)
    again = set(reward(["pid"] * 4))
    assert not pids & again
    del reward
    assert gone(again)


def test_closing_ends_those_that_wait():
    """What is under way and what has not begun fail, and nobody waits for a hung worker."""
    reward = Spread(odd, Processes(1))
    pid = reward(["pid"])
    answers = reward.each([1, "hangs", 2, 4])
    assert next(answers) == (0, 1.0)
    threading.Timer(0.3, reward.close).start()
    began = time.monotonic()
    values, _ = said([answer for _, answer in sorted(answers)])
    assert all(isinstance(v, str) for v in values)
    assert len(values) == 3
    assert gone(pid)
    assert time.monotonic() - began < 5


def test_who_leaves_early_ends_what_nobody_waits_for():
    reward = Spread(odd, Processes(1))
    pid = reward(["pid"])
    answers = reward.each([1, "hangs", 2, 4])
    assert next(answers) == (0, 1.0)
    time.sleep(0.2)  # until it hangs
    answers.close()
    began = time.monotonic()
    assert reward([2]) == [0.5]  # by the worker that has replaced it
    assert time.monotonic() - began < 5
    assert gone(pid)
    reward.close()


@dataclass(frozen=True, eq=False)
class Watched:
    """A prior that says when its network is called."""

    prior: object
    tell: object

    def __getattr__(self, name):
        return getattr(self.prior, name)

    def denoise(self, x, t, z=None):
        self.tell()
        return self.prior.denoise(x, t, z)


def test_objects_are_scored_at_a_time_and_the_network_works_meanwhile():
    calls, together, again = [], threading.Barrier(3), threading.Event()

    def network():
        calls.append(1)
        if len(calls) > 4:  # levels of the first batch
            again.set()

    def waits(x):
        together.wait(10)  # for two others
        assert again.wait(10)
        return x.mean()

    reward = Spread(waits, Threads(3))
    target = on(Watched(PRIORS["mixture"], network), reward=reward, batch=15)
    run(RandomSearch(30), target, Budget(steps=1), probe=None)
    reward.close()
    assert (target.failures, target.meter.rewards) == ([], 30)


@pytest.mark.parametrize("pool", [Threads(3), Processes(2)])
def test_a_run_is_the_same_to_the_bit_with_any_workers(pool):
    reward = Spread(mean, pool)
    runs = [
        run(RandomSearch(24), on_humps(reward=r), Budget(steps=2), probe=None, seed=3)
        for r in (per_sample(mean), reward)
    ]
    reward.close()
    assert_same(*runs)


def test_workers_may_have_workers():
    reward = Spread(nested, Processes(1))
    try:
        assert reward([4.0]) == [0.25]
    finally:
        reward.close()


def test_what_cannot_be_spread_is_refused():
    async def later(v):
        return v

    with pytest.raises(InputError, match="give a callable on one object"):
        Spread(3, Threads(1))
    with pytest.raises(InputError, match=r"later is an async function: use concurrent\(\)"):
        Spread(later, Threads(1))
    with pytest.raises(InputError, match="leave out build="):
        Spread(mean, Threads(1, build=normal))
    local = Spread(lambda v: v, Processes(1))
    ((reason,), _) = said(local([1.0]))
    assert "at the top of a module" in reason
    local.close()
