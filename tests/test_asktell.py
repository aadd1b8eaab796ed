"""Optimisers with ask and tell: what they are told, and how a state gets one back."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import Climber, bits, half_nan, on_humps, steps_of

import elites as el
from elites.search import Anywhere, AskTell, Restart


class Notes:
    """A minimiser that writes down what it is told and draws the same numbers again in each life."""

    def __init__(self, d, population, seed):
        self.own, self.shape = np.random.Generator(np.random.Philox(seed)), (population, d)
        self.seed, self.drawn, self.heard, self.asked = seed, [], [], 0

    def ask(self):
        self.asked += 1
        return 3 * self.own.standard_normal(self.shape)

    def tell(self, z, losses):
        self.drawn.append(z)
        self.heard.append(losses)


def lives(kind=Notes):
    """A `make`, and the list of all it made."""
    made = []

    def make(d, population, seed):
        made.append(kind(d, population, seed))
        return made[-1]

    return make, made


def flat(reward, d=64, batch=4):
    return el.Target(el.priors.OneStep(lambda z: z, (d,)), reward, batch=batch)


def stepped(method, target, rewards):
    """The states of a search that is told these rewards, without a target."""
    states = [method.init(target, el.Stream(3))]
    for step, reward in enumerate(rewards, 1):
        states.append(method.tell(states[-1], range(len(reward)), torch.tensor(reward), el.Stream(3).at(step=step)))
    return states


def test_a_linear_reward_approaches_its_optimum_on_the_shell():
    """The most that w.z can be on |z|^2 = d is |w| sqrt(d); a climb of one unit a step gets most of the way."""
    w = torch.randn(64, generator=torch.Generator().manual_seed(1))
    for seed in range(3):
        r = el.run(AskTell(Climber, 8), flat(lambda z: z @ w), el.Budget(rewards=4000), seed)
        assert 0.9 * w.norm() * 8 < float(r.best.reward) <= w.norm() * 8 * (1 + 1e-5)
        assert math.isclose(float(r.best.z.square().sum()), 64, rel_tol=1e-4)


@pytest.mark.parametrize("guard", [el.search.Typical(), Anywhere()])
def test_the_optimiser_is_told_its_own_draws_with_the_rewards_of_the_placed_ones(guard):
    make, made = lives()
    r = el.run(AskTell(make, 4, guard), flat(lambda z: z[:, 0]), el.Budget(steps=5), probe=None)
    assert len(made) == 1
    drawn, heard = np.concatenate(made[0].drawn), np.concatenate(made[0].heard)
    assert (drawn.shape, heard.dtype) == ((20, 64), np.float64)
    assert 500 < np.square(drawn).sum(1).mean() < 660  # 9 d: as they were drawn
    placed = guard.place(torch.from_numpy(drawn).float())
    assert np.array_equal(heard, -placed[:, 0].double().numpy())
    assert float(r.best.reward) == -heard.min()


def test_failures_are_told_as_the_worst_loss_of_their_step():
    make, made = lives()
    inf = math.inf
    stepped(AskTell(make, 4), flat(lambda z: z), [[1.0, -inf, 3.0, -2.0], [math.nan, 1.0, 1.0, -inf]])
    assert [heard.tolist() for heard in made[0].heard] == [[-1.0, 2.0, -3.0, 2.0], [-1.0, -1.0, -1.0, -1.0]]


def test_where_all_fail_nothing_is_told_and_the_next_population_is_another():
    make, made = lives()
    states = stepped(AskTell(make, 4), flat(lambda z: z), [[-math.inf] * 4, [1.0, 2.0, 3.0, 4.0]])
    assert (made[0].asked, len(made[0].heard)) == (3, 1)
    assert not torch.equal(states[0].z, states[1].z)
    method = AskTell(make, 4)
    again = method.tell(copy.deepcopy(states[2]), range(4), torch.ones(4), el.Stream(3))  # led past the gap
    assert bits(again) == bits(method.tell(states[2], range(4), torch.ones(4), el.Stream(3)))
    assert (made[1].asked, len(made[1].heard)) == (4, 2)


@pytest.mark.parametrize("away", [copy.deepcopy, copy.copy, replace, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_has_no_optimiser_and_goes_on_as_the_original(away):
    make, made = lives(Climber)
    method = AskTell(make, 6)
    live = [after for _, after, *_ in steps_of(method, on_humps(reward=half_nan), 8, seed=5)]
    assert len(made) == 1
    state = method.init(on_humps(), el.Stream(5))
    for step, want in enumerate(live, 1):
        state, _ = method.step(on_humps(reward=half_nan), away(state), el.Stream(5).at(step=step))
        assert bits(state) == bits(want)
    assert len(made) == 10


def test_the_same_state_can_take_two_ways():
    make, _ = lives(Climber)
    method, target = AskTell(make, 3, restart=None), flat(lambda z: z)
    up, down = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]
    alone = [stepped(method, target, [up, way, up])[-1] for way in (up, down)]
    fork = stepped(method, target, [up])[-1]
    ways = [method.tell(fork, range(3), torch.tensor(way), el.Stream(3)) for way in (up, down)]
    both = [method.tell(state, range(3), torch.tensor(up), el.Stream(3)) for state in ways]
    assert [bits(state) for state in both] == [bits(state) for state in alone]
    assert bits(both[0]) != bits(both[1])


def test_a_population_that_changes_its_size_is_counted_and_replayed():
    class Growing(Climber):
        def ask(self):
            self.shape = (self.shape[0] + 1, self.shape[1])
            return super().ask()

    steps = list(steps_of(AskTell(Growing, 3), on_humps(), 4))
    states = [after for _, after, *_ in steps]
    assert [len(state.z) for state in states] == [5, 6, 7, 8]
    assert [len(info.rewards) for *_, info, _ in steps] == [4, 5, 6, 7]
    state = copy.deepcopy(states[-1])
    step = el.Stream(0).at(step=5)
    one, other = (AskTell(Growing, 3).step(on_humps(), s, step)[0] for s in (state, states[-1]))
    assert bits(one) == bits(other)


def test_seeds_differ_between_runs_and_rounds_and_repeat_in_a_run():
    make, made = lives()
    flat_out = [[1.0, 1.0]] * 7
    for _ in range(2):
        states = stepped(AskTell(make, 2, restart=Restart(3)), flat(lambda z: z), flat_out)
    el.run(AskTell(make, 2), flat(lambda z: z[:, 0]), el.Budget(steps=1), seed=2**32 + 3)
    seeds = [life.seed for life in made]
    assert seeds[:2] == seeds[2:4]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert [state.round for state in states] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [state.stalled for state in states] == [0, 0, 1, 2, 0, 0, 1, 2]


def test_a_restart_keeps_the_incumbent():
    r = el.run(AskTell(Climber, 4, restart=Restart(2)), flat(lambda z: z[:, 0]), el.Budget(rewards=800), seed=2)
    best = [row["best"] for row in r.history]
    assert r.state.round > 2
    assert best == sorted(best)


def test_an_optimiser_that_diverges_is_replaced():
    class Bolting(Climber):
        def tell(self, z, losses):
            self.at = self.at * 1e30 + 1e30

    r = el.run(AskTell(Bolting, 4, Anywhere()), flat(lambda z: z[:, 0].clamp(max=9)), el.Budget(steps=9), seed=2)
    assert r.state.round == 4
    assert torch.isfinite(r.state.z).all()


def test_an_optimiser_that_is_not_made_again_alike_is_a_sentence():
    calls = iter(range(9))

    def careless(d, population, seed):
        return Climber(d, population, next(calls))

    method, target = AskTell(careless, 4), flat(lambda z: z[:, 0])
    state, _ = method.step(target, method.init(target, el.Stream(0)), el.Stream(0))
    with pytest.raises(el.InputError, match="take every random number from the seed"):
        method.step(target, copy.deepcopy(state), el.Stream(0))


def test_lists_and_tensors_are_populations_too():
    class Lists(Climber):
        def ask(self):
            return list(super().ask())

        def tell(self, z, losses):
            super().tell(np.stack(z), losses)

    class Tensors(Climber):
        def ask(self):
            return torch.from_numpy(super().ask()).requires_grad_()

        def tell(self, z, losses):
            super().tell(z.detach().numpy(), losses)

    want, *others = (el.run(AskTell(kind, 4), on_humps(), el.Budget(steps=4)) for kind in (Climber, Lists, Tensors))
    assert all(bits(other.state) == bits(want.state) for other in others)
    assert not AskTell(Tensors, 4).init(on_humps(), el.Stream(0)).z.requires_grad


@pytest.mark.parametrize("shape", [(4, 63), (64,), (0, 64)])
def test_a_population_of_another_shape_is_a_sentence(shape):
    class Wrong(Climber):
        def ask(self):
            return np.zeros(shape)

    with pytest.raises(el.InputError, match=r"ask has to give \(n, 64\)"):
        AskTell(Wrong, 4).init(flat(lambda z: z), el.Stream(0))


def test_options_out_of_range_are_a_sentence():
    with pytest.raises(el.InputError, match="at least one"):
        AskTell(Climber, 0)
