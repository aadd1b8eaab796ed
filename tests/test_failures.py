"""Law 8: a failed reward is not a number."""

import re

import numpy as np
import pytest
import torch
from helpers import half_nan, hill, on_humps, steps_of

from elites import (
    Budget,
    Elites,
    Raise,
    RandomSearch,
    Retry,
    RewardError,
    Stream,
    Target,
    Worst,
    ZeroOrder,
    per_sample,
    run,
)

IDS = range(8)


def raising(x):
    raise KeyError("no such key")


BAD = {  # what a reward of one object returns, and what is said of it
    "exception": (raising, "KeyError: 'no such key'"),
    "NaN": (lambda x: torch.tensor([torch.nan]), "it is NaN"),
    "plus infinity": (lambda x: torch.tensor([torch.inf]), "it is infinite"),
    "minus infinity": (lambda x: np.array([-np.inf]), "it is infinite"),
    "too large": (lambda x: [1e300], "it is infinite"),
    "far too large": (lambda x: [10**400], "OverflowError"),
    "nothing": (lambda x: None, "it returned nothing"),
    "a string": (lambda x: "7", "it returned str"),
    "a list of strings": (lambda x: ["7"], "it returned a str, no number"),
    "a list of nothing": (lambda x: [None], "it returned nothing"),
    "a dict": (lambda x: {"reward": 1.0}, "it returned dict"),
    "complex": (lambda x: torch.tensor([1j]), "complex"),
    "a complex number": (lambda x: 1j, "complex"),
    "a list of complex": (lambda x: [1j], "complex"),
    "wrong count": (lambda x: [1.0, 2.0], "it returned 2 numbers for 1 objects"),
    "no numbers": (lambda x: [], "it returned 0 numbers for 1 objects"),
    "wrong shape": (lambda x: torch.zeros(1, 2), r"it returned shape \(1, 2\) for 1 objects"),
    "a list of wrong shapes": (lambda x: [torch.zeros(2)], r"it returned shape \(2,\)"),
    "an exception in place of a number": (lambda x: [OSError("gone")], "OSError: gone"),
    "a generator": (lambda x: (v for v in x), "it returned generator"),
}


@pytest.mark.parametrize("name", BAD)
def test_law_08_what_is_no_number_is_a_failure_with_its_key_and_reason(name):
    bad, phrase = BAD[name]
    failed = []

    def reward(x):
        if float(x[0, 1]) <= 0:
            return hill(x)
        failed.append(x[0].tolist())
        return bad(x)

    target = on_humps(reward=reward, decode_batch=1)
    result = run(RandomSearch(8), target, Budget(steps=4), seed=2, probe=None)
    assert 4 < len(failed) < 28
    assert result.meter.failures == len(result.failures) == len(failed)
    noises = [target.prior.noise(Stream(2), [(f.step, f.candidate)]) for f in result.failures]
    assert target.generate(torch.cat(noises), Stream(2), range(len(noises))).tolist() == failed
    assert all(re.search(phrase, failure.reason) for failure in result.failures)
    assert (result.samples.x[:, 1] <= 0).all()
    assert torch.isfinite(result.samples.reward).all()


GOOD = {
    "float64": lambda x: hill(x).double(),
    "a column": lambda x: hill(x)[:, None],
    "numpy": lambda x: hill(x).numpy(),
    "a reversed view": lambda x: hill(x.flip(0)).numpy()[::-1],
    "a list": lambda x: hill(x).tolist(),
    "a tuple of tensors": lambda x: tuple(hill(x)),
    "numpy scalars": lambda x: list(hill(x).numpy()),
    "one-element arrays": lambda x: list(hill(x).numpy()[:, None]),
    "tensors that ask for gradients": lambda x: hill(x).requires_grad_(),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("decode_batch", [1, 3, 8])
def test_law_08_every_way_to_return_real_numbers_gives_the_same_rewards(name, decode_batch):
    x = Stream(0).normal(IDS, (6,))
    target = on_humps(reward=GOOD[name], decode_batch=decode_batch)
    got = target.score(x, Stream(0), IDS)
    assert torch.equal(got, hill(x))
    assert got.dtype == torch.float32
    assert target.failures == []


def test_law_08_whole_numbers_and_booleans_are_numbers():
    x = Stream(0).normal(IDS, (6,))
    for reward in (lambda x: (3 * x[:, 0]).long(), lambda x: x[:, 0] > 0, lambda x: [int(3 * v) for v in x[:, 0]]):
        got = on_humps(reward=reward).score(x, Stream(0), IDS)
        assert got.tolist() == [float(v) for v in reward(x)]


def test_law_08_a_batch_that_cannot_be_told_apart_fails_whole_and_no_other_does():
    x = torch.cat([torch.full((3, 6), 1.0), torch.full((5, 6), -1.0)])
    target = on_humps(reward=lambda x: None if x[0, 0] > 0 else x[:, 0], decode_batch=3)
    assert target.score(x, Stream(4, step=2), IDS).tolist() == [-torch.inf] * 3 + [-1.0] * 5
    assert [(f.step, f.candidate) for f in target.failures] == [(2, 0), (2, 1), (2, 2)]


def test_law_08_per_sample_fails_the_object_that_raised_and_no_other():
    @per_sample
    def reward(x):
        """Reward of one."""
        if x[1] > 0:
            raise ValueError(f"not {float(x[1]):.3f}")
        return x[0]

    assert reward.__name__ == "reward"
    x = Stream(0).normal(IDS, (6,))
    target = on_humps(reward=reward)
    want = torch.where(x[:, 1] > 0, -torch.inf, x[:, 0])
    assert torch.equal(target.score(x, Stream(0), IDS), want)
    assert [f.candidate for f in target.failures] == (x[:, 1] > 0).nonzero().flatten().tolist()
    assert [f.reason for f in target.failures] == [f"ValueError: not {v:.3f}" for v in x[:, 1] if v > 0]


@pytest.mark.parametrize(
    "odd", [None, "a", np.str_("a"), 1j, np.complex64(1j), [1.0, 2.0], {}, torch.zeros(2), object()]
)
def test_law_08_what_is_no_number_in_a_list_fails_its_object_alone(odd):
    for others in (lambda x: x[0], lambda x: float(x[0])):
        x = Stream(0).normal(IDS, (6,))
        target = on_humps(reward=lambda x, f=others: [odd if i == 3 else f(v) for i, v in enumerate(x)])
        got = target.score(x, Stream(0), IDS)
        assert [f.candidate for f in target.failures] == [3]
        assert torch.equal(got, torch.where(torch.arange(8) == 3, -torch.inf, x[:, 0]))


@pytest.mark.parametrize("method", [RandomSearch(8), Elites(8), Elites(8, keep=4), ZeroOrder(8)])
def test_law_08_a_method_sees_a_failure_as_worst_and_never_keeps_it(method):
    result = run(method, on_humps(reward=half_nan), Budget(steps=10))
    assert result.failures
    assert (result.samples.x[:, 1] <= 0).all()
    infos = [info for *_, info, _ in steps_of(method, on_humps(reward=half_nan), 10)]
    assert any((info.rewards == -torch.inf).any() for info in infos)
    assert all(not info.rewards.isnan().any() for info in infos)


@pytest.mark.parametrize("method", [RandomSearch(8), Elites(8), ZeroOrder(8)])
def test_law_08_where_all_fails_the_best_is_empty_and_the_run_says_so(method):
    result = run(method, on_humps(reward=raising), Budget(steps=3), probe=None)
    assert len(result.best) == len(result.samples) == 0
    assert result.best.x.shape == (0, 6)
    assert len(result.failures) == result.meter.rewards == 24
    assert "best" not in result.history[-1]


def test_law_08_raise_ends_the_run_with_the_reason():
    with pytest.raises(RewardError, match=r"^The reward failed on candidate 0 of step 1: KeyError: 'no such key'\.$"):
        run(RandomSearch(8), on_humps(reward=raising, on_error=Raise()), Budget(steps=3), probe=None)
    run(RandomSearch(8), on_humps(on_error=Raise()), Budget(steps=3))


class Moody:
    """A reward that fails an object the first `times` times that it is seen."""

    def __init__(self, times):
        self.times, self.seen, self.sizes = times, {}, []

    def __call__(self, objects):
        self.sizes.append(len(objects))
        out = []
        for obj in objects:
            tries = self.seen[float(obj[0])] = self.seen.get(float(obj[0]), 0) + 1
            odd = int(1000 * float(obj[0])) % 2
            out.append(RuntimeError(f"try {tries}") if odd and tries <= self.times else obj[0])
        return out


@pytest.mark.parametrize(("times", "again", "left"), [(1, 1, False), (2, 2, False), (2, 1, True), (1, 0, True)])
def test_law_08_retry_scores_what_failed_again_and_counts_each_try(times, again, left):
    x, reward = Stream(0).normal(IDS, (6,)), Moody(times)
    odd = [i for i, v in enumerate(x[:, 0].tolist()) if int(1000 * v) % 2]
    assert 0 < len(odd) < 8
    target = on_humps(reward=reward, on_error=Retry(again, limit=1))
    got = target.score(x, Stream(0), IDS)
    assert reward.sizes == [8] + [len(odd)] * min(times, again)
    assert target.meter.rewards == sum(reward.sizes)
    assert target.meter.failures == (len(odd) if left else 0)
    assert [f.reason for f in target.failures] == ([f"RuntimeError: try {again + 1}"] * len(odd) if left else [])
    assert torch.equal(got, torch.tensor([-torch.inf if left and i in odd else v for i, v in enumerate(x[:, 0])]))


def test_law_08_a_reward_that_changes_its_objects_changes_no_sample():
    def reward(x):
        out = hill(x)
        x.zero_()
        return out

    careless, clean = (run(Elites(8), on_humps(reward=r), Budget(steps=3)) for r in (reward, hill))
    assert torch.equal(careless.samples.x, clean.samples.x)
    assert torch.equal(careless.samples.reward, clean.samples.reward)


def test_law_08_worst_is_the_policy_unless_another_is_given():
    assert Target(on_humps().prior, hill).on_error == Worst()
    assert Worst().again == Raise().again == 0
