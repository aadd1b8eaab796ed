"""The laws of the design, by number; 6 is in the contract, and what can be read off the source in test_layers."""

import itertools
from dataclasses import fields, is_dataclass

import pytest
import torch
from helpers import PRIORS, Count, bell, bits, exact, hill, on, on_humps, on_plane, steps_of, tensors_of
from methods import METHODS

from elites import (
    CMA,
    Budget,
    Elites,
    Eps,
    InputError,
    Plain,
    Previews,
    Raise,
    RandomSearch,
    RewardError,
    Stream,
    Target,
    ZeroOrder,
    run,
)
from elites.priors import CFG, OneStep
from elites.types import Info, Meter

every_method = pytest.mark.parametrize(("method", "make"), [m[1:] for m in METHODS], ids=[m[0] for m in METHODS])
every_prior = pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
N = 4000


@every_prior
def test_law_01_shapes_are_batch_first_and_times_decrease(prior):
    stream, t = Stream(0), prior.grid(3)
    z = prior.noise(stream, range(5))
    x = prior.start(z)
    assert t.ndim == 1
    assert (t.diff() < 0).all()
    for now, then in itertools.pairwise(t):
        x0 = prior.denoise(x, now, z)
        assert x.shape == x0.shape == z.shape == (5, *prior.shape)
        assert x.dtype == x0.dtype == z.dtype == torch.float32
        x = prior.move(x, x0, now, then, z)
    assert len(prior.decode(x)) == 5
    rewards = on(prior, reward=lambda objects: [float(len(o)) for o in objects]).score(x, stream, range(5))
    assert (rewards.shape, rewards.dtype, rewards.device.type) == ((5,), torch.float32, "cpu")


def test_law_01_noise_of_another_shape_is_refused_before_the_network_is_called():
    count = Count()
    target = on_humps(count=count)
    for z, ids in ((torch.zeros(3, 7), range(3)), (torch.zeros(3, 6), range(4)), (torch.zeros(6), range(6))):
        with pytest.raises(InputError, match="The noise has shape"):
            target.generate(z, Stream(0), ids)
    assert count.sizes == []


def on_the_way(method):
    """Whether it acts while walks go on, or on the network."""
    return type(method).__module__.startswith(("elites.steer", "elites.train"))


@every_method
def test_law_02_the_best_is_the_highest_reward_ever_scored(method, make):
    seen = []

    def reward(x):
        seen.extend(hill(x).tolist())
        return hill(x)

    result = run(method, make(reward=reward), Budget(steps=6))
    if on_the_way(method):  # what it scored most of are guesses
        assert float(result.best.reward[0]) in seen
    else:
        assert float(result.best.reward[0]) == max(seen)
    assert result.samples.reward.tolist() == sorted(result.samples.reward.tolist(), reverse=True)


SEARCHES = [m for m in METHODS if isinstance(m[1], Elites | ZeroOrder) and "restarting" not in m[0]]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("method", "make"), [m[1:] for m in SEARCHES], ids=[m[0] for m in SEARCHES])
def test_law_02_searches_climb(method, make, sign):
    prior = PRIORS["plane" if make is on_plane else "gaussian"]
    target = on(prior, reward=lambda x: sign * x[:, 0])
    fresh = target.evaluate(prior.noise(Stream(1), range(400)), Stream(1), range(400)).reward
    last = run(method, target, Budget(steps=25)).history[-10:]
    climbed = sum(row["mean"] for row in last) / 10 - fresh.mean()
    assert climbed > 4 * fresh.std() / (10 * method.population) ** 0.5


@every_method
def test_law_05_a_state_is_a_dataclass_of_data(method, make):
    def data(value):
        if is_dataclass(value):
            return all(data(getattr(value, f.name)) for f in fields(value))
        if isinstance(value, list | tuple):
            return all(map(data, value))
        if isinstance(value, dict):
            return all(isinstance(k, str) and data(v) for k, v in value.items())
        if isinstance(value, torch.Tensor):
            return value.grad_fn is None and not value.requires_grad
        return value is None or isinstance(value, bool | int | float | str) or hasattr(value, "state_dict")

    for before, after, *_ in steps_of(method, make(), 4):
        assert is_dataclass(before)
        assert data(before)
        assert data(after)


@every_method
def test_law_05_a_step_leaves_its_argument_as_it_was_and_repeats(method, make):
    target = make()
    state = method.init(target, Stream(0))
    for step in range(1, 5):
        told = bits(state)
        once, again = (method.step(target, state, Stream(0, step=step))[0] for _ in range(2))
        assert bits(state) == told
        assert bits(once) == bits(again)
        state = once


@every_method
@pytest.mark.parametrize("d", [1, 6, 60])
def test_law_05_a_long_run_stays_finite(method, make, d):
    target = on(OneStep(lambda z: z, (d,)), reward=lambda x: torch.sin(5 * x[:, 0]) - x[:, -1], steps=1)
    if d == 1 and isinstance(method, CMA | ZeroOrder):
        with pytest.raises(InputError, match="one number"):
            method.init(target, Stream(0))
        return
    if on_the_way(method):
        with pytest.raises(InputError, match=r"without noise|no noise schedule"):
            method.init(target, Stream(0))
        return
    if isinstance(method, Previews):
        with pytest.raises(InputError, match="walk of 1"):
            method.init(target, Stream(0))
        return
    for _, state, info, _ in steps_of(method, target, 150):
        assert torch.isfinite(info.rewards).all()
        assert all(torch.isfinite(v).all() for v in tensors_of(state))


def test_law_07_a_guided_pair_counts_two_and_a_backward_pass_counts_as_a_gradient():
    count, target = Count(), on(CFG(PRIORS["mixture"], PRIORS["gaussian"], 2.0), steps=3)
    result = run(RandomSearch(5), target, Budget(steps=2), probe=None)
    assert result.meter.nfe == 2 * 5 * 2 * 3
    target = on_humps(count=count, batch=4)
    t = target.prior.grid(4)[1]
    target.grad(lambda x: (target.score(target.denoise(x, t), Stream(0), range(len(x))), None), torch.zeros(6, 6))
    assert (target.meter.nfe, target.meter.rewards, target.meter.grads) == (6, 6, 6)


def test_law_09_the_network_the_decoder_and_the_reward_run_without_gradients():
    modes = []

    def spy(f):
        def spied(*args):
            modes.append(torch.is_grad_enabled())
            return f(*args)

        return spied

    prior = exact(bell(), Eps(), decoder=spy(lambda x0: x0))
    object.__setattr__(prior, "net", spy(prior.net))
    target, walk = Target(prior, spy(hill), walk=Plain(steps=3)), Plain(steps=3, n=2)
    with torch.enable_grad():
        run(Elites(8), target, Budget(steps=2))
        run(walk, target)
        target.evaluate(torch.zeros(2, 6), Stream(0), range(2))
        target.generate(torch.zeros(2, 6, requires_grad=True), Stream(0), range(2))
    assert modes
    assert not any(modes)
    modes.clear()
    target.grad(
        lambda z: (target.score(target.generate(z, Stream(0), range(2)), Stream(0), range(2)), 0), torch.zeros(2, 6)
    )
    assert modes == [True] * 5  # three levels, a decoder, a reward


def test_law_09_a_method_steps_without_gradients():
    class Spy:
        """A method that does nothing but look."""

        def init(self, target, stream):
            return []

        def step(self, target, state, stream):
            return [*state, torch.is_grad_enabled()], Info()

        def done(self, state):
            return False

        def cost(self, target, state):
            return Meter()

    with torch.enable_grad():
        assert run(Spy(), on_humps(), Budget(steps=3), probe=None).state == [False] * 3


@pytest.mark.parametrize("before", [True, False])
def test_law_09_a_reward_that_sets_the_mode_or_raises_leaves_it_as_it_was(before):
    def sets(x):
        torch.set_grad_enabled(not torch.is_grad_enabled())
        return hill(x)

    def raises(x):
        torch.set_grad_enabled(True)
        raise OSError

    with torch.set_grad_enabled(before):
        for reward in (sets, raises):
            target = on_humps(reward=reward)
            target.score(torch.zeros(3, 6), Stream(0), range(3))
            assert torch.is_grad_enabled() is before
        with pytest.raises(RewardError):
            on_humps(reward=raises, on_error=Raise()).score(torch.zeros(3, 6), Stream(0), range(3))
        with pytest.raises(RewardError):
            run(RandomSearch(4), on_humps(reward=raises, on_error=Raise()), Budget(steps=2), probe=None)
        target = on_humps(reward=lambda x: hill(x.detach()))
        with pytest.raises(RewardError, match="no gradient"):
            target.grad(lambda x: (target.score(x, Stream(0), range(3)), None), torch.zeros(3, 6))
        assert torch.is_grad_enabled() is before
        assert not target.score(torch.zeros(3, 6), Stream(0), range(3)).requires_grad


@every_prior
def test_law_11_results_are_latents(prior):
    target = on(prior, reward=lambda objects: [float(len(o)) - 0.1 * i for i, o in enumerate(objects)])
    result = run(RandomSearch(4), target, Budget(steps=2))
    assert result.best.x.shape == (1, *prior.shape)
    assert result.samples.x.shape[1:] == result.samples.z.shape[1:] == torch.Size(prior.shape)
    assert result.best.x.is_floating_point()
