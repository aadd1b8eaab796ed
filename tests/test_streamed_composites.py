"""Sums, constraints, repeats and ensembles of rewards that answer object by object, as they do."""

import asyncio
import gc
import math
import pickle
import threading
import time
import weakref

import pytest
import torch
from helpers import PRIORS, assert_same, hill, on, on_humps

from elites import Budget, RandomSearch, per_sample, run
from elites.answers import Streaming, readings
from elites.rewards.combine import AtLeast, Constrained, Weighted
from elites.rewards.noisy import Ensemble, Repeated
from elites.rewards.scales import Rank, Raw
from elites.rewards.waiting import concurrent

OBJECTS = [1.0, 2.0, 4.0, 8.0]
RANK = Rank((0.0, 1.0, 5.0))


class Stream:
    """A reward that answers with v f in any order; `width` as given."""

    def __init__(self, f=1.0, width=0, order=None, log=None, name="s", end=None):
        self.f, self.width, self.order, self.name, self.end = f, width, order, name, end
        self.log = [] if log is None else log

    def __call__(self, objects):
        return [v * self.f for v in objects]

    def each(self, objects):
        for i in [i for i in self.order or range(len(objects)) if i < len(objects)]:
            self.log.append((self.name, objects[i]))
            yield i, objects[i] * self.f
        if self.end:
            raise self.end


class Logged:
    """A reward of a batch."""

    def __init__(self, f=1.0, log=None, name="b"):
        self.f, self.name, self.log = f, name, [] if log is None else log

    def __call__(self, objects):
        self.log.append((self.name, list(objects)))
        return [v * self.f for v in objects]


def weighted(**parts):
    return Weighted({name: (reward, 1.0, Raw()) for name, reward in parts.items()})


def every(*rewards):
    """Each kind of composite of these rewards."""
    a, b = rewards
    return {
        "weighted": Weighted({"a": (a, 2.0, Raw()), "b": (b, -0.5, RANK)}),
        "ensemble": Ensemble({"a": (a, RANK), "b": (b, Raw())}),
        "bounds": Constrained(a, {"b": AtLeast(b, 0.5, unit=2.0)}, floor=-50.0),
        "bounded": Constrained(b, {"a": AtLeast(a, 0.5)}, floor=-50.0),
        "nested": weighted(inner=weighted(a=a, b=b), b=b),
    }


def said(answers, n):
    """Of each object, its number or the reason, and terms."""
    out = [None] * n
    for i, answer in answers:
        assert out[i] is None
        values, reasons, parts = readings([answer], 1)
        terms = {name: None if math.isnan(part[0]) else part[0] for name, part in parts.items()}
        out[i] = (reasons.get(0, float(values[0])), terms)
    return out


def whole(reward, objects):
    """The same, of what it says about the batch."""
    values, reasons, parts = readings(reward(objects), len(objects))
    terms = [{k: None if math.isnan(v[i]) else v[i] for k, v in parts.items()} for i in range(len(objects))]
    return [(reasons.get(i, float(values[i])), terms[i]) for i in range(len(objects))]


# what streams


def test_it_streams_exactly_if_a_part_does():
    batch, here, wide = Logged(), Stream(), Stream(width=5)
    for name, reward in every(batch, batch).items():
        assert not isinstance(reward, Streaming), name
    assert not isinstance(Repeated(batch, 2), Streaming)
    for a, b, width in ((here, batch, 0), (batch, here, 0), (here, wide, 5), (wide, batch, 5)):
        for name, reward in every(a, b).items():
            assert isinstance(reward, Streaming), name
            assert reward.width == width
            assert isinstance(pickle.loads(pickle.dumps(reward)), Streaming)
    assert (Repeated(wide, 2).width, Repeated(here, 2).width) == (5, 0)


def test_it_is_gone_when_nobody_holds_it():
    gc.disable()
    try:
        for reward in [*every(Stream(), Logged()).values(), Repeated(Stream(), 2)]:
            there = weakref.ref(reward)
            list(reward.each([1.0]))
            del reward
        assert there() is None  # no circle keeps connections open
    finally:
        gc.enable()


@pytest.mark.parametrize("width", [0, 3])
@pytest.mark.parametrize("name", every(Stream(), Stream()))
def test_answers_are_those_about_the_batch(name, width):
    def odd(objects):
        return [ValueError("two") if v == 2 else math.nan if v == 8 else v - 3 for v in objects]

    @per_sample
    def one(v):
        return odd([v])[0]

    expected = whole(every(Logged(0.3), odd)[name], OBJECTS)
    kinds = [(Stream(0.3, width, [2, 0, 3, 1]), odd), (Logged(0.3), one), (Stream(0.3, width), one)]
    for a, b in kinds:
        reward = every(a, b)[name]
        mine = said(reward.each(OBJECTS), 4)
        assert [v for v, _ in mine] == [v for v, _ in expected]
        for (_, terms), (_, wanted) in zip(mine, expected, strict=True):
            assert list(terms) == [k for k in wanted if k in terms]
            assert terms == {k: wanted[k] for k in terms}
            assert all(wanted[k] is None for k in wanted.keys() - terms.keys())
        assert whole(reward, OBJECTS) == expected


@pytest.mark.parametrize("width", [0, 3])
@pytest.mark.parametrize("name", every(Stream(), Stream()))
def test_runs_are_the_same_to_the_bit(name, width):
    def half(x):
        return hill(x) / 2

    class Rows(Stream):
        def each(self, objects):
            return ((i, v) for i, v in enumerate(half(objects)))

        __call__ = staticmethod(half)

    rewards = [every(hill, half)[name], every(hill, Rows(width=width))[name]]
    assert_same(*[run(RandomSearch(20), on_humps(reward=r), Budget(steps=2), seed=3) for r in rewards])


# in which order


def test_one_object_is_finished_before_the_next_begins():
    log = []
    a, b = Stream(log=log, name="a"), Stream(log=log, name="b")
    reward = weighted(a=a, batch=Logged(log=log), b=b)
    for i, _ in reward.each([1.0, 2.0]):
        log.append(i)
    assert log == [("b", [1.0, 2.0]), ("a", 1.0), ("b", 1.0), 0, ("a", 2.0), ("b", 2.0), 1]
    log.clear()
    inner = weighted(a=a, batch=Logged(log=log))
    for i, _ in weighted(inner=inner, b=b).each([1.0, 2.0]):
        log.append(i)
    assert log == [("b", [1.0, 2.0]), ("a", 1.0), ("b", 1.0), 0, ("a", 2.0), ("b", 2.0), 1]


def test_a_reward_is_asked_when_its_object_is_known_to_be_feasible():
    log = []
    bound = AtLeast(Stream(log=log, name="c"), 2.0)
    for i, _ in Constrained(Stream(log=log, name="r"), {"c": bound}, floor=-9.0).each([1.0, 2.0, 4.0]):
        log.append(i)
    assert log == [("c", 1.0), 0, ("c", 2.0), ("r", 2.0), 1, ("c", 4.0), ("r", 4.0), 2]
    log.clear()
    for i, _ in Constrained(Logged(log=log), {"c": bound}, floor=-9.0).each([1.0, 2.0, 0.0, 4.0]):
        log.append(i)  # a batch waits for all
    assert log == [("c", 1.0), 0, ("c", 2.0), ("c", 0.0), 2, ("c", 4.0), ("b", [2.0, 4.0]), 1, 3]
    log.clear()
    bound = AtLeast(Logged(log=log), 2.0)
    for i, _ in Constrained(Stream(log=log, name="r"), {"c": bound}, floor=-9.0).each([1.0, 2.0, 0.0, 4.0]):
        log.append(i)
    assert log == [("b", [1.0, 2.0, 0.0, 4.0]), 0, 2, ("r", 2.0), 1, ("r", 4.0), 3]


def test_repeats_are_made_object_by_object():
    log = []
    reward = Repeated(Stream(log=log, name="r"), 3)
    for i, answer in reward.each([1.0, 2.0]):
        log.append((i, answer.values, answer.terms))
    about = {"standard_error": 0.0, "repeats": 3.0}
    assert log == [*[("r", 1.0)] * 3, (0, 1.0, about), *[("r", 2.0)] * 3, (1, 2.0, about)]
    numbers = iter([1.0, 5.0, math.nan, ValueError("x"), ValueError("y"), 3.0])
    noisy = Repeated(per_sample(lambda v: next(numbers)), 3)
    assert said(noisy.each(torch.zeros(2, 1)), 2) == [
        (3.0, {"standard_error": 2.0, "repeats": 2.0}),
        ("2 of 3 repeats failed: ValueError: x", {"standard_error": None, "repeats": 1.0}),
    ]


# elsewhere


def test_what_works_elsewhere_works_at_the_same_time():
    gate = threading.Barrier(2)

    class Meets(Stream):
        def each(self, objects):
            gate.wait(10)  # for the other one
            assert not torch.is_grad_enabled()
            yield from super().each(objects)

    for reward in (weighted(a=Meets(width=1), b=Meets(width=1)), Ensemble({k: (Meets(width=1), Raw()) for k in "ab"})):
        assert sorted(i for i, a in reward.each(OBJECTS) if isinstance(a.values, float)) == [0, 1, 2, 3]


def test_an_object_is_told_as_soon_as_all_of_it_is_known():
    gate = threading.Event()

    @concurrent(limit=4)
    async def slow(v):
        while v == 1 and not gate.is_set():
            await asyncio.sleep(0.005)
        return v

    @concurrent(limit=4)
    async def fast(v):
        return v

    rewards = [
        weighted(slow=slow, fast=fast, batch=Logged(), here=Stream()),
        Repeated(slow, 2),
        Constrained(fast, {"slow": AtLeast(slow, 0.0)}, floor=-9.0),
        Constrained(slow, {"fast": AtLeast(fast, 0.0)}, floor=-9.0),
        Constrained(slow, {"batch": AtLeast(Logged(), 0.0)}, floor=-9.0),
        Constrained(Stream(), {"slow": AtLeast(slow, 0.0)}, floor=-9.0),
    ]
    for reward in rewards:
        gate.clear()
        answers = reward.each(OBJECTS)
        assert {next(answers)[0] for _ in range(3)} == {1, 2, 3}
        gate.set()
        assert [i for i, _ in answers] == [0]


def test_the_network_works_meanwhile_and_functions_of_the_user_take_turns():
    calls, again, inside, most = [], threading.Event(), [], []

    class Watched:
        def __getattr__(self, name):
            return getattr(PRIORS["mixture"], name)

        def denoise(self, x, t, z=None):
            calls.append(1)
            if len(calls) > 4:  # levels of the first batch
                again.set()
            return PRIORS["mixture"].denoise(x, t, z)

    def alone(x):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return x.sum()

    @concurrent(limit=8)
    async def judge(x):
        return float(await asyncio.to_thread(again.wait, 10))

    parts = {"judge": judge, "batch": lambda x: [alone(v) for v in x], "here": per_sample(alone)}
    target = on(Watched(), reward=weighted(**parts), batch=4)
    result = run(RandomSearch(16), target, Budget(steps=1), probe=None)
    assert (target.failures, target.meter.rewards, result.history[0]["term.judge"]) == ([], 16, 1.0)
    assert set(most) == {1}
    assert len(most) == 32
