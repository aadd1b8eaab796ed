"""Statistics: exact expectations, and intervals that hold the truth as often as they say."""

import itertools
import math

import numpy as np
import pytest

from elites import InputError
from elites.diagnose import expected_best, improvement, interval, middle, paired, share


def draws(seed):
    return np.random.Generator(np.random.Philox(seed))


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_expected_best_is_the_mean_over_all_subsets(n):
    rewards = [0.3, -1.0, 2.0, 2.0, 0.5, -4.0]
    every = [max(some) for some in itertools.combinations(rewards, n)]
    assert expected_best(rewards, n) == pytest.approx(np.mean(every), rel=1e-12)


def test_a_failure_is_drawn_and_never_the_best():
    rewards = [0.3, math.nan, 2.0, -math.inf, 1.0]
    for n in (1, 2, 3):
        some = itertools.combinations([r if math.isfinite(r) else -math.inf for r in rewards], n)
        best = [max(s) for s in some if math.isfinite(max(s))]
        assert expected_best(rewards, n) == pytest.approx(np.mean(best), rel=1e-12)


def test_the_expected_best_is_unbiased_for_uniform_numbers():
    found = np.array([expected_best(row, 10) for row in draws(0).random((2000, 40))])
    assert abs(found.mean() - 10 / 11) < 4 * found.std() / math.sqrt(len(found))


def test_many_samples_and_a_large_n_do_not_overflow():
    x = np.arange(1, 20_001) / 20_001  # the i-th of m uniform numbers is i / (m + 1) on average
    assert expected_best(x, 5000) == pytest.approx(5000 / 5001, rel=1e-9)


@pytest.mark.parametrize(("rewards", "n"), [([1.0, 2.0], 3), ([1.0, 2.0], 0), ([math.nan, math.nan], 1)])
def test_what_cannot_be_estimated_is_refused(rewards, n):
    with pytest.raises(InputError):
        expected_best(rewards, n)


def test_the_best_of_no_samples_is_refused_as_such():
    with pytest.raises(InputError, match=r"n=0: .* at least 1"):
        expected_best([1.0, 2.0], 0)


def coverage(hits):
    """Whether a share of hits could be at least so large, less four standard errors."""
    p = np.mean(hits)
    return p + 4 * math.sqrt(max(p * (1 - p), 1e-3) / len(hits))


@pytest.mark.parametrize(("law", "n", "truth"), [("uniform", 8, 8 / 9), ("exponential", 1, 1.0), ("uniform", 1, 0.5)])
def test_intervals_of_the_improvement_hold_the_truth(law, n, truth):
    hits = []
    for seed in range(300):
        x = getattr(draws(seed), law)(size=128)
        found = improvement(5.0, x, n, times=300, seed=seed)
        hits.append(found.low <= 5.0 - truth <= found.high)
    assert coverage(hits) > 0.9
    assert np.mean(hits) < 0.995


def test_the_bootstrap_has_the_spread_of_the_mean():
    x = draws(3).standard_normal(400)
    found = improvement(0.0, x, times=4000)
    half = 1.96 * x.std() / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.08)
    assert found.estimate == pytest.approx(-x.mean())


def test_strata_are_drawn_within():
    x = np.concatenate([draws(1).standard_normal(100), 50 + draws(2).standard_normal(100)])
    labels = np.repeat([7, 3], 100)
    mixed = np.arange(200).reshape(2, 100).T.ravel()  # the order of the samples does not matter
    within = improvement(0.0, x[mixed], strata=labels[mixed], times=2000)
    whole = improvement(0.0, x[mixed], times=2000)
    spread = math.sqrt((x[:100].var() + x[100:].var()) / 400)
    assert within.high - within.low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert whole.high - whole.low > 10 * (within.high - within.low)


def test_no_interval_without_eight_samples_for_each_of_the_best():
    found = improvement(1.0, draws(0).random(79), 10)
    assert not found.known
    assert "80 prior samples, not 79" in found.how
    assert improvement(1.0, draws(0).random(80), 10).known
    assert not improvement(1.0, draws(0).random(15)).known
    assert improvement(1.0, draws(0).random(16)).known


T = {2: 12.70620474, 3: 4.30265273, 4: 3.18244631, 10: 2.26215716, 15: 2.14478669}  # seeds to the 0.975 point of t


@pytest.mark.parametrize("n", [3, 4, 10, 15])
def test_a_few_seeds_get_students_t(n):
    x = draws(n).standard_normal(n)
    found = interval(x)
    half = T[n] * x.std(ddof=1) / math.sqrt(n)
    assert (found.estimate, found.low, found.high) == pytest.approx((x.mean(), x.mean() - half, x.mean() + half))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_seeds_get_no_interval(n):
    found = interval([1.0] * n)
    assert not found.known
    assert "at least 3" in found.how
    assert ("1 seed says nothing" if n == 1 else f"{n} seeds say nothing") in found.how


def test_many_seeds_get_the_middle_and_its_bootstrap():
    hits = []
    for seed in range(300):
        found = interval(draws(seed).standard_normal(20), times=300, seed=seed)
        assert "interquartile" in found.how
        hits.append(found.low <= 0 <= found.high)
    assert coverage(hits) > 0.9
    assert np.mean(hits) < 0.995


def test_the_middle_leaves_out_a_quarter_at_either_end():
    assert middle([-1e9, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1e9]) == 3.5
    assert interval([2.0] * 20).low == interval([2.0] * 20).high == 2.0


def test_pairs_are_of_the_same_seed():
    noise = draws(0).standard_normal(8) * 100
    found = paired({s: noise[s] + 1 + 0.01 * s for s in range(8)}, {s: noise[s] for s in range(7, -1, -1)} | {99: 0.0})
    assert found.n == 8
    assert found.estimate == pytest.approx(1.035)
    assert found.high - found.low < 0.1


def test_wilsons_interval_solves_its_equation():
    for k, n in ((2, 8), (0, 5), (5, 5), (30, 100)):
        found = share(k, n)
        for end in (found.low, found.high):
            gap = (k / n - end) ** 2 - 1.959964**2 * end * (1 - end) / n
            assert abs(gap) < 1e-6
        assert 0 <= found.low <= found.high <= 1
    assert not share(1, 2).known
    with pytest.raises(InputError):
        share(3, 2)
