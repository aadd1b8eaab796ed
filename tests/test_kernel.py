"""The transition of first-order samplers keeps the marginals of any schedule."""

import itertools

import pytest
import torch
from helpers import FLOAT64, normal
from hypothesis import given
from hypothesis import strategies as st
from test_schedule import SCHEDULES, table

from elites import DDIM, Flow, InputError, VPCosine, VPLinear
from elites.kernel import Renoise

SCHEDULES = SCHEDULES | {"table": table()}
schedules = st.sampled_from(sorted(SCHEDULES)).map(SCHEDULES.get)
etas = st.floats(0, 1)


@given(schedules, etas, st.integers(2, 60), st.data())
def test_marginals_are_kept(schedule, eta, steps, data):
    times = schedule.times(steps)
    i = data.draw(st.integers(0, steps - 1))
    j = data.draw(st.integers(i + 1, steps))  # levels may be left out
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(times[i]), schedule(times[j])
    a, b, c = DDIM(eta)(schedule, times[i], times[j])
    assert a.dtype == b.dtype == c.dtype == torch.float64
    assert a.ndim == b.ndim == c.ndim == 0
    assert float(a * alpha_t + b) == pytest.approx(float(alpha_s), rel=1e-12)
    assert float(a**2 * sigma_t**2 + c**2) == pytest.approx(float(sigma_s**2), rel=1e-10, abs=1e-25)
    assert min(a, c) >= 0


@given(schedules, etas, st.integers(2, 60), st.data())
def test_the_clean_end_is_the_clean_guess(schedule, eta, steps, data):
    times = schedule.times(steps)
    i = data.draw(st.integers(0, steps - 1))
    assert [float(v) for v in DDIM(eta)(schedule, times[i], times[-1])] == [0, float(schedule(times[-1])[0]), 0]


@given(schedules, st.integers(2, 60), st.data())
def test_renoising_keeps_the_marginals_and_forgets_x(schedule, steps, data):
    times = schedule.times(steps)
    i = data.draw(st.integers(0, steps - 1))
    a, b, c = Renoise()(schedule, times[i], times[i + 1])
    alpha, sigma = schedule(times[i + 1])
    assert a.dtype == b.dtype == c.dtype == torch.float64
    assert a.ndim == b.ndim == c.ndim == 0
    assert (a, b, c) == (0, alpha, sigma)
    assert c >= DDIM(1.0)(schedule, times[i], times[i + 1])[2]
    assert Renoise().noisy


@given(st.floats(0.01, 1), st.floats(0, 0.99))
def test_without_noise_a_flow_moves_by_euler(t, ratio):
    t, s = torch.tensor(t, **FLOAT64), torch.tensor(t * ratio, **FLOAT64)
    a, b, c = DDIM()(Flow(), t, s)
    x, x0 = normal(4, 3), normal(4, 3, seed=1)
    euler = x + (s - t) * (x - x0) / t
    assert torch.allclose(a * x + b * x0, euler, rtol=1e-11, atol=1e-11)
    assert c == 0


@given(schedules, st.integers(2, 60), st.data())
def test_without_noise_the_guessed_noise_is_kept(schedule, steps, data):
    times = schedule.times(steps)
    i = data.draw(st.integers(0, steps - 2))
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(times[i]), schedule(times[i + 1])
    a, b, _ = DDIM()(schedule, times[i], times[i + 1])
    x0, eps = normal(2, 3), normal(2, 3, seed=1)
    assert torch.allclose(a * (alpha_t * x0 + sigma_t * eps) + b * x0, alpha_s * x0 + sigma_s * eps, rtol=1e-10)


@given(schedules, st.integers(2, 60), st.data())
def test_full_noise_is_the_posterior_of_ddpm(schedule, steps, data):
    times = schedule.times(steps)
    i = data.draw(st.integers(0, steps - 2))
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(times[i]), schedule(times[i + 1])
    # q(x_s | x_t, x0) by Bayes: the prior N(alpha_s x0, sigma_s^2), and x_t | x_s ~ N(r x_s, w)
    r = alpha_t / alpha_s
    w = sigma_t**2 - r**2 * sigma_s**2
    precision = 1 / sigma_s**2 + r**2 / w
    a, b, c = DDIM(1.0)(schedule, times[i], times[i + 1])
    assert float(c**2) == pytest.approx(float(1 / precision), rel=1e-8)
    assert float(a) == pytest.approx(float(r / w / precision), rel=1e-8, abs=1e-12)
    assert float(b) == pytest.approx(float(alpha_s / sigma_s**2 / precision), rel=1e-8)


def test_the_variance_of_ddpm_on_a_table_is_the_small_one():
    schedule = table()
    t = torch.tensor(500.0, **FLOAT64)
    alphas, beta = schedule.alphas_cumprod, 1e-4 + 500 * (0.02 - 1e-4) / 999
    want = beta * (1 - alphas[499]) / (1 - alphas[500])
    assert float(DDIM(1.0)(schedule, t, t - 1)[2] ** 2) == pytest.approx(float(want), rel=1e-9)


@pytest.mark.parametrize("start", [0.995, 1.0])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_no_coefficient_is_nan_where_alpha_is_almost_zero(start, eta):
    schedule = VPCosine(start)
    times = schedule.times(5)
    for t, s in itertools.pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        a, b, c = DDIM(eta)(schedule, t, s)
        assert float(a * alpha_t + b) == pytest.approx(float(alpha_s), rel=1e-12)
        assert float(a**2 * sigma_t**2 + c**2) == pytest.approx(float(sigma_s**2), rel=1e-12)


def test_neighbouring_times_give_no_nan():
    t = torch.tensor(0.7, **FLOAT64)
    for eta in (0.0, 1.0):
        for schedule in (VPLinear(), Flow(), VPCosine()):
            coefficients = torch.stack(DDIM(eta)(schedule, t, t))
            assert torch.allclose(coefficients, torch.tensor([1.0, 0.0, 0.0], **FLOAT64), atol=1e-7)


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_an_eta_that_would_break_the_marginals_is_refused(eta):
    with pytest.raises(InputError, match="between 0 and 1"):
        DDIM(eta)


def test_a_kernel_is_noisy_if_it_draws_noise():
    assert not DDIM().noisy
    assert DDIM(0.1).noisy
