"""The door to a model: gradients, memory that runs out, and what is refused."""

import pytest
import torch
from helpers import FLOAT64, PRIORS, assert_same, bell, hill, humps, normal, on, on_humps

from elites import DDIM, Budget, Elites, Flow, InputError, Plain, RandomSearch, Retry, RewardError, Stream, Target, run
from elites.priors import GaussianPrior
from elites.schedule import X0

KEY = Stream(0)


class Small:
    """A network, or a decoder, on a device with room for `limit` rows."""

    def __init__(self, f, limit):
        self.f, self.limit, self.sizes = f, limit, []

    def __call__(self, x, *rest):
        if len(x) > self.limit:
            raise torch.OutOfMemoryError
        self.sizes.append(len(x))
        return self.f(x, *rest)


def small(limit, decode_limit=99):
    law = humps(schedule=Flow(), kernel=DDIM(0.5))
    net = Small(lambda x, t: law.denoise(x, t[0]), limit)
    decoder = Small(lambda x0: x0, decode_limit)
    return GaussianPrior(net, (6,), Flow(), X0(), law.kernel, decoder=decoder), net, decoder


@pytest.mark.filterwarnings("ignore:Out of memory")
@pytest.mark.parametrize(("limit", "batch", "left"), [(5, 16, 4), (1, 16, 1), (7, 7, 7), (3, 12, 3)])
def test_where_memory_runs_out_the_batch_is_halved_and_the_values_stay(limit, batch, left):
    prior, net, _ = small(limit)
    x, t = KEY.normal(range(20), (6,)), torch.tensor(0.5)
    target = on(prior, batch=batch)
    if left < batch:
        with pytest.warns(UserWarning, match=f"Out of memory: batch is now {left}"):
            got = target.denoise(x, t)
    else:
        got = target.denoise(x, t)
    assert torch.equal(got, humps(schedule=Flow()).denoise(x, t.float()))
    assert target.batch == left
    assert set(net.sizes) == {left}
    assert target.meter.nfe == 20


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_where_the_decoder_runs_out_of_memory_its_batch_alone_is_halved():
    prior, _, decoder = small(99, 3)
    target = on(prior, batch=16)
    with pytest.warns(UserWarning, match="decode_batch is now 2"):
        got = target.score(KEY.normal(range(9), (6,)), KEY, range(9))
    assert torch.equal(got, hill(KEY.normal(range(9), (6,))))
    assert (target.batch, target.decode_batch, set(decoder.sizes)) == (16, 2, {2})
    assert target.meter.rewards == 9


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_a_run_that_runs_out_of_memory_equals_one_that_does_not():
    tight = run(Elites(9), on(small(5, 3)[0], batch=16), Budget(steps=3))
    assert_same(tight, run(Elites(9), on(small(99)[0], batch=16), Budget(steps=3)))


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_where_one_row_does_not_fit_the_error_is_passed_on():
    for prior in (small(0)[0], small(9, 0)[0]):
        with pytest.raises(torch.OutOfMemoryError):
            run(RandomSearch(4), on(prior), Budget(steps=1))


def posterior(prior, t):
    """Jacobian of the clean guess of a normal law."""
    alpha, sigma = prior.schedule(t)
    cov = prior.basis @ torch.diag(prior.variances[0]) @ prior.basis.T
    return alpha * cov @ torch.linalg.inv(alpha**2 * cov + sigma**2 * torch.eye(len(cov), **FLOAT64))


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_gradient_through_the_clean_guess_is_the_closed_form(batch):
    prior, wanted = bell(), normal(6, seed=7)
    target = on(prior, reward=lambda x: -(x - wanted).square().sum(1) / 2, batch=batch)
    t, x = prior.grid(10)[4], normal(8, 6)
    values, extra, grads = target.grad(
        lambda leaf: ((target.score(target.denoise(leaf, t), KEY, range(len(leaf)))), len(leaf)), x
    )
    residual = prior.denoise(x, t) - wanted
    assert torch.allclose(values.double(), -residual.square().sum(1) / 2, rtol=1e-5)
    assert torch.allclose(grads, -residual @ posterior(prior, t), rtol=1e-5, atol=1e-6)
    assert sum(extra) == 8
    assert (target.meter.nfe, target.meter.rewards, target.meter.grads) == (8, 8, 8)
    assert not x.requires_grad


@pytest.mark.parametrize("kernel", [DDIM(), DDIM(1.0)])
def test_the_gradient_through_a_walk_is_that_of_finite_differences(kernel):
    prior = bell(kernel=kernel)
    target = on(prior, reward=lambda x: x[:, 0] * x[:, 1] - x[:, 2].square(), batch=2, steps=6)
    z = normal(3, 6)

    def value(z):
        ids = range(len(z))
        return target.score(target.generate(z, KEY, ids), KEY, ids)

    target.batch = 3  # all in one chunk, so that each candidate has the noise of its number
    _, _, grads = target.grad(lambda leaf: (value(leaf), None), z)
    for i in range(6):
        shift = torch.zeros(6, **FLOAT64)
        shift[i] = 0.5
        with torch.no_grad():  # a quadratic of an affine map: central differences are exact, but for float32 rewards
            slope = (value(z + shift).double() - value(z - shift).double()) / 1.0
        assert torch.allclose(slope, grads[:, i], rtol=1e-4, atol=1e-5)


def test_a_reward_without_gradient_is_said_to_have_none():
    def climb(target):
        target.grad(lambda x: (target.score(x, KEY, range(2)), None), torch.zeros(2, 6))

    for reward in (lambda x: hill(x).detach(), lambda x: hill(x).tolist(), lambda x: hill(x.detach().numpy())):
        with pytest.raises(RewardError, match="no gradient"):
            climb(on_humps(reward=reward))


def test_a_list_of_tensors_keeps_its_gradients():
    target = on_humps(reward=lambda x: [v[0] * v[1] for v in x])
    x = normal(4, 6)
    _, _, grads = target.grad(lambda leaf: (target.score(leaf, KEY, range(4)), None), x)
    assert torch.allclose(grads[:, :2], x[:, [1, 0]], rtol=1e-6)
    assert (grads[:, 2:] == 0).all()


def test_a_failed_object_has_no_gradient_and_leaves_the_others_theirs():
    def reward(x):
        return [OSError("gone") if v[0].item() > 0 else v[0] ** 2 for v in x]

    target, x = on_humps(reward=reward), normal(6, 6)
    values, _, grads = target.grad(lambda leaf: (target.score(leaf, KEY, range(6)), None), x)
    assert torch.equal(values == -torch.inf, x[:, 0] > 0)
    assert torch.allclose(grads[:, 0], torch.where(x[:, 0] > 0, 0.0, 2 * x[:, 0]), rtol=1e-6)


def test_objects_share_no_memory_with_latents():
    target = on_humps(batch=4)
    for n in (1, 4):
        x = normal(n, 6)
        objects = target.decode(x)
        objects.zero_()
        assert (x != 0).all()


def test_a_target_with_another_walk_shares_the_meter():
    target = on_humps()
    other = target.with_walk(Plain(steps=9))
    other.evaluate(KEY.normal(range(2), (6,)), KEY, range(2))
    assert (target.meter.nfe, target.meter.rewards) == (18, 2)
    assert other.failures is target.failures
    assert (target.cost.nfe, other.cost.nfe) == (4, 9)


def test_the_cost_of_a_candidate_is_its_walk_and_its_tries():
    assert on_humps(on_error=Retry(3), steps=7).cost.rewards == 4
    assert on(PRIORS["guided"], steps=7).cost.nfe == 14
    assert on(PRIORS["one step"], steps=7).cost.nfe == 1


def test_what_cannot_be_a_target_is_refused():
    with pytest.raises(InputError, match="give a callable"):
        Target(humps(), 3.0)
    for sizes in ({"batch": 0}, {"batch": -1}, {"decode_batch": 0}):
        with pytest.raises(InputError, match="batch sizes start at 1"):
            Target(humps(), hill, **sizes)


def test_a_target_is_written_the_same_by_every_process():
    texts = {repr(Target(prior, hill, walk=Plain(steps=3))) for prior in (humps(), humps())}
    assert len(texts) == 1
    assert "hill" in texts.pop()
