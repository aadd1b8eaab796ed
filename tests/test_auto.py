"""Auto: what is picked for what was seen."""

import time

import numpy as np
import pytest
import torch

import elites as el

START = el.Budget(steps=1)


def gaussian(d):
    return el.priors.normal(torch.zeros(d), torch.eye(d))


def picked(reward, d=64, steps=4, method=el.Auto(), budget=START, on=()):  # noqa: B008 (frozen)
    target = el.Target(gaussian(d), reward, walk=el.Plain(steps=steps), batch=8, on_error=el.Worst(limit=1))
    return el.run(method, target, budget, seed=3, probe=None, on=on)


def slope(x):
    return x.float().mean(1)


def of_numpy(x):
    return np.asarray(x.detach()).mean(1)


def rounded(x):
    return x.float().mean(1).mul(50).round()


class Noisy:
    """Another number at each call."""

    def __init__(self):
        self.own = torch.Generator().manual_seed(1)

    def __call__(self, x):
        return x.float().mean(1) + torch.randn(len(x), generator=self.own)


def slow(x):
    time.sleep(0.02 * len(x))
    return of_numpy(x)


@pytest.mark.parametrize(
    ("name", "reward", "changes"),
    [
        ("gradient", slope, {}),
        ("plain", slope, {"d": 8}),
        ("plain", slope, {"method": el.Auto(gradients=False)}),
        ("plain", of_numpy, {}),
        ("plain", rounded, {}),
        ("gradient", Noisy(), {}),
        ("noisy", Noisy(), {"method": el.Auto(gradients=False)}),
        ("noisy", Noisy(), {"d": 8}),
        ("long walk", of_numpy, {"steps": 50}),
        ("plain", slow, {"steps": 50}),
        ("gradient", slope, {"steps": 50}),
    ],
)
def test_what_is_seen_decides(name, reward, changes):
    result = picked(reward, **changes)
    assert result.state.picked == name
    assert name in el.Auto().why(result.state)
    assert result.history[0]["auto"] == ["gradient", "noisy", "long walk", "plain"].index(name) + 1


def test_the_look_is_the_first_population_of_what_goes_on():
    """Without a gradient the run is that of Elites, which pays for the look with one walk."""
    steps = el.Budget(steps=6)
    ours, plain = picked(of_numpy, budget=steps), picked(of_numpy, method=el.Elites(), budget=steps)
    assert torch.equal(ours.best.z, plain.best.z)
    assert ours.meter.nfe == plain.meter.nfe + 4
    assert ours.meter.rewards == plain.meter.rewards + 3


def test_the_look_is_the_first_step_of_the_ascent_that_goes_on():
    """With a gradient the run is that of the ascent, which pays for the look with one walk there and back."""
    steps = el.Budget(steps=6)
    ours, ascent = picked(slope, budget=steps), picked(slope, method=el.NoiseAscent(), budget=steps)
    assert torch.equal(ours.best.z, ascent.best.z)
    assert ours.meter.nfe == ascent.meter.nfe + 8
    assert ours.meter.rewards == ascent.meter.rewards + 1
    assert ours.meter.grads == ascent.meter.grads + 1


def test_a_reward_that_breaks_under_gradients_is_not_a_failure():
    result = picked(lambda x: torch.tensor(x.numpy().mean(1)), budget=el.Budget(steps=3))
    assert result.state.picked == "plain"
    assert not result.failures
    assert result.meter.failures == 0


def test_a_reward_that_always_fails_is_searched_without_gradients():
    result = picked(lambda x: torch.full((len(x),), torch.nan), budget=el.Budget(steps=3))
    assert result.state.picked == "plain"
    assert len(result.failures) == result.meter.failures == 24


def test_it_finds_the_top_of_a_linear_reward_sooner_than_without_gradients():
    few = el.Budget(nfe=1000)
    assert float(picked(slope, budget=few).best.reward) > float(picked(of_numpy, budget=few).best.reward)


def test_it_is_told_how_many_candidates():
    with pytest.raises(el.InputError, match="at least 4"):
        el.Auto(population=3)


@pytest.mark.parametrize(("gradients", "reason"), [(True, "no gradient to follow"), (False, "not to be used")])
def test_the_reason_is_true(gradients, reason):
    method = el.Auto(gradients=gradients)
    assert reason in method.why(picked(of_numpy, method=method).state)
