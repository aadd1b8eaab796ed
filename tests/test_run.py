"""The loop: what a run checks first, spends, keeps and returns."""

import json
import math
import time

import pytest
import torch
from helpers import PRIORS, Count, bits, half_nan, hill, on, on_flow, on_humps, words

from elites import (
    Budget,
    Elites,
    Final,
    InputError,
    Plain,
    Probe,
    RandomSearch,
    Result,
    Retry,
    RewardError,
    Samples,
    Stream,
    ZeroOrder,
    iterate,
    run,
)
from elites.probe import describe
from elites.types import Meter, ranked

# budgets


@pytest.mark.parametrize("name", ["nfe", "rewards", "seconds", "steps"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_budget_of_nothing_is_refused(name, value):
    with pytest.raises(InputError, match=f"Budget\\({name}=.*give a positive number"):
        Budget(**{name: value})


def test_a_search_without_a_limit_is_refused_and_a_walk_needs_none():
    count = Count()
    with pytest.raises(InputError, match="The budget has no limit"):
        run(Elites(8), on_humps(count=count))
    assert (count.sizes, count.scored) == ([], 0)
    assert run(Plain(steps=3, n=2), on_humps()).stopped.startswith("done")


@pytest.mark.parametrize("budget", [Budget(nfe=31), Budget(rewards=7), Budget(nfe=32, rewards=7)])
@pytest.mark.parametrize("final", [None, Final(Plain(steps=2), top=1)])
def test_a_budget_smaller_than_one_step_is_refused_before_any_call(budget, final):
    count = Count()
    with pytest.raises(InputError, match=r"The budget is smaller than one step: the next step needs \d+ "):
        run(RandomSearch(8), on_humps(count=count), budget, final=final)
    assert (count.sizes, count.scored) == ([], 0)


def test_a_budget_of_exactly_one_step_is_one_step():
    result = run(RandomSearch(8), on_humps(), Budget(nfe=32, rewards=8))
    assert (result.meter.nfe, result.meter.rewards, len(result.history)) == (32, 8, 1)


def test_a_budget_of_seconds_ends_the_run_and_says_so(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def slow(x):
        now[0] += 1.0  # a reward call a step, a second each
        return hill(x)

    result = run(RandomSearch(8), on_humps(reward=slow), Budget(seconds=5.5), probe=None)
    assert (len(result.history), result.meter.seconds) == (5, 5.0)
    assert "seconds" in result.stopped


# the probe


def test_the_probe_says_what_the_prior_scores():
    result = run(Elites(8), on_humps(), Budget(steps=1), seed=3)
    target, ids = on_humps(), range(16)
    rewards = hill(target.generate(target.prior.noise(Stream(3), ids), Stream(3), ids))
    row = result.history[0]
    assert (row["step"], row["count"], row["failures"], row["ties"], row["repeat"]) == (0, 16, 0, 0, 0)
    assert row["mean"] == pytest.approx(float(rewards.mean()), rel=1e-6)
    assert row["sd"] == pytest.approx(float(rewards.std(correction=0)), rel=1e-6)
    assert row["max"] == row["best"] == float(rewards.max())
    assert (row["nfe"], row["rewards"]) == (64, 20)  # four of them are scored twice
    text = describe(row)
    assert text.startswith("16 prior samples score ")
    assert text.endswith("the reward gives the same number again.")


def test_the_probe_sees_ties_and_rewards_that_change():
    calls = iter(range(10**6))
    moody = lambda x: torch.tensor([float(next(calls)) for _ in x])
    row = next(iterate(Elites(8), on_humps(reward=moody), Budget(steps=1))).row
    assert row["repeat"] == 16  # each of the four is seen again 16 calls later
    assert "numbers up to 16 off on a second call" in describe(row)
    row = next(iterate(Elites(8), on_humps(reward=lambda x: hill(x).sign()), Budget(steps=1))).row
    assert row["ties"] == 1 - 2 / 16


def test_what_the_probe_found_is_the_first_best():
    result = run(ZeroOrder(4), on_humps(reward=lambda x: -x[:, 0].square()), Budget(steps=1), seed=1)
    assert result.history[0]["best"] == result.history[0]["max"]
    assert result.best.reward[0] == max(row["max"] for row in result.history)
    assert (result.samples.keys[:, 0] == 0).any()


def test_a_constant_reward_is_an_error_unless_no_probe_is_wanted():
    constant = lambda x: torch.full((len(x),), 2.5)
    with pytest.raises(RewardError, match=r"The reward is 2\.5 on all 16 prior samples.*pass probe=None"):
        run(Elites(8), on_humps(reward=constant), Budget(steps=2))
    assert run(Elites(8), on_humps(reward=constant), Budget(steps=2), probe=None).best.reward.tolist() == [2.5]


def test_a_reward_that_always_fails_is_an_error_with_the_reason():
    def broken(x):
        raise KeyError("weights")

    with pytest.raises(RewardError, match=r"failed on all 16 prior samples: KeyError: 'weights'\."):
        run(Elites(8), on_humps(reward=broken), Budget(steps=2))


@pytest.mark.parametrize(
    ("budget", "size"),
    [
        (Budget(nfe=319), 0),  # a twentieth of it is three objects of four calls each
        (Budget(nfe=320), 4),
        (Budget(nfe=10**6), 16),
        (Budget(rewards=100), 5),
        (Budget(rewards=79), 0),
        (Budget(nfe=10**6, rewards=140), 7),
        (Budget(steps=1), 16),
    ],
)
def test_the_probe_takes_a_twentieth_of_the_budget_at_most(budget, size):
    assert Probe().size(on_humps(), budget) == size
    row = next(iterate(RandomSearch(2), on_humps(), budget)).row
    assert ("sd" in row) == (size > 0)
    assert row["count"] == (size or 2)
    assert row["step"] == (0 if size else 1)


# the finalists


@pytest.mark.parametrize("make", [on_humps, on_flow])
def test_finalists_rendered_by_the_same_walk_are_the_same_objects(make):
    plain = run(Elites(8), make(), Budget(steps=4), seed=2)
    final = run(Elites(8), make(), Budget(steps=4), seed=2, final=Final(Plain(steps=4), top=5))
    assert bits(final.samples) == bits(plain.samples[:5])
    assert bits(final.state) == bits(plain.state)
    row = final.history[-1]
    assert row["final"] == row["preview"] == float(plain.best.reward[0])


def test_the_winner_is_the_best_of_the_finalists_as_rendered():
    final = Final(Plain(steps=30), top=6)
    result, found = (run(Elites(8), on_humps(), Budget(steps=5), final=f) for f in (final, None))
    target, few = on_humps(steps=30), found.samples[:6]
    keys = [tuple(key) for key in few.keys.tolist()]
    again = target.evaluate(few.z, Stream(0), keys)
    assert bits(result.samples) == bits(again.top(6))
    assert result.history[-1]["preview"] == float(found.best.reward[0])
    assert result.history[-1]["final"] == float(result.best.reward[0]) == float(again.reward.max())
    assert result.meter.nfe == found.meter.nfe + 6 * 30


@pytest.mark.parametrize("limits", [{"nfe": 500}, {"rewards": 120}, {"nfe": 333, "rewards": 77}])
@pytest.mark.parametrize("reward", [hill, half_nan])
def test_what_the_finalists_cost_is_set_aside(limits, reward):
    count, final = Count(), Final(Plain(steps=10), top=4)
    target = on_humps(count=count, reward=reward, on_error=Retry(1, limit=1))
    result = run(RandomSearch(4), target, Budget(**limits), final=final)
    assert "final" in result.history[-1]
    assert (result.meter.nfe, result.meter.rewards) == (count.objects, count.scored)
    assert all(getattr(result.meter, name) <= limit for name, limit in limits.items())
    one_more = RandomSearch(4).cost(target, None)
    assert any(getattr(result.meter + one_more, name) > limit - 30 for name, limit in limits.items())


def test_an_interrupted_run_renders_no_finalists():
    result = run(Elites(8), on_humps(), Budget(steps=5), final=Final(Plain(steps=9)), stop=lambda: True)
    assert result.stopped == "interrupted"
    assert "final" not in result.history[-1]


def test_finalists_need_noise_to_start_from():
    with pytest.raises(InputError, match="leave out final="):
        run(Plain(steps=3, n=4), on_humps(), final=Final(Plain(steps=9)), probe=None)


# ranking and samples


def test_ranking_leaves_out_what_is_no_number_and_breaks_ties_by_index():
    nan, inf = math.nan, math.inf
    reward = torch.tensor([1.0, nan, 3.0, -inf, 3.0, inf, -5.0, nan, 1.0])
    assert ranked(reward).tolist() == [2, 4, 0, 8, 6]
    assert ranked(torch.full((40,), 2.0)).tolist() == list(range(40))
    assert ranked(torch.tensor([nan, -inf, inf])).tolist() == []
    assert ranked(torch.zeros(0)).tolist() == []
    assert ranked(torch.tensor([torch.finfo().max, inf, torch.finfo().min])).tolist() == [0, 2]


def samples(*rewards, z=True):
    n, keys = len(rewards), torch.arange(2 * len(rewards)).reshape(-1, 2)
    return Samples(torch.arange(float(n))[:, None], torch.tensor(rewards), keys, torch.ones(n, 1) if z else None)


def test_the_top_is_best_first_without_failures():
    top = samples(1.0, -math.inf, 3.0, math.nan, 2.0).top(4)
    assert top.reward.tolist() == [3.0, 2.0, 1.0]
    assert top.x[:, 0].tolist() == [2.0, 4.0, 0.0]
    assert top.keys.tolist() == [[4, 5], [8, 9], [0, 1]]
    assert len(samples(-math.inf).top(3)) == 0


def test_samples_are_joined_in_order_and_a_field_that_one_lacks_is_dropped():
    both = Samples.cat([samples(1.0, 2.0), samples(3.0)])
    assert both.reward.tolist() == [1.0, 2.0, 3.0]
    assert both.z.shape == (3, 1)
    assert both.logw is None
    assert Samples.cat([samples(1.0), samples(2.0, z=False)]).z is None
    assert len(both[1:]) == 2
    assert both[torch.tensor([2, 0])].reward.tolist() == [3.0, 1.0]


# events and results


def test_every_step_tells_each_subscriber_once_in_order():
    told = []
    on_ = [lambda event: told.append(("a", event.step, event.result)), lambda event: told.append(("b", event.step))]
    result = run(RandomSearch(4), on_humps(), Budget(steps=3), on=on_)
    assert [t[:2] for t in told] == [(name, step) for step in (0, 1, 2, 3, 3) for name in "ab"]
    assert [t[2] is result for t in told if t[0] == "a"] == [False] * 4 + [True]


def test_the_history_is_numbers_that_json_can_hold_and_grows_with_the_steps():
    result = run(Elites(8), on_humps(reward=half_nan), Budget(steps=4))
    assert json.loads(json.dumps(result.history)) == result.history
    assert [row["step"] for row in result.history] == [0, 1, 2, 3, 4]
    for name in ("best", "nfe", "rewards", "seconds"):
        values = [row[name] for row in result.history]
        assert values == sorted(values)
    assert result.history[-1]["shell"] == pytest.approx(float(result.best.z.square().mean()), rel=1e-6)
    for row in result.history:
        if row["failures"] < row["count"]:
            assert row["q10"] <= row["median"] <= row["q90"] <= row["max"] <= row["best"]


def test_a_result_says_what_made_it():
    result = run(
        RandomSearch(4), on(PRIORS["one step"], reward=lambda o: [len(w) for w in o]), Budget(steps=2), seed=9
    )
    assert isinstance(result, Result)
    assert result.seed == 9
    assert set(result.versions) >= {"elites", "python", "torch", "numpy"}
    assert result.meter.seconds > 0
    assert float(result.best.reward[0]) == len(words(result.best.x)[0])


def test_two_runs_on_one_target_spend_apart():
    target = on_humps(reward=half_nan)
    first, second = (run(RandomSearch(4), target, Budget(rewards=40)) for _ in range(2))
    assert (first.meter.nfe, first.meter.rewards) == (second.meter.nfe, second.meter.rewards)
    assert first.failures == second.failures
    assert target.meter.rewards == first.meter.rewards + second.meter.rewards


def test_the_best_so_far_is_kept_across_restarts_and_bad_steps():
    result = run(ZeroOrder(4, patience=1), on_humps(), Budget(steps=30))
    best = [row["best"] for row in result.history]
    assert best == [max(row["max"] for row in result.history[: i + 1]) for i in range(len(best))]


def test_meters_add_and_subtract():
    a, b = Meter(5, 4, 3, 2, 1.0), Meter(1, 1, 1, 1, 0.5)
    assert a + b == Meter(6, 5, 4, 3, 1.5)
    assert a + b - b == a


def test_finalists_that_all_fail_leave_what_the_search_decoded():
    searched, scored = run(Elites(8), on_humps(), Budget(steps=4), seed=2), 0
    target, good = on_humps(), searched.meter.rewards
    reward = target.reward

    def breaks(x):
        nonlocal scored
        scored += len(x)
        return reward(x) if scored <= good else [None] * len(x)

    target.reward = breaks
    result = run(Elites(8), target, Budget(steps=4), seed=2, final=Final(Plain(steps=9), top=5))
    assert torch.equal(result.best.x, searched.best.x)
    assert len(result.failures) == 5
