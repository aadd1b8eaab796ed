"""Rewards of planned motions: the simulator of the pendulum, and reaching a goal."""

import math

import numpy as np
import pytest
import torch
from helpers import FLOAT64, normal

from elites import InputError
from elites.rewards import Reach, SwingUp, pendulum

STARTS = [(math.pi, 0.0), (2.6, -1.0), (3.7, 0.9), (0.1, 7.9), (-9.0, -8.0)]


def step(theta, speed, action):
    """One step of Pendulum-v1, written out for one state."""
    u = 2 * min(max(action, -1), 1)
    wrapped = (theta + math.pi) % (2 * math.pi) - math.pi
    reward = -(wrapped**2 + 0.1 * speed**2 + 0.001 * u**2)
    speed = min(max(speed + (3 * 10 / 2 * math.sin(theta) + 3 * u) * 0.05, -8), 8)
    return theta + 0.05 * speed, speed, reward


@pytest.mark.parametrize("start", STARTS)
def test_the_pendulum_moves_as_its_equations_say(start):
    actions = 1.5 * normal(60)
    angles, speeds, rewards = pendulum(*start, actions)
    theta, speed = start
    for h, action in enumerate(actions.tolist()):
        assert (float(angles[h]), float(speeds[h])) == pytest.approx((theta, speed), abs=1e-12)
        theta, speed, reward = step(theta, speed, action)
        assert float(rewards[h]) == pytest.approx(reward, abs=1e-12)
    assert float(angles[-1]) == pytest.approx(theta, abs=1e-12)


@pytest.mark.parametrize("start", STARTS)
def test_the_pendulum_is_that_of_gymnasium(start):
    gymnasium = pytest.importorskip("gymnasium")
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array(start)
    actions = 1.5 * normal(60, seed=1).numpy()
    total = 0.0
    for action in actions:
        observation, reward, *_ = env.step(np.array([2 * action]))
        total += reward
    angles, speeds, _ = pendulum(*start, actions)
    assert float(SwingUp(start)(actions[None, :, None])) == pytest.approx(total, abs=1e-6)
    assert [float(angles[-1].cos()), float(angles[-1].sin()), float(speeds[-1])] == pytest.approx(
        observation.tolist(), abs=1e-5
    )


def test_starts_and_actions_of_a_batch_are_their_own():
    actions = normal(5, 7, 60)
    theta, speed = torch.tensor(STARTS, **FLOAT64).T
    many = pendulum(theta[:, None], speed[:, None], actions)
    assert [tuple(v.shape) for v in many] == [(5, 7, 61), (5, 7, 61), (5, 7, 60)]
    for i, start in enumerate(STARTS):
        for got, want in zip(many, pendulum(*start, actions[i, 3]), strict=True):
            assert torch.equal(got[i, 3], want)


def test_a_hanging_pendulum_at_rest_returns_what_it_must():
    still = torch.zeros(1, 60, 4)
    assert float(SwingUp((0.0, 0.0))(still)) == 0
    assert float(SwingUp((math.pi, 0.0))(still)) == pytest.approx(-60 * math.pi**2, rel=1e-6)


def test_torque_has_its_price_and_states_that_a_plan_claims_have_no_weight():
    plans = normal(4, 60, 4)
    free, dear = SwingUp(STARTS[1]), SwingUp(STARTS[1], price=0.5)
    torque = 2 * plans[..., 0].clamp(-1, 1)
    assert torch.allclose(free(plans) - dear(plans), 0.5 * torque.square().sum(1))
    lies = torch.cat([plans[..., :1], 100 + plans[..., 1:]], 2)
    assert torch.equal(free(lies), free(plans))
    assert torch.equal(free(plans.numpy()), free(plans))


def test_returns_have_gradients():
    plans = (0.1 * normal(2, 60, 1)).requires_grad_()
    (grad,) = torch.autograd.grad(SwingUp(STARTS[0], 1.0)(plans).sum(), plans)
    moved = plans.detach().clone()
    moved[1, 20] += 1e-6
    change = SwingUp(STARTS[0], 1.0)(moved) - SwingUp(STARTS[0], 1.0)(plans.detach())
    assert float(change[1]) / 1e-6 == pytest.approx(float(grad[1, 20, 0]), rel=1e-3)


def test_reach_counts_the_miss_and_the_points_inside():
    path = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 4.0]]])
    assert float(Reach((3.0, 1.0))(path)) == -3
    assert float(Reach((3.0, 4.0), (1.5, 0.0), 0.6)(path)) == -1  # two points, half each
    assert float(Reach((3.0, 4.0), (1.5, 0.0), 0.4)(path)) == 0
    assert float(Reach((0.0, 0.0), (1.5, 0.0), 0.6, price=2.0)(path.numpy())) == -5 - 4


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: SwingUp((1.0,)), "give a start"),
        (lambda: SwingUp((1.0, math.nan)), "all finite"),
        (lambda: SwingUp(STARTS[0])(torch.zeros(3, 60)), r"shape \(3, 60\): give \(B, H, k\)"),
        (lambda: Reach((0.0, 0.0, 1.0)), "goal and a centre"),
        (lambda: Reach((0.0, 0.0), (float("nan"), 0.0)), "goal and a centre"),
        (lambda: Reach((0.0, 0.0), radius=-1.0), "not negative"),
        (lambda: Reach((0.0, 0.0))(torch.zeros(2, 64)), r"shape \(2, 64\): give \(B, H, 2\)"),
    ],
)
def test_what_is_no_motion_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(InputError, match=says) as error:
        wrong()
    assert str(error.value).count(". ") == 0
