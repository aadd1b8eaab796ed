"""The look of Auto: what it takes, and what it makes of rewards and priors that refuse."""

import warnings

import pytest
import torch
from helpers import humps, on, plane

import elites as el
from elites import Auto, Budget, InputError, run


class Refuses:
    """A prior whose network goes on where torch cannot follow."""

    def __init__(self, prior, error):
        self.prior, self.error = prior, error

    def __getattr__(self, name):
        return getattr(self.prior, name)

    def denoise(self, x, t, z=None):
        if x.requires_grad:
            raise self.error
        return self.prior.denoise(x, t, z)


def first(x):
    return x[:, 0].float()


@pytest.mark.filterwarnings("ignore:Out of memory")
@pytest.mark.parametrize("error", [InputError("no gradients"), RuntimeError("numpy"), torch.OutOfMemoryError("full")])
def test_a_prior_that_refuses_gradients_is_searched_without(error):
    target = on(Refuses(plane(), error), reward=first)
    result = run(Auto(), target, Budget(steps=3), probe=None)
    assert result.state.picked == "plain"
    assert target.batch == 16


def test_a_long_walk_that_has_no_shorter_one_is_searched_without_previews():
    target = el.Target(el.priors.OneStep(lambda z: z, (64,)), lambda z: z.numpy()[:, 0], walk=el.Plain(steps=50))
    assert run(Auto(), target, Budget(steps=3), probe=None).state.picked == "plain"


@pytest.mark.parametrize("good", [0, 1])
def test_a_look_at_failures_says_nothing_and_warns_of_nothing(good):
    def reward(x):
        return torch.where(torch.arange(len(x)) < good, x[:, 0].float(), torch.nan)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = run(Auto(), on(humps(), reward=reward), Budget(steps=1), probe=None)
    assert result.state.picked == "plain"
    assert result.meter.failures == len(result.failures) == 8 - good
