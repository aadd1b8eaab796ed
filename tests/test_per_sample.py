"""Rewards made of functions of one object, plain and async."""

import asyncio
import pickle
import subprocess
import sys
import threading
import time

import pytest
import torch
from helpers import normal, on_humps

from elites import InputError, Stream, per_sample
from elites.answers import Streaming, gather
from elites.rewards.waiting import awaited, concurrent

NAMED = """
from elites.rewards.basic import per_sample
from elites.rewards.combine import AtLeast, Constrained, Weighted
from elites.rewards.noisy import Ensemble, Repeated
from elites.rewards.scales import Rank, Raw, Standard
from elites.rewards.waiting import concurrent

@per_sample
def double(v):
    return 2 * v

@concurrent(limit=3, timeout=7)
async def triple(v):
    return 3 * v

def half(v):
    return v / 2

async def third(v):
    return v / 3

class Inside:
    @per_sample
    def same(v):
        return v

renamed, waited = per_sample(half), concurrent(limit=5)(third)
summed = Weighted({"double": (double, 1.0, Raw()), "half": (renamed, -2.0, Standard(1.0, 2.0))})
bound = Constrained(renamed, {"double": AtLeast(double, 3.0)}, floor=0.0)
repeated = Repeated(triple, 2)
both = Ensemble({"double": (double, Rank((0.0, 1.0))), "half": (renamed, Rank((0.0, 3.0)))})
EVERY = dict(double=double, triple=triple, renamed=renamed, waited=waited, same=Inside.same)
EVERY.update(summed=summed, bound=bound, repeated=repeated, both=both)
"""


class Odd:
    """Has no name of its own."""

    def __call__(self, v):
        return v + 1


def test_answers_are_given_one_at_a_time_and_all_together():
    seen = []

    @per_sample
    def inverse(v):
        """One over."""
        seen.append(v)
        if v == 5:
            sys.exit("five")
        return 1 / v

    assert isinstance(inverse, Streaming)
    assert inverse.width == 0
    answers = inverse.each([2, 0, 5, 4])
    assert seen == []
    assert next(answers) == (0, 0.5)
    assert seen == [2]
    rest = list(answers)
    assert [i for i, _ in rest] == [1, 2, 3]
    assert isinstance(rest[0][1], ZeroDivisionError)
    assert (type(rest[1][1]), str(rest[1][1])) == (SystemExit, "five")
    assert rest[2][1] == 0.25
    assert [repr(a) for a in inverse([2, 0, 5, 4])] == [repr(a) for a in gather(inverse.each([2, 0, 5, 4]), 4)]


def test_a_reward_looks_like_its_function():
    def size(v: int) -> int:
        """Bytes."""
        return v

    size.unit = "B"
    for reward, f in ((per_sample(size), size), (concurrent()(wait), wait)):
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            assert getattr(reward, name) == getattr(f, name)
        assert reward.__wrapped__ is f
        with pytest.raises(AttributeError):
            reward.f = None  # frozen
    assert per_sample(size).unit == "B"
    assert repr(per_sample(size)).startswith("per_sample(test_a_reward_looks_like_its_function.<locals>.size")
    assert repr(concurrent(limit=2)(wait)) == "concurrent(wait)"
    odd = per_sample(Odd())
    assert odd([1, 2]) == [2, 3]
    assert repr(odd).startswith("per_sample(<test_per_sample.Odd object")


async def wait(v):
    await asyncio.sleep(0)
    return v


def test_rewards_travel_to_another_process(tmp_path, monkeypatch):
    (tmp_path / "named_rewards.py").write_text(NAMED)
    code = "import named_rewards as n, pickle, sys; sys.stdout.buffer.write(pickle.dumps(n.EVERY))"
    sent = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, check=True).stdout
    monkeypatch.syspath_prepend(tmp_path)
    got = pickle.loads(sent)
    import named_rewards as here

    assert got["double"] is here.double  # the name in the module is that of the reward
    assert got["triple"] is here.triple
    assert got["same"] is here.Inside.same
    assert got["renamed"] is not here.renamed
    assert got["renamed"].f is here.half
    assert (got["waited"].f, got["waited"].limit) == (here.third, 5)
    assert {name: repr(reward) for name, reward in got.items()} == {k: repr(v) for k, v in here.EVERY.items()}
    for name, reward in got.items():
        ours, theirs = here.EVERY[name]([1.0, 4.0]), reward([1.0, 4.0])
        assert repr(ours) == repr(theirs), name
    assert here.double([1.0, 4.0]) == [2.0, 8.0]
    assert here.triple([1.0, 4.0]) == [3.0, 12.0]
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(per_sample(lambda v: v))


def test_an_async_function_is_for_concurrent_and_no_other():
    with pytest.raises(InputError, match=r"wait is an async function: use concurrent\(\)"):
        per_sample(wait)
    with pytest.raises(InputError, match="len is not async"):
        concurrent()(len)
    for wrong in ({"limit": 0}, {"timeout": 0.0}, {"timeout": float("nan")}):
        with pytest.raises(InputError, match="give positive numbers"):
            concurrent(**wrong)(wait)


def test_async_answers_come_as_they_are_ready():
    first = threading.Event()

    @concurrent(limit=2)
    async def f(v):
        while v == 0 and not first.is_set():
            await asyncio.sleep(0.001)
        return 10 * v

    assert isinstance(f, Streaming)
    assert f.width == 2
    answers = f.each([0, 1, 2])  # object 0 keeps one of two places until the others are answered
    assert [next(answers), next(answers)] == [(1, 10), (2, 20)]
    first.set()
    assert list(answers) == [(0, 0)]
    assert f([3, 0, 4]) == [30, 0, 40]
    assert f([]) == []


def test_no_more_calls_than_the_limit_over_all_threads():
    now, most = 0, []

    @concurrent(limit=3)
    async def f(v):
        nonlocal now
        now += 1
        most.append(now)
        await asyncio.sleep(0.002)
        now -= 1
        return v

    got = {}
    threads = [threading.Thread(target=lambda k=k: got.update({k: f(range(k, k + 8))})) for k in (0, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {0: list(range(8)), 10: list(range(10, 18))}
    assert max(most) == 3
    assert len(most) == 16


def test_a_call_that_fails_or_takes_too_long_fails_its_object_alone():
    cancelled = []

    @concurrent(limit=8, timeout=0.1)
    async def f(v):
        if v == 1:
            try:
                await asyncio.sleep(60)
            finally:
                cancelled.append(v)
        if v == 2:
            raise TimeoutError("its own")
        if v == 3:
            sys.exit("gone")
        if v == 4:
            raise asyncio.CancelledError
        return v / (v - 5)

    began = time.monotonic()
    out = f([0, 1, 2, 3, 4, 5, 6])
    assert time.monotonic() - began < 10
    assert cancelled == [1]
    assert (out[0], out[6]) == (0, 6)
    assert [repr(v) for v in out[1:5]] == [
        "TimeoutError('it took more than 0.1 seconds')",
        "TimeoutError('its own')",
        "SystemExit('gone')",
        "CancelledError()",
    ]
    assert isinstance(out[5], ZeroDivisionError)


def test_calls_are_cancelled_when_nobody_waits_for_them_any_more():
    cancelled = threading.Event()
    begun = []

    @concurrent(limit=2)
    async def f(v):
        begun.append(v)
        try:
            await asyncio.sleep(0 if v == 0 else 60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return v

    answers = f.each(range(100))
    assert next(answers) == (0, 0)
    answers.close()
    assert cancelled.wait(10)
    assert len(begun) <= 3


def test_an_interrupt_ends_the_batch_and_leaves_the_loop_running():
    @concurrent(limit=2)
    async def f(v):
        if v == 1:
            raise KeyboardInterrupt
        return v

    with pytest.raises(KeyboardInterrupt):
        f([0, 1, 2])
    assert f([0, 2]) == [0, 2]


def test_all_batches_share_one_loop_and_other_loops_are_not_in_the_way():
    @concurrent()
    async def loop_of(v):
        return id(asyncio.get_running_loop()), torch.is_grad_enabled()

    async def notebook():
        return loop_of([1, 2])

    assert torch.is_grad_enabled()
    seen = [*loop_of([1]), *asyncio.run(notebook()), awaited(loop_of.f(0))]
    assert len(set(seen)) == 1
    assert seen[0][1] is False
    assert awaited(7) == 7

    @concurrent()
    async def other(v):
        return loop_of([v])

    (failed,) = other([1])
    assert "await its `.f`" in str(failed)


def test_law_08_an_async_reward_fails_as_any_other_does():
    @concurrent(limit=3)
    async def reward(x):
        if x[1] > 0:
            raise ValueError("positive")
        return x[0]

    ids = range(8)
    x = Stream(0).normal(ids, (6,))
    target = on_humps(reward=reward)
    assert torch.equal(target.score(x, Stream(0), ids), torch.where(x[:, 1] > 0, -torch.inf, x[:, 0]))
    assert sorted((f.candidate, f.reason) for f in target.failures) == [
        (i, "ValueError: positive") for i in ids if x[i, 1] > 0
    ]


def test_per_sample_keeps_gradients():
    x = normal(3, 2).requires_grad_()
    (slope,) = torch.autograd.grad(torch.stack(per_sample(lambda v: v.square().sum())(x)).sum(), x)
    assert torch.equal(slope, 2 * x.detach())
