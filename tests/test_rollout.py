"""Returns of plans, against exact equations: a pendulum, an environment that ends, a linear system."""

import functools
import math
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers import FLOAT64, normal

from elites import Budget, InputError, RandomSearch, Target, run
from elites.answers import Streaming
from elites.priors import OneStep
from elites.rewards.motion import SwingUp, pendulum
from elites.rewards.rollout import Rollout, WorldModel, scaled

gymnasium = pytest.importorskip("gymnasium")

SPACES = gymnasium.spaces
STARTS = [(math.pi, 0.0), (2.6, -1.0), (0.1, 7.9)]
PENDULUM = functools.partial(gymnasium.make, "Pendulum-v1")
CART = functools.partial(gymnasium.make, "CartPole-v1")


def put(env, state):
    env.unwrapped.state = np.array(state)


def plans(n=3, steps=60, seed=0):
    return 1.2 * normal(n, steps, 1, seed=seed)


# environments


@pytest.mark.parametrize("start", STARTS)
def test_the_return_on_pendulum_is_that_of_its_equations(start):
    x = plans()
    got = Rollout(PENDULUM, set_state=put, state=start)(x)
    assert got == pytest.approx(SwingUp(start)(x).tolist(), rel=1e-7)  # its torques are float32
    discounted = Rollout(PENDULUM, set_state=put, state=start, discount=0.9)(x)
    rewards = pendulum(*start, x[..., 0])[2]
    assert discounted == pytest.approx((rewards @ 0.9 ** torch.arange(60, **FLOAT64)).tolist(), rel=1e-7)


def test_without_a_state_all_start_where_the_seed_says():
    x = plans(2)
    env = PENDULUM()
    for seed in (0, 5):
        env.reset(seed=seed)
        start = tuple(env.unwrapped.state)
        assert Rollout(PENDULUM, seed=seed)(x) == pytest.approx(SwingUp(start)(x).tolist(), rel=1e-7)
    same = Rollout(PENDULUM)(x[[0, 0, 0]])
    assert same[0] == same[1] == same[2]


def test_a_batch_is_its_singles_in_any_order():
    x, reward = plans(4), Rollout(PENDULUM, set_state=put, state=STARTS[1])
    values = reward(x)
    assert [reward(plan[None])[0] for plan in x] == values == reward(x.flip(0))[::-1]
    assert reward(x.numpy()) == reward(x.requires_grad_()) == values
    assert len(set(values)) == 4


def steps_survived(plan, seed=0):
    env = CART()  # -1 pushes left and 1 right
    env.reset(seed=seed)
    for h, push in enumerate(plan):
        if env.step(int(push > 0))[2]:
            return h + 1
    return len(plan)


def test_a_cart_earns_one_for_each_step_up_to_its_fall():
    x = torch.from_numpy(np.random.Generator(np.random.Philox(3)).uniform(-1, 1, (8, 80, 1)))
    x[0] = 1  # falls at once
    survived = [steps_survived(plan[:, 0]) for plan in x]
    assert 5 < min(survived) < max(survived) < 80
    assert Rollout(CART)(x) == survived
    assert Rollout(CART)(x[:, :5]) == [5] * 8
    q = 0.9
    fallen = Rollout(CART, discount=q, penalty=7.0)(x)
    assert fallen == pytest.approx([(1 - q**n) / (1 - q) - 7 * q ** (n - 1) for n in survived])


def test_a_time_limit_ends_a_plan_without_its_penalty():
    short = functools.partial(gymnasium.make, "CartPole-v1", max_episode_steps=4)
    balance = torch.tensor([1.0, -1.0] * 4).reshape(1, 8, 1)
    assert Rollout(CART, penalty=7.0)(balance) == [8]
    assert Rollout(short, penalty=7.0)(balance) == [4]


class Walk(gymnasium.Env):
    """A point on a line, in noise; its second action may be too much."""

    action_space = SPACES.Box(-2.0, 4.0, (2,), np.float64)
    observation_space = SPACES.Box(-np.inf, np.inf, (1,))
    made = 0
    closed = 0

    def __init__(self):
        type(self).made += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.normal()
        return np.array([self.at]), {}

    def step(self, action):
        self.at += action[0]
        if action[1] > 3.9:
            raise RuntimeError("the motor burns")
        noise = self.np_random.normal()
        return np.array([self.at]), self.at + 10 * noise, False, False, {}

    def close(self):
        type(self).closed += 1


@pytest.fixture
def walk(monkeypatch):
    monkeypatch.setattr(Walk, "made", 0)
    monkeypatch.setattr(Walk, "closed", 0)
    return Walk


def test_actions_are_scaled_from_minus_one_to_one_and_clipped(walk):
    x = torch.zeros(3, 1, 2, **FLOAT64)
    x[:, 0, 0] = torch.tensor([-1.0, 0.5, 7.0])
    assert np.diff(Rollout(walk)(x)) == pytest.approx([4.5, 1.5])  # -2, 2.5 and 4, in the same noise
    assert np.diff(Rollout(walk, act=lambda space, numbers: numbers)(x)) == pytest.approx([1.5, 6.5])


@pytest.mark.parametrize(("share", "action"), [(-1, 3), (-0.35, 3), (-0.32, 4), (0.32, 4), (0.35, 5), (1, 5), (9, 5)])
def test_a_discrete_space_is_equal_intervals(share, action):
    space = SPACES.Discrete(3, start=3)
    assert scaled(space, np.array([share])) == action
    assert space.contains(scaled(space, np.array([share])))
    assert SPACES.Box(-1, 1, (1,), np.float32).contains(scaled(SPACES.Box(-1, 1, (1,), np.float32), np.array([share])))


def test_an_environment_is_made_late_and_used_again(walk):
    reward, x = Rollout(walk), 0.2 * normal(5, 7, 2)
    assert walk.made == 0
    first = reward(x)
    assert (reward(x), walk.made) == (first, 1)
    again = pickle.loads(pickle.dumps(reward))
    assert again(x) == first
    assert (walk.made, walk.closed) == (2, 0)
    del reward, again
    assert (walk.made, walk.closed) == (2, 2)


def test_a_plan_at_which_the_environment_raises_fails_alone(walk):
    x = 0.1 * normal(4, 7, 2)
    x[1, 3, 1] = 1
    x[2, 5, 0] = math.nan
    first, burnt, hole, last = Rollout(walk)(x)
    assert (str(burnt), type(hole)) == ("the motor burns", InputError)
    assert "not finite" in str(hole)
    assert walk.closed == 1  # and another was made
    assert [first, last] == Rollout(walk)(x[[0, 3]])


def test_threads_have_environments_of_their_own():
    x, reward = plans(8), Rollout(PENDULUM, set_state=put, state=STARTS[0])
    with ThreadPoolExecutor(8) as pool:
        assert [v for [v] in pool.map(reward, x[:, None])] == reward(x)


def test_returns_come_one_by_one():
    steps = []
    reward = Rollout(Walk, act=lambda space, numbers: steps.append(0) or numbers)
    answers = reward.each(0.2 * normal(3, 7, 2))
    assert isinstance(reward, Streaming)
    assert (next(answers)[0], len(steps)) == (0, 7)
    assert [i for i, _ in answers] == [1, 2]


def test_plans_of_more_than_actions_and_of_states_are_read_by_actions():
    x = normal(3, 60, 4)
    by_column = Rollout(PENDULUM, set_state=put, state=STARTS[1], actions=lambda x: x[..., :1])(x)
    assert by_column == Rollout(PENDULUM, set_state=put, state=STARTS[1])(x[..., :1])
    forces = lambda x: x.diff(dim=1) / 2  # inverse dynamics of s' = s + 2 a
    model = WorldModel(lambda s, a: (s + 2 * a, -(s + 2 * a).square().sum(1)), torch.zeros(2), actions=forces)
    states = normal(3, 5, 2)
    states[:, 0] = 0
    assert torch.allclose(model(states), -states.square().sum((1, 2)))


def test_a_search_returns_a_plan_that_earns_what_it_says():
    target = Target(OneStep(lambda z: z.tanh()[..., None], (30,)), Rollout(PENDULUM, set_state=put, state=STARTS[0]))
    result = run(RandomSearch(8), target, Budget(steps=2))
    assert float(result.best.reward) == pytest.approx(float(SwingUp(STARTS[0])(target.decode(result.best.x))))


# models of the world


def linear(decay=0.8):
    return lambda state, action: (decay * state + action, state[:, 0] + 3 * action[:, 0])


def test_a_linear_model_has_its_closed_form():
    x, s0, p, q = normal(4, 6, 1), 2.5, 0.8, 0.9
    wanted = []
    for plan in x[..., 0].tolist():
        states = [s0 * p**h + sum(p ** (h - 1 - k) * plan[k] for k in range(h)) for h in range(6)]
        wanted.append(sum(q**h * (states[h] + 3 * plan[h]) for h in range(6)))
    assert WorldModel(linear(), [s0], discount=q)(x).tolist() == pytest.approx(wanted, rel=1e-12)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(WorldModel(linear(), [s0], discount=q)(x).sum(), x)
    pull = [q**k * 3 + sum(q**h * p ** (h - 1 - k) for h in range(k + 1, 6)) for k in range(6)]
    assert torch.allclose(slope[..., 0], torch.tensor(pull, **FLOAT64).expand(4, 6))


def swing(state, action):
    angles, speeds, rewards = pendulum(state[:, 0], state[:, 1], action)
    return torch.stack([angles[:, -1], speeds[:, -1]], 1), rewards[:, 0]


def test_the_pendulum_as_a_model_is_the_pendulum_as_an_environment():
    x = plans(5)
    for start in STARTS:
        assert torch.allclose(WorldModel(swing, start)(x), SwingUp(start)(x))
    simulated = Rollout(PENDULUM, set_state=put, state=STARTS[2])(x)
    assert WorldModel(swing, STARTS[2])(x).tolist() == pytest.approx(simulated, rel=1e-7)


def test_a_batch_of_a_model_is_its_singles_in_any_order():
    x, reward = plans(5), WorldModel(swing, STARTS[2], discount=0.95)
    values = reward(x)
    assert torch.equal(torch.cat([reward(plan[None]) for plan in x]), values)
    assert torch.equal(reward(x.flip(0)), values.flip(0))
    assert torch.equal(reward(x.numpy()), values)
    assert torch.allclose(reward(x.round().int()), reward(x.round()), rtol=1e-4)
    assert WorldModel(linear(), [0.0])(x.half()).dtype == torch.float32


def falls(state, action):
    """One for each step until the sum of all actions is above 3; beyond it there is nothing but NaN."""
    after = state + action
    reward = torch.where(state[:, 0] > 3, math.nan, 1 + 0 * state[:, 0])
    return after, reward + 0 * (3 - state[:, 0]).sqrt(), after[:, 0] > 3


def test_after_its_end_nothing_of_a_plan_counts():
    x = torch.tensor([[1.0, 1, 1.4, 1, 1], [1, 1, 0, 0, 0], [2, 2, 9, 9, 9]], **FLOAT64)[..., None].requires_grad_()
    survived = [3, 5, 2]
    assert WorldModel(falls, [0.0])(x).tolist() == survived
    q = 0.5
    wanted = [(1 - q**n) / (1 - q) - (4 * q ** (n - 1) if n < 5 else 0) for n in survived]
    values = WorldModel(falls, [0.0], discount=q, penalty=4.0)(x)
    assert values.tolist() == pytest.approx(wanted)
    (slope,) = torch.autograd.grad(values.sum(), x)
    assert torch.equal(slope, torch.zeros_like(x))


def test_states_may_have_any_shape():
    x = normal(3, 4, 2)
    grid = torch.arange(6, **FLOAT64).reshape(3, 2)
    model = WorldModel(lambda s, a: (s + a[:, None], s.sum((1, 2))), grid)
    assert model(x).tolist() == pytest.approx((4 * 15 + 3 * (x.cumsum(1)[:, :3].sum((1, 2)))).tolist())


WORLD = linear()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Rollout(PENDULUM, discount=0.0), r"discount in \(0, 1\]"),
        (lambda: WorldModel(WORLD, [0.0], discount=1.1), r"discount in \(0, 1\]"),
        (lambda: WorldModel(WORLD, [0.0], penalty=math.inf), "finite penalty"),
        (lambda: Rollout(PENDULUM, state=(0.0, 0.0)), "both a state and set_state"),
        (lambda: Rollout(PENDULUM)(torch.zeros(3, 60)), r"shape \(3, 60\): give \(B, H, A\)"),
        (lambda: WorldModel(WORLD, [0.0])(torch.zeros(3, 60)), r"shape \(3, 60\): give \(B, H, A\)"),
        (lambda: scaled(SPACES.Box(-np.inf, np.inf, (1,)), np.zeros(1)), "give `act`"),
        (lambda: scaled(SPACES.MultiBinary(1), np.zeros(1)), "give `act`"),
        (lambda: scaled(SPACES.Dict(), np.zeros(1)), "give `act`"),
        (lambda: scaled(SPACES.Box(-1, 1, (2,)), np.zeros(1)), "1 numbers a step"),
        (lambda: WorldModel(lambda s, a: s, [0.0])(torch.zeros(3, 2, 1)), "has to return"),
        (lambda: WorldModel(lambda s, a: (s, s), [0.0])(torch.zeros(3, 2, 1)), r"shapes \[\(3, 1\), \(3, 1\)"),
        (lambda: WorldModel(lambda s, a: (s[0], s[:, 0]), [0.0])(torch.zeros(3, 2, 1)), "returned shapes"),
        (lambda: WorldModel(lambda s, a: (s, s[:, 0], s[:, 0]), [0.0])(torch.zeros(3, 2, 1)), "give booleans"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(InputError, match=says) as error:
        wrong()
    assert str(error.value).count(". ") == 0


def test_without_gymnasium_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium.spaces", None)
    with pytest.raises(ImportError, match=r"pip install 'elites\[gym\]'"):
        scaled(None, np.zeros(1))
