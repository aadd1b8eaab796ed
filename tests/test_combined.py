"""Weighted sums and constraints of rewards, against numbers by hand."""

import math
import re
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch
from helpers import normal, on_humps

from elites import Budget, InputError, RandomSearch, Stream, per_sample, run
from elites.answers import Scored, readings
from elites.rewards.asking import ask
from elites.rewards.combine import AtLeast, Constrained, Weighted
from elites.rewards.noisy import Ensemble, Repeated
from elites.rewards.scales import Rank, Raw, Standard
from elites.rewards.waiting import concurrent

OBJECTS = [1.0, 2.0, 4.0, 8.0]


def same(objects):
    return objects if isinstance(objects, torch.Tensor) else list(objects)


def square(objects):
    return [v * v for v in objects]


@per_sample
def picky(v):
    if v == 2:
        raise ValueError("two")
    if v == 4:
        sys.exit()
    return math.nan if v == 8 else v


def numbers(out):
    """Values of an answer as floats, and the text of failures."""
    return [str(v) if isinstance(v, Exception) else float(v) for v in out.values]


def terms(out):
    return {name: [None if math.isnan(v) else v for v in map(float, part)] for name, part in out.terms.items()}


# what a part may return


@pytest.mark.parametrize(
    "out",
    [
        [1, 2.5, True],
        (1.0, None, "a"),
        [ValueError("x"), 2.0, math.inf],
        torch.tensor([[1.0], [2.0], [math.nan]]),
        torch.tensor([1, 2, 3]),
        [torch.tensor(1.0), 2.0, torch.tensor([1.0, 2.0])],
        torch.zeros(2),
        None,
        1j,
        [Scored(1.0, {"a": 2.0}), 3.0, Scored(ValueError("y"), {"a": 4.0})],
    ],
)
def test_law_08_a_part_is_read_as_a_reward_is(out):
    target = on_humps(reward=lambda x: out)
    values = target.score(normal(3, 6), Stream(0), range(3))
    answer = ask(lambda objects: out, [0, 0, 0])
    assert {f.candidate: f.reason for f in target.failures} == answer.reasons
    assert [0.0 if i in answer.reasons else v for i, v in enumerate(values.tolist())] == answer.values.tolist()


def test_a_part_may_be_async_and_what_it_raises_fails_every_object():
    async def later(objects):
        return same(objects)

    def broken(objects):
        raise KeyError("k")

    @concurrent()
    async def one(v):
        return v

    assert ask(later, OBJECTS).values.tolist() == ask(one, OBJECTS).values.tolist() == OBJECTS
    assert ask(broken, OBJECTS).reasons == dict.fromkeys(range(4), "KeyError: 'k'")
    with pytest.raises(torch.OutOfMemoryError):
        ask(full, OBJECTS)


def full(objects):
    raise torch.OutOfMemoryError


# sums


def test_a_weighted_sum_by_hand():
    reward = Weighted({"a": (same, 2.0, Standard(2.0, 4.0)), "b": (square, -0.5, Raw())})
    out = reward(OBJECTS)
    assert numbers(out) == [2 * (v - 2) / 4 - v * v / 2 for v in OBJECTS]
    assert terms(out) == {"a": OBJECTS, "b": [v * v for v in OBJECTS]}
    assert repr(reward) == "Weighted({'a': (same, 2.0, Standard(mean=2.0, sd=4.0)), 'b': (square, -0.5, Raw())})"


def test_fit_finds_the_scales_and_shows_them():
    objects = [1.0, 2.0, 6.0]
    modes = []

    def watched(objects):
        modes.append(torch.is_grad_enabled())
        return same(objects)

    reward = Weighted.fit(objects, {"a": (watched, 1.0), "b": (square, 3.0)})
    squares = [1.0, 4.0, 36.0]
    assert modes == [False]
    assert numbers(reward([2.0])) == pytest.approx(
        [(2 - 3) / stdev(objects) + 3 * (4 - mean(squares)) / stdev(squares)], abs=1e-12
    )
    ranks = Weighted.fit(objects, {"a": (same, 1.0), "b": (square, 3.0)}, scale=Rank.of)
    assert numbers(ranks(objects)) == pytest.approx([4 * r for r in (0.5 / 3, 0.5, 2.5 / 3)], abs=1e-15)
    assert "Rank(reference=(1.0, 4.0, 36.0))" in repr(ranks)
    one = Weighted.fit([1.0, 2.0, 3.0, 5.0, 6.0, 8.0], {"p": (picky, 1.0)}, scale=Rank.of)
    assert "Rank(reference=(1.0, 3.0, 5.0, 6.0))" in repr(one)  # without the two that fail


def test_a_row_depends_on_no_other():
    reward = Weighted.fit(normal(32).tolist(), {"a": (same, 1.0), "b": (square, 1.0)}, scale=Rank.of)
    whole = numbers(reward(OBJECTS))
    assert whole == [numbers(reward([v]))[0] for v in OBJECTS]
    assert whole == numbers(reward(OBJECTS))


def test_a_failure_of_a_part_fails_its_object_and_names_the_part():
    out = Weighted({"a": (same, 1.0, Raw()), "p": (picky, 1.0, Raw()), "q": (picky, 1.0, Raw())})([1.0, 2.0, 4.0, 8.0])
    assert numbers(out) == [3.0, "p: ValueError: two", "p: SystemExit", "p: it is NaN"]
    assert terms(out) == {"a": OBJECTS, "p": [1.0, None, None, None], "q": [1.0, None, None, None]}


def test_parts_of_parts_are_logged_under_both_names():
    inner = Weighted({"a": (same, 1.0, Raw()), "p": (picky, 1.0, Raw())})
    out = Weighted({"inner": (inner, 2.0, Raw()), "b": (square, 1.0, Raw())})([1.0, 2.0])
    assert numbers(out) == [5.0, "inner: p: ValueError: two"]
    assert terms(out) == {"inner": [2.0, None], "inner.a": [1.0, 2.0], "inner.p": [1.0, None], "b": [1.0, 4.0]}


def test_the_sum_keeps_gradients():
    x = normal(4).double().requires_grad_()
    reward = Weighted({"a": (torch.sin, 2.0, Standard(0.3, 4.0)), "b": (torch.square, 1.0, Rank((0.0, 1.0, 3.0)))})
    b = x.detach().square()
    rank_slope = torch.where(b < 1, 1 / 3, torch.where(b < 3, 1 / 6, (2 / 3) / 3))
    want = 2 * x.detach().cos() / 4 + 2 * x.detach() * rank_slope
    (slope,) = torch.autograd.grad(reward(x).values.sum(), x)
    assert torch.allclose(slope, want, atol=1e-6)

    def some(x):
        return [ValueError("no") if i == 2 else v for i, v in enumerate(x.square())]

    out = Weighted({"a": (torch.sin, 1.0, Raw()), "b": (some, 1.0, Raw())})(x)
    values, reasons, _ = readings(out.values, 4)
    assert reasons == {2: "b: ValueError: no"}
    (slope,) = torch.autograd.grad(values.sum(), x)
    want = x.detach().cos() + 2 * x.detach()
    assert torch.allclose(slope, torch.where(torch.arange(4) == 2, 0.0, want), atol=1e-6)


def test_fit_says_which_part_has_no_scale_or_fails():
    def constant(objects):
        return [3] * len(objects)

    for scale in (Standard.of, Rank.of):
        with pytest.raises(InputError, match="'c' is 3 on all 4 objects"):
            Weighted.fit(OBJECTS, {"a": (same, 1.0), "c": (constant, 1.0)}, scale=scale)
        with pytest.raises(InputError, match=r"'p' failed on 3 of 4 objects \(ValueError: two\)"):
            Weighted.fit(OBJECTS, {"a": (same, 1.0), "p": (picky, 1.0)}, scale=scale)
    with pytest.raises(InputError, match="'k' is known on none of 0"):
        Ensemble.fit([], {"k": same, "l": same})


def test_what_cannot_be_summed_is_refused():
    for wrong in ({}, *({"a": a} for a in ((same, math.nan, Raw()), (3, 1.0, Raw()), (same, 1.0, 2.0), (same, 1.0)))):
        with pytest.raises(InputError, match="scale"):
            Weighted(wrong)
    with pytest.raises(InputError, match=r"'a' is no \(reward, weight\)"):
        Weighted.fit(OBJECTS, {"a": same})


def test_nothing_is_made_on_another_device():
    x = torch.tensor(OBJECTS)
    with torch.device("meta"):
        reward = Weighted({"a": (torch.log, 1.0, Rank((0.0, 4.0))), "b": (same, 1.0, Standard(0.0, 1.0))})
        out = Constrained(reward, {"b": AtLeast(same, 3.0)}, floor=-9.0)(x)
        again = Repeated(torch.log, 2)(x - 2)
    assert [v.device.type for v in (out.values, *out.terms.values(), *again.terms.values())] == ["cpu"] * 7
    assert numbers(out)[:2] == [-11.0, -10.0]
    assert numbers(again)[0] == "2 of 2 repeats failed: it is NaN"


# constraints


def test_constraints_come_first_by_hand():
    asked = []

    def reward(objects):
        asked.append(list(objects))
        return [-v for v in objects]

    bounds = {"a": AtLeast(same, 3.0), "b": AtLeast(square, 20.0, unit=4.0)}
    constrained = Constrained(reward, bounds, floor=-10.0)
    out = constrained([1.0, 3.0, 4.0, 5.0, 8.0])
    short = [2 + 19 / 4, 11 / 4, 4 / 4]
    assert numbers(out) == [*(-10 - s for s in short), -5.0, -8.0]
    assert asked == [[5.0, 8.0]]
    assert terms(out) == {
        "a": [1.0, 3.0, 4.0, 5.0, 8.0],
        "b": [1.0, 9.0, 16.0, 25.0, 64.0],
        "reward": [None, None, None, -5.0, -8.0],
    }
    assert numbers(constrained([1.0])) == [-16.75]
    assert numbers(Constrained(reward, {"p": AtLeast(picky, -9.0)}, floor=-10.0)([2.0])) == ["p: ValueError: two"]
    assert asked == [[5.0, 8.0]]  # nothing was feasible, and nobody asked
    assert repr(constrained) == (
        "Constrained(test_constraints_come_first_by_hand.<locals>.reward, {'a': AtLeast(same, 3.0, unit=1.0), "
        "'b': AtLeast(square, 20.0, unit=4.0)}, floor=-10.0)"
    )


def test_a_bound_is_met_in_float32():
    bound = {"a": AtLeast(lambda objects: torch.tensor(objects), 0.7)}  # float32 of 0.7 is below that of Python
    assert numbers(Constrained(same, bound, floor=0.0)([0.7, 0.6999])) == pytest.approx([0.7, -1e-4], abs=1e-7)


def test_every_feasible_object_is_above_all_others_and_the_rest_keep_their_slope():
    x = normal(200, 2).float()
    out = Constrained(lambda x: x[:, 0], {"b": AtLeast(lambda x: x[:, 1], 0.5)}, floor=-5.0)(x)
    feasible = x[:, 1] >= 0.5
    assert 0 < feasible.sum() < 200
    assert out.values[feasible].min() >= -5 > out.values[~feasible].max()
    assert torch.allclose(out.values.float(), torch.where(feasible, x[:, 0], x[:, 1] - 5.5))


def test_failures_of_constrained_rewards_are_in_their_rows():
    out = Constrained(picky, {"a": AtLeast(same, 2.0)}, floor=-1.0)([1.0, 2.0, 4.0, 5.0, 8.0])
    assert numbers(out) == [-2.0, "reward: ValueError: two", "reward: SystemExit", 5.0, "reward: it is NaN"]
    out = Constrained(same, {"p": AtLeast(picky, 0.0)}, floor=0.0)([1.0, 2.0, -3.0])
    assert numbers(out) == [1.0, "p: ValueError: two", -3.0]
    out = Constrained(same, {"b": AtLeast(square, 1.0)}, floor=-2.0)([-3.0, -2.0])
    assert numbers(out) == ["reward: -3 is below the floor of -2, which has to be lower", -2.0]


def test_constrained_rewards_keep_gradients():
    x = torch.tensor([1.0, 2.0, 4.0]).double().requires_grad_()
    out = Constrained(torch.square, {"s": AtLeast(torch.exp, 5.0, unit=2.0)}, floor=-1.0)(x)
    (slope,) = torch.autograd.grad(out.values.sum(), x)
    assert slope.tolist() == pytest.approx([math.e / 2, 4.0, 8.0], rel=1e-6)


def test_what_is_no_constraint_is_refused():
    for constraints, floor in (({}, 0.0), ({"a": same}, 0.0), ({"reward": AtLeast(same, 0.0)}, 0.0)):
        with pytest.raises(InputError, match="constraint"):
            Constrained(same, constraints, floor)
    with pytest.raises(InputError, match="finite floor"):
        Constrained(same, {"a": AtLeast(same, 0.0)}, -math.inf)
    for bound, unit in ((math.nan, 1.0), (0.0, 0.0)):
        with pytest.raises(InputError, match="finite bound"):
            AtLeast(same, bound, unit)


def test_a_run_ranks_by_a_combined_reward():
    x = normal(32, 6)
    parts = {"first": (lambda x: x[:, 0], 1.0), "size": (lambda x: -x.square().sum(1), 0.5)}
    reward = Weighted.fit(x, parts)
    target = on_humps(reward=reward)
    result = run(RandomSearch(8), target, Budget(steps=2), probe=None)
    assert len(result.best) == 1
    (best,) = numbers(reward(target.decode(result.best.x)))
    assert float(result.best.reward) == pytest.approx(best, rel=1e-6)


def test_the_page_on_rewards_runs():
    pytest.importorskip("diffusers")
    page = (Path(__file__).parent.parent / "docs" / "rewards.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(code) == 10
    names = {}
    torch.manual_seed(0)
    exec("\n".join(code), names)
    assert math.isfinite(names["result"].history[-1]["judge"])
