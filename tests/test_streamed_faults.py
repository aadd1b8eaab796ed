"""What goes wrong while rewards made of others answer object by object."""

import asyncio
import threading
import time

import pytest
import torch
from helpers import PRIORS, hill, normal, on, on_humps
from test_streamed_composites import OBJECTS, Logged, Stream, every, said, weighted

from elites import Budget, Checkpoint, NoiseAscent, RandomSearch, RewardError, per_sample, run
from elites.answers import NoScore
from elites.ledger import read
from elites.rewards.combine import AtLeast, Constrained, Weighted
from elites.rewards.noisy import Ensemble, Repeated
from elites.rewards.scales import Raw
from elites.rewards.waiting import concurrent


def test_a_part_that_gives_up_fails_what_it_has_not_answered():
    class Few(Stream):
        def each(self, objects):
            yield 0, 1.0
            yield 0, 2.0
            yield 7, 3.0

    for width in (0, 2):
        broken = Stream(width=width, order=[1, 0], end=OSError("gone"))
        assert [v for v, _ in said(weighted(a=broken, b=Logged()).each([1.0, 2.0, 4.0]), 3)] == [
            2.0,
            4.0,
            "a: OSError: gone",
        ]
        out = said(weighted(b=Logged(), few=Few(width=width)).each([1.0, 2.0]), 2)
        assert out == [
            (2.0, {"b": 1.0, "few": 1.0}),
            ("few: ValueError: it gave no answer", {"b": 2.0, "few": None}),
        ]
    out = said(Repeated(Stream(order=[0, 1, 2], end=OSError("gone")), 2).each([1.0, 2.0, 4.0]), 3)
    assert [v for v, _ in out] == [1.0, 2.0, "2 of 2 repeats failed: OSError: gone"]


def test_reasons_name_the_part_and_nothing_more():
    @per_sample
    def picky(v):
        if v == 1:
            raise NoScore("too small")
        return v

    reward = weighted(inner=weighted(picky=picky), b=Logged())
    target = on(PRIORS["one step"], reward=weighted(length=per_sample(lambda t: picky.f(1))))
    run(RandomSearch(2), target, Budget(steps=1), probe=None)
    assert {f.reason for f in target.failures} == {"length: too small"}
    assert said(reward.each([1.0]), 1) == [("inner: picky: too small", {"inner": None, "inner.picky": None, "b": 1.0})]


def test_a_scale_that_raises_fails_its_object():
    def scale(values):
        return 1 / values if values > 1 else {}[0]

    reward = Weighted({"a": (Stream(), 1.0, scale)})
    assert [v for v, _ in said(reward.each([1.0, 2.0]), 2)] == ["KeyError: 0", 0.5]


@pytest.mark.parametrize("width", [0, 2])
def test_memory_that_runs_out_is_raised(width):
    full = Stream(width=width, order=[9], end=torch.OutOfMemoryError())
    for reward in (weighted(a=full), Repeated(full, 2), Constrained(full, {"c": AtLeast(Stream(), 0.0)}, -1.0)):
        with pytest.raises(torch.OutOfMemoryError):
            list(reward.each(OBJECTS))


def test_no_gradient_passes():
    modes = []

    def batch(x):
        modes.append(torch.is_grad_enabled())
        return hill(x)

    for reward in [*every(batch, per_sample(lambda x: x[0])).values(), Repeated(per_sample(lambda x: x[0]), 2)]:
        with pytest.raises(RewardError, match="has no gradient"):
            run(NoiseAscent(), on_humps(reward=reward), Budget(steps=1), probe=None)
    assert set(modes) == {False}
    x = normal(2, 6).requires_grad_()
    assert all(isinstance(a.values, float) for _, a in weighted(a=per_sample(torch.sum)).each(x))


def test_who_leaves_early_ends_what_nobody_waits_for():
    begun, ended, gate = [], threading.Event(), threading.Event()

    @concurrent(limit=2)
    async def hangs(v):
        begun.append(v)
        try:
            while v > 1 and not (gate.is_set() and v == 2):
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            ended.set()
            raise
        return v

    answers = weighted(hangs=hangs, batch=Logged(), here=Stream()).each([1.0, 2.0, 4.0, 8.0, 16.0])
    assert next(answers)[0] == 0
    answers.close()
    gate.set()  # the thread hears one more answer, and leaves
    assert ended.wait(10)
    time.sleep(0.05)
    assert len(begun) <= 4
    assert not [t for t in threading.enumerate() if t.name == "elites reward"]


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize(
    "make",
    [
        lambda f: weighted(f=per_sample(f), batch=hill),
        lambda f: Repeated(per_sample(f), 2),
        lambda f: Ensemble({"f": (per_sample(f), Raw()), "hill": (hill, Raw())}),
        lambda f: Constrained(hill, {"f": AtLeast(per_sample(f), 99.0)}, floor=-9.0),
        lambda f: Constrained(per_sample(f), {"f": AtLeast(hill, -99.0)}, floor=-99.0),
        lambda f: Constrained(per_sample(f), {"f": AtLeast(per_sample(hill_of), -99.0)}, floor=-99.0),
    ],
)
def test_a_kill_loses_what_is_in_flight_and_no_more(tmp_path, make):
    seen = {}

    def dies(x):
        seen.setdefault(tuple(x.tolist()), None)
        if len(seen) == 6:
            raise Killed
        return x[0]

    with pytest.raises(Killed):
        target = on_humps(reward=make(dies))
        run(RandomSearch(16), target, Budget(steps=1), on=[Checkpoint(tmp_path)], probe=None)
    states = [row["state"] for row in read(tmp_path / "ledger.sqlite")]
    assert states.count("done") == 5


def hill_of(x):
    return float(hill(x[None]))
