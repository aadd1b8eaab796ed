"""Resampling has no bias, whatever the scheme and however uneven the weights."""

import pytest
import torch
from helpers import FLOAT64, normal
from hypothesis import given
from hypothesis import strategies as st

from elites import InputError, Stream
from elites.resample import Multinomial, Resample, Residual, Stratified, Systematic, ess, normalised

INF = torch.inf
N = 8
SCHEMES = [Systematic(), Stratified(), Residual(), Multinomial()]
LOG_WEIGHTS = {
    "equal": torch.zeros(N, **FLOAT64),
    "uneven": normal(N, seed=2),
    "very uneven": 2 * normal(N, seed=3),
    "one has it all": torch.tensor([-INF, -INF, -INF, 0.0, -INF, -INF, -INF, -INF], **FLOAT64),
    "none at the ends": torch.tensor([-INF, 0.3, 0.0, -INF, -1.0, 2.0, -INF, -INF], **FLOAT64),
    "whole numbers of children": torch.tensor([4.0, 2, 1, 1, 0, 0, 0, 0], **FLOAT64).log(),
    "next to nothing": torch.tensor([0.0, -700, -30, 0, -40, -745, -25, 0], **FLOAT64),
}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
every_weight = pytest.mark.parametrize("logw", LOG_WEIGHTS.values(), ids=LOG_WEIGHTS)
log_weights = st.lists(st.one_of(st.floats(-60, 60), st.just(-INF)), min_size=1, max_size=20)
log_weights = log_weights.map(lambda v: torch.tensor(v, **FLOAT64))
seeds = st.integers(0, 2**40)


def uniform(seed, n):
    return Stream(seed).uniform([0], (n,))[0]


def counts(ancestors, n):
    return torch.bincount(ancestors, minlength=n)


def numbers(scheme, weights, draws=2000):
    """Numbers of children of many resamplings `(draws, N)`."""
    return torch.stack([counts(scheme(weights, u), N) for u in Stream(0).uniform(range(draws), (N,))]).double()


@every_scheme
@every_weight
def test_a_particle_has_n_w_children_on_average(scheme, logw):
    weights = normalised(logw)
    drawn = numbers(scheme, weights)
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - N * weights).abs() <= 4 * error + 1e-9).all()


@every_scheme
@given(log_weights, seeds)
def test_ancestors_are_sorted_in_range_and_of_some_weight(scheme, logw, seed):
    n, weights = len(logw), normalised(logw)
    ancestors = scheme(weights, uniform(seed, n))
    assert (ancestors.dtype, ancestors.shape) == (torch.int64, (n,))
    assert (ancestors.diff() >= 0).all()
    assert int(ancestors[0]) >= 0
    assert int(ancestors[-1]) < n
    assert (weights[ancestors] > 0).all()


@every_scheme
@pytest.mark.parametrize("u", [0.0, 1 - 2**-24])  # the ends of float32 uniform numbers
@every_weight
def test_the_ends_of_the_uniform_numbers_meet_no_particle_without_weight(scheme, u, logw):
    weights = normalised(logw)
    assert (weights[scheme(weights, torch.full((N,), u))] > 0).all()


@given(log_weights, seeds)
def test_systematic_children_are_n_w_rounded_up_or_down(logw, seed):
    n, weights = len(logw), normalised(logw)
    number = counts(Systematic()(weights, uniform(seed, n)), n)
    assert (number >= (n * weights - 1e-9).floor()).all()
    assert (number <= (n * weights + 1e-9).ceil()).all()


@given(log_weights, seeds)
def test_stratified_children_are_within_two_of_n_w_and_sums_of_them_within_one(logw, seed):
    n, weights = len(logw), normalised(logw)
    number = counts(Stratified()(weights, uniform(seed, n)), n)
    assert ((number - n * weights).abs() < 2 + 1e-9).all()
    assert ((number.cumsum(0) - n * weights.cumsum(0)).abs() < 1 + 1e-9).all()


@given(log_weights, seeds)
def test_residual_children_are_n_w_rounded_down_or_more(logw, seed):
    n, weights = len(logw), normalised(logw)
    sure = (n * weights - 1e-9).floor()
    number = counts(Residual()(weights, uniform(seed, n)), n)
    assert (number >= sure).all()
    assert number.sum() == n


@every_scheme
def test_numbers_of_children_vary_most_where_the_draws_are_independent(scheme):
    """Multinomial numbers have the variance n w (1 - w); those of the other schemes have less."""
    weights = normalised(LOG_WEIGHTS["uneven"])
    square = (numbers(scheme, weights) - N * weights).square()
    error, want = square.std(0) / len(square) ** 0.5, N * weights * (1 - weights)
    if scheme == Multinomial():
        assert ((square.mean(0) - want).abs() < 4 * error).all()
    else:
        assert square.sum(1).mean() < 0.8 * want.sum()


@every_scheme
@given(st.lists(st.integers(-60, 60), min_size=1, max_size=20), st.integers(-(2**40), 2**40), seeds)
def test_a_shift_of_all_log_weights_changes_nothing(scheme, logw, shift, seed):
    logw = torch.tensor(logw, **FLOAT64)  # whole numbers, whose sums have no rounding
    n, u = len(logw), uniform(seed, len(logw))
    assert torch.equal(normalised(logw + shift), normalised(logw))
    assert ess(logw + shift) == ess(logw)
    assert torch.equal(scheme(normalised(logw + shift), u), scheme(normalised(logw), u))
    both = [Resample(scheme, below=0.9)(v, u) for v in (logw, logw + shift)]
    assert (both[0] is None) == (both[1] is None) == (ess(logw) >= 0.9 * n)


@every_scheme
@pytest.mark.parametrize("size", [800.0, 1e30, 1.7e308])
def test_huge_log_weights_do_not_overflow(scheme, size):
    logw = torch.tensor([-size, size, 0.0, size], **FLOAT64)
    assert normalised(logw).tolist() == [0, 0.5, 0, 0.5]
    assert ess(logw) == 2
    assert normalised(-logw).tolist() == [1, 0, 0, 0]
    assert Resample(scheme)(-logw, uniform(0, 4)).tolist() == [0, 0, 0, 0]


def test_float32_log_weights_are_normalised_in_float64():
    weights = normalised(torch.tensor([0.0, -30.0]))
    assert weights.dtype == torch.float64
    assert float(weights[1]) == pytest.approx(9.3576e-14, rel=1e-4)


@every_scheme
def test_where_nothing_has_weight_all_have_the_same_and_nothing_is_resampled(scheme):
    logw = torch.full((5,), -INF)
    assert normalised(logw).tolist() == [0.2] * 5
    assert ess(logw) == pytest.approx(5)
    assert Resample(scheme, below=1.0)(logw, uniform(0, 5)) is None


@given(log_weights)
def test_an_effective_sample_size_is_between_one_and_n(logw):
    n = len(logw)
    assert 1 - 1e-12 <= ess(logw) <= n + 1e-9


@pytest.mark.parametrize("k", [1, 3, 8])
def test_k_equal_weights_are_an_effective_sample_size_of_k(k):
    logw = torch.where(torch.arange(8) < k, 2.0, -INF)
    assert ess(logw) == pytest.approx(k, rel=1e-14)


def test_it_resamples_below_the_share_and_not_at_it():
    half, less = (torch.where(torch.arange(8) < k, 2.0, -INF) for k in (4, 3))
    assert Resample()(half, uniform(0, 8)) is None
    assert set(Resample()(less, uniform(0, 8)).tolist()) == {0, 1, 2}
    assert Resample(below=0.0)(torch.where(torch.arange(8) < 1, 0.0, -INF), uniform(0, 8)) is None
    assert Resample(below=1.0)(torch.tensor([0.0, 0, 0, 1e-3]), uniform(0, 4)) is not None


@pytest.mark.parametrize("n", [1, 2, 3, 10, 16, 49, 100, 256, 1000])
def test_equal_weights_are_never_resampled(n):
    """Which would only lose particles; also where rounding makes their effective sample size a little less than n."""
    for level in (0.0, 0.1, -7.3, 1e5 / 3):
        assert Resample(Multinomial(), below=1.0)(torch.full((n,), level, **FLOAT64), uniform(0, n)) is None


@pytest.mark.parametrize(
    ("resample", "levels", "want"),
    [
        (Resample(), 4, [0, 1, 2, 3]),
        (Resample(every=3), 8, [0, 3, 6]),
        (Resample(window=(0.2, 0.6)), 10, [2, 3, 4, 5, 6]),
        (Resample(window=(0.2, 1.0), every=5), 30, [10, 15, 20, 25]),
        (Resample(window=(0.5, 0.5)), 4, [2]),
        (Resample(window=(0.95, 1.0)), 10, []),
    ],
    ids=str,
)
def test_a_window_and_a_spacing_say_where_on_a_walk_it_may_happen(resample, levels, want):
    assert [i for i in range(levels) if resample.allowed(i, levels)] == want


@pytest.mark.parametrize(
    "options",
    [
        {"below": -0.1},
        {"below": 1.1},
        {"below": float("nan")},
        {"window": (0.6, 0.2)},
        {"window": (-0.1, 0.5)},
        {"window": (0.0, 1.5)},
        {"window": (0.0, float("nan"))},
        {"every": 0},
    ],
    ids=str,
)
def test_options_out_of_range_are_a_sentence(options):
    with pytest.raises(InputError, match="give"):
        Resample(**options)
