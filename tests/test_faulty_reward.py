"""A reward that raises, returns NaN, hangs and kills its worker: the run ends, the search wins, all is counted."""

import faulty
import pytest
import torch

import elites as el

STEPS, POPULATION = 12, 48


@pytest.fixture(scope="module")
def runs():
    """Elites and best of N on the faulty reward, at the same number of evaluations."""
    out = {}
    with el.Processes(2, faulty.build_faulty, timeout=0.6, straggler=None) as pool:
        for name, method in (("elites", el.Elites(POPULATION)), ("random", el.RandomSearch(POPULATION))):
            target = faulty.build_faulty()
            target.pool = pool
            out[name] = el.run(method, target, el.Budget(steps=STEPS), 5, probe=None)
    return out


def test_the_run_ends_and_the_search_beats_best_of_n(runs):
    assert all(r.stopped.startswith("budget") for r in runs.values())
    assert runs["elites"].meter.nfe == runs["random"].meter.nfe
    assert float(runs["elites"].best.reward) > float(runs["random"].best.reward) + 3


def test_every_failure_is_counted_with_its_reason(runs):
    result = runs["random"]  # its candidates are fresh noise, so what should have failed is known
    ids = [(step, i) for step in range(1, STEPS + 1) for i in range(POPULATION)]
    due = faulty.kinds(el.Stream(5).normal(ids, (24,)))
    assert min(due.values()) > 0
    assert faulty.expected([f.reason for f in result.failures]) == due
    assert result.meter.failures == len(result.failures) == sum(due.values())
    assert len({(f.step, f.candidate) for f in result.failures}) == len(result.failures)


def test_what_did_not_fail_has_the_reward_that_a_sound_one_gives(runs):
    for result in runs.values():
        assert [faulty.near_one(x) for x in result.samples.x] == pytest.approx(
            result.samples.reward.tolist(), rel=1e-6
        )
        assert all(faulty.lot(x) >= faulty.DIES for x in result.samples.x)


def test_an_outage_ends_the_run_before_the_method_is_told():
    seen = []

    @el.per_sample
    def reward(x):
        seen.append(1)
        if len(seen) > 100:
            raise ConnectionError("the licence server is down")
        return faulty.near_one(x)

    events = []
    with pytest.raises(
        el.RewardError, match=r"17 of 32 objects of step 4 .* the limit of 50%: ConnectionError.* \(17\)"
    ):
        el.run(el.Elites(32), faulty.target_of(reward), el.Budget(steps=9), 1, on=[events.append], probe=None)
    assert [event.step for event in events] == [1, 2, 3]


def test_a_limit_of_one_goes_on():
    def reward(x):
        return torch.where(x[:, 0] > -3, torch.nan, x[:, 0])

    result = el.run(
        el.Elites(32), faulty.target_of(reward, on_error=el.Worst(limit=1)), el.Budget(steps=3), 1, probe=None
    )
    assert result.meter.failures == result.meter.rewards == 96


@pytest.mark.parametrize("limit", [-0.1, 1.1, float("nan")])
def test_a_limit_is_a_share(limit):
    with pytest.raises(el.InputError, match="from 0 to 1"):
        el.Worst(limit)
    with pytest.raises(el.InputError, match="from 0 to 1"):
        el.Retry(limit=limit)
