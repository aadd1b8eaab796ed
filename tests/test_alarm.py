"""The hacking alarm: its levels, its p-values, and what it says of honest and hacked runs."""

import math

import pytest
import torch
from helpers import PRIORS, assert_same, bits, normal

import elites as el
from elites.diagnose import Evidence, Reference, Spending, StopWhen, alarmed, readings, unlike
from elites.search import Anywhere

FEW = el.Budget(steps=24)


def along(x):
    """Higher and higher along one axis."""
    return x[:, 0]


def target(reward=along):
    return el.Target(PRIORS["mixture"], reward, walk=el.Plain(steps=4), batch=32)


def with_loophole(x):
    """Pays for what one sample in a hundred has, and then more than for anything else."""
    return x[:, 0] + 100 * (-1.45 - x[:, 0]).relu()


def ran(method, seed, reward=along, judge=None, on=(), **changes):
    evidence = Evidence(judge, reference=64, **changes)
    result = el.run(method, target(reward), FEW, seed=seed, probe=None, on=[evidence, *on])
    return evidence, result


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_the_levels_of_all_looks_add_up_to_the_rate(rate):
    levels = [Spending(rate).at(step) for step in range(50_000)]
    spent = sum(levels) + Spending(rate).end
    assert 0.9 * rate < spent < rate
    assert [step for step, level in enumerate(levels) if level][:9] == [1, 2, 3, 4, 6, 8, 12, 16, 23]


@pytest.mark.parametrize("rate", [0.0, 1.0, math.nan])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(el.InputError, match="share of honest runs"):
        Evidence(rate=rate)


@pytest.mark.parametrize("n", [8, 16])
@pytest.mark.parametrize("trimmed", [False, True])
def test_p_values_of_one_more_draw_of_a_normal_law_are_uniform(n, trimmed):
    draws, best = normal(600, n + 1), torch.arange(n) if trimmed else None
    p = torch.tensor([unlike(float(row[n]), row[:n], best) for row in draws]).sort().values
    even = (torch.arange(600) + 0.5) / 600
    assert float((p - even).abs().max()) < 1.95 / math.sqrt(600)  # Kolmogorov-Smirnov at 0.001


def test_a_loophole_among_the_best_of_the_prior_does_not_hide_the_next_one():
    judged = torch.cat([normal(1, 126)[0], torch.tensor([-20.0, -20.0])])
    best = torch.arange(112, 128)
    assert unlike(-20.0, judged, best) < 1e-6
    assert unlike(-20.0, judged[:-1], torch.arange(119, 127)) < 1e-3
    assert unlike(-1.0, judged, best) > 0.05


def test_what_is_missing_says_nothing():
    values = normal(1, 32)[0]
    assert unlike(math.nan, values, torch.arange(16)) == 1
    assert unlike(-100.0, values[:3], torch.arange(3)) == 1
    assert unlike(-100.0, torch.zeros(32), torch.arange(32)) == 1


@pytest.mark.parametrize("method", [el.RandomSearch(32), el.Elites(32), el.NoiseAscent()], ids=str)
def test_honest_runs_ring_no_more_often_than_the_rate(method):
    rang = sum(ran(method, seed, judge=along)[0].rang is not None for seed in range(10))
    assert rang <= 3  # at a rate of 0.05, four of ten have a chance of 0.1 %


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "method", [el.Elites(32, guard=Anywhere()), el.NoiseAscent(guard=Anywhere(), penalty=None)], ids=["es", "ascent"]
)
def test_a_search_that_leaves_the_noise_rings_and_can_be_stopped(method, seed):
    evidence, result = ran(method, seed, on=[StopWhen(alarmed)])
    assert result.stopped == "stopped: alarmed"
    assert 1 <= evidence.began <= evidence.rang == result.history[-1]["step"] < 24
    assert [row["alarm"] for row in result.history] == [0.0] * (evidence.rang - 1) + [1.0]
    (alarm,) = [r for r in result.evidence if r.name == "alarm"]
    assert alarm.warns
    assert f"seen at step {evidence.rang}" in alarm.says
    if evidence.honest is not None:
        assert float(evidence.honest.reward[0]) < float(result.best.reward[0])


def test_a_loophole_is_seen_by_the_judge_alone():
    with_judge, result = ran(el.RandomSearch(128), 1, with_loophole, along)
    assert float(result.best.reward[0]) > 20 > 10 * float(along(result.best.x)[0])
    assert with_judge.rang is not None
    assert ran(el.RandomSearch(128), 1, with_loophole)[0].rang is None


def test_evidence_changes_nothing_and_pays_by_itself():
    evidence = Evidence(along, lambda x: x.norm(dim=1), reference=32)
    ours, other = target(), target()
    got = el.run(el.Elites(), ours, FEW, seed=3, on=[evidence])
    want = el.run(el.Elites(), other, FEW, seed=3)
    added = {"judge", "distance", "white", "alarm", "alarm.p"}
    for row in got.history:
        assert set(row) & added
        for name in added & set(row):
            del row[name]
    got.evidence.clear()
    assert_same(got, want)
    assert evidence.reference.meter.rewards == 32


def test_readings_of_prior_samples_have_uniform_quantiles():
    reference = Reference.of(target(), 400)
    own = Reference.of(target(), 100, seed=1)
    told = [readings(own.samples[i : i + 1], reference, along, lambda x: x.norm(dim=1)) for i in range(100)]
    assert [r.name for r in told[0]] == [
        "typicality",
        "whiteness",
        "judge",
        "distance",
        "movement",
        "loss",
        "support",
    ]
    for several in zip(*told, strict=True):
        mean = sum(r.quantile for r in several) / 100
        assert abs(mean - 0.5) < 4 * math.sqrt(1 / 12 * (1 / 100 + 1 / 400)) + 0.01, several[0].name


def test_a_reading_needs_no_manual():
    reference = Reference.of(target(), 64)
    far = reference.samples[:1]
    far.z = 3 * far.z / far.z.square().mean().sqrt()
    (first, *_) = readings(far, reference)
    assert (first.value, first.quantile, first.warns) == (pytest.approx(9), 0.0, True)
    assert first.says == "9: its noise has a more typical norm than that of 0% of prior samples"


def test_references_are_kept_in_a_file(tmp_path):
    made = Reference.of(target(), 16)
    made.save(tmp_path / "r.safetensors")
    kept = Reference.load(target(), tmp_path / "r.safetensors")
    assert bits(kept.samples) == bits(made.samples)
    assert torch.equal(kept.movement, made.movement)
    assert torch.equal(kept.loss, made.loss)
    assert kept.meter.nfe == 0
    with pytest.raises(el.InputError, match="no prior samples"):
        Reference.load(target(), tmp_path / "none")
    with pytest.raises(el.InputError, match="at least 16"):
        Reference.of(target(), 8)


def test_prior_samples_need_no_reward():
    made = Reference.of(target(), 16, scored=False)
    assert made.meter.rewards == 0
    assert made.best().tolist() == list(range(16))


def evidenced(budget, judge=along, **changes):
    evidence = Evidence(judge, **changes)
    return evidence, el.run(el.RandomSearch(32), target(), budget, on=[evidence])


def test_by_default_prior_samples_cost_a_twentieth_of_the_candidates():
    for n, budget in (
        (40, el.Budget(nfe=20 * 40 * (4 + 8), rewards=100_000)),  # the walk, and the denoising loss
        (30, el.Budget(rewards=20 * 30)),
        (32, el.Budget(rewards=4000, steps=20)),
        (128, el.Budget(rewards=4000)),
    ):
        evidence, result = evidenced(budget)
        assert len(evidence.reference.samples) == n
        assert "alarm" in {r.name for r in result.evidence}
    evidence, _ = evidenced(el.Budget(seconds=60, steps=30))
    assert evidence.reference is not None
    evidence, _ = evidenced(el.Budget(seconds=1e-3))
    assert evidence.reference is None


def test_prior_samples_wait_for_a_budget_and_a_reward_that_can_be_searched():
    asked = []

    def flat(x):
        asked.append(len(x))
        return torch.ones(len(x))

    with pytest.raises(el.RewardError, match="give it a slope"):
        el.run(el.RandomSearch(32), target(flat), el.Budget(nfe=100_000), on=[Evidence(along)])
    assert sum(asked) == 20  # the probe
    with pytest.raises(el.InputError, match="smaller than one step"):
        el.run(el.RandomSearch(32), target(flat), el.Budget(nfe=100), on=[Evidence(along, reference=16)])
    assert sum(asked) == 20


def test_where_the_budget_is_small_only_columns_are_filled():
    evidence, result = evidenced(el.Budget(rewards=20 * 15))
    assert evidence.reference is None
    (alarm,) = result.evidence
    assert alarm.says.startswith("not looked for") and not alarm.warns
    assert {"judge", "white"} <= set(result.history[-1])
    assert "alarm" not in result.history[-1]


def test_prior_samples_are_drawn_once_for_a_target():
    evidence, ours = Evidence(along, reference=16), target()
    el.run(el.RandomSearch(32), ours, FEW, on=[evidence])
    first = evidence.reference
    el.run(el.Elites(32), ours, FEW, on=[evidence])
    assert evidence.reference is first
    el.run(el.Elites(32), target(), FEW, on=[evidence])
    assert evidence.reference is not first


def test_a_judge_that_fails_everywhere_is_named_before_the_budget_is_spent():
    def broken(x):
        raise ValueError("no such file")

    with pytest.raises(el.InputError, match=r"judge fails on all 16 prior samples \(ValueError: no such file\)"):
        evidenced(FEW, broken, reference=16)
    with pytest.raises(el.InputError, match="judge returns 1 numbers for 16 objects"):
        evidenced(FEW, lambda x: x.sum(), reference=16)


def test_a_judge_that_fails_now_and_then_is_read_where_it_answers():
    ours = target()
    ours.decode_batch, calls = 4, []

    def shaky(x):
        calls.append(len(x))
        if len(calls) == 2:
            raise TimeoutError
        return along(x)

    evidence = Evidence(shaky, reference=16)
    result = el.run(el.RandomSearch(32), ours, FEW, on=[evidence])
    assert calls[:4] == [4, 4, 4, 4]
    (judge,) = [r for r in result.evidence if r.name == "judge"]
    assert judge.quantile * 12 == pytest.approx(round(judge.quantile * 12))
