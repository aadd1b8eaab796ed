"""Evolution: operators that keep the prior, and optima that are known."""

import math

import pytest
import torch

import elites as el
from elites import Evolve
from elites.search import Anywhere, Restart


def target(d, reward):
    return el.Target(el.priors.OneStep(lambda z: z, (d,)), reward, batch=64)


def neutral(method, d, generations, seed):
    """States of a population whose rewards know nothing of the noise."""
    state, root = method.init(target(d, lambda z: z), el.Stream(seed)), el.Stream(seed)
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, generations + 1):
        stream = root.at(step=step)
        rewards = torch.rand(method.population, generator=generator) + 2 * step  # children win, in random order
        z = method.ask(state, stream, range(method.population))
        state = method.tell(state, range(method.population), rewards, stream)
        yield z, state


@pytest.mark.parametrize("keep_mates", [(2, 2), (6, 6), (4, 1), (3, 8)])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_under_neutral_selection_children_are_draws_of_the_prior(keep_mates, rate):
    """Mean, variance, fourth moment and |z|^2/d of each child are those of N(0, I), in any generation."""
    d, n = 20_000, 40
    method = Evolve(8, *keep_mates, stride=0.3, rate=rate, guard=Anywhere(), restart=None)
    for i, (z, _) in enumerate(neutral(method, d, n, seed=6)):
        if i % 13 == 0 or i == n - 1:
            values = z.double()  # 8 children: 5 standard errors for the worst of them
            assert float(values.mean(1).abs().max()) < 5 / math.sqrt(d)
            assert float((values.square().mean(1) - 1).abs().max()) < 5 * math.sqrt(2 / d)
            assert float((values**4).mean(1).sub(3).abs().max()) < 5 * math.sqrt(96 / d)


def test_the_pedigree_gives_the_correlations_of_the_population():
    d = 20_000
    method = Evolve(8, stride=0.3, rate=0.0, guard=Anywhere(), restart=None)
    for _, state in neutral(method, d, 12, seed=7):
        seen = state.parents.double() @ state.parents.double().T / d
        assert float((seen - state.kin).abs().max()) < 5 * math.sqrt(2 / d)
    assert float(state.kin[0, 1]) > 0.5  # a common descent, so the correction is not idle


def test_in_few_dimensions_a_neutral_population_does_not_drift_to_the_cap():
    """No guard but the cap: over many runs |z|^2/d after 30 generations is that of the prior cut at its quantile."""
    last = [list(neutral(Evolve(restart=None), 4, 30, seed))[-1][0] for seed in range(150)]
    energy = torch.stack([z[0].square().mean() for z in last]).double()
    assert abs(float(energy.mean()) - 1) < 4 * math.sqrt(2 / 4 / len(energy))


@pytest.mark.parametrize("seed", [30, 31])
def test_it_finds_one_coordinate_among_1024_on_the_shell(seed):
    r = el.run(Evolve(), target(1024, lambda z: z[:, 0]), el.Budget(rewards=640), seed)
    assert float(r.best.reward) >= 10
    assert abs(r.history[-1]["shell"] - 1) < 1e-4


@pytest.mark.parametrize("seed", [30, 31, 32])
def test_it_finds_a_point_of_the_shell(seed):
    y = torch.randn(64, generator=torch.Generator().manual_seed(9))
    y = y * 8 / y.norm()
    to = target(64, lambda z: -(z - y).square().mean(1))
    assert float(el.run(Evolve(), to, el.Budget(rewards=2000), seed).best.reward) > -1e-3


def test_parents_are_never_scored_again_and_never_lost():
    seen = []

    def reward(z):
        seen.extend(map(tuple, z.tolist()))
        return z[:, 0]

    r = el.run(Evolve(4, restart=None), target(8, reward), el.Budget(rewards=200), seed=1, probe=None)
    assert len(set(seen)) == len(seen) == 200
    assert r.state.rewards.tolist() == sorted((z[0] for z in seen), reverse=True)[:6]


@pytest.mark.parametrize("tournament", [1, 2, 3])
def test_the_best_parent_wins_the_tournaments_it_is_in(tournament):
    """It is among t draws out of k with probability 1 - (1 - 1/k)^t."""
    n, k = 2000, 4
    method = Evolve(n, keep=k, mates=1, tournament=tournament, stride=1e-3, guard=Anywhere(), restart=None)
    state, root = method.init(target(16, lambda z: z), el.Stream(4)), el.Stream(4)
    state = method.tell(state, range(k), torch.arange(float(k)), root.at(step=1))
    z = method.ask(state, root.at(step=2), range(n))
    share = float(((z - state.parents[0]).abs().amax(1) < 0.1).double().mean())
    p = 1 - (1 - 1 / k) ** tournament
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_the_stride_follows_the_share_of_successes():
    method = Evolve(8, rate=0.5, aim=0.25, restart=None)
    state, stream = method.init(target(8, lambda z: z), el.Stream(0)), el.Stream(0)
    state = method.tell(state, range(8), torch.zeros(8), stream.at(step=1))
    assert state.stride == method.stride
    worse = method.tell(state, range(8), torch.full((8,), -1.0), stream.at(step=2))
    some = method.tell(state, range(8), torch.tensor([1.0, 1.0] + [-torch.inf] * 6), stream.at(step=2))
    assert worse.stride == pytest.approx(0.5 * math.exp(-0.125))
    assert some.stride == pytest.approx(0.5)


def test_failures_are_never_parents_and_a_generation_of_failures_is_prior_noise_again():
    method = Evolve(8, restart=None)
    state = method.init(target(8, lambda z: z), el.Stream(0))
    state = method.tell(state, range(8), torch.full((8,), -torch.inf), el.Stream(0).at(step=1))
    assert len(state.parents) == 0
    state = method.tell(state, range(8), torch.tensor([-torch.inf] * 6 + [1.0, 2.0]), el.Stream(0).at(step=2))
    assert state.rewards.tolist() == [2, 1]


def test_a_stalled_round_starts_again_from_the_prior_and_loses_nothing():
    method = Evolve(8, restart=Restart(3))
    state = method.init(target(8, lambda z: z), el.Stream(0))
    for step in range(1, 5):
        state = method.tell(state, range(8), torch.zeros(8), el.Stream(0).at(step=step))
        assert (len(state.parents) == 0) == (step == 4)
    assert (state.stride, state.best, state.stalled) == (method.stride, -torch.inf, 0)
    r = el.run(method, target(8, lambda z: z[:, 0]), el.Budget(rewards=800), seed=2)
    best = [row["best"] for row in r.history]
    assert best == sorted(best)


@pytest.mark.parametrize(
    "options",
    [{"population": 0}, {"keep": 0}, {"mates": 0}, {"tournament": 4}, {"stride": 1.1}, {"rate": -1.0}, {"aim": 1.0}],
)
def test_options_out_of_range_are_a_sentence(options):
    with pytest.raises(el.InputError, match="give"):
        Evolve(**options)
