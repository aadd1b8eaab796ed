"""Priors over motions, how they were trained, and what plans with them."""

import importlib.util
import math
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from benchmarks import pendulum as bench
from examples import plan_pendulum
from helpers import FLOAT64
from PIL import Image
from training import trajectories

import elites as el
from elites import InputError, Stream
from elites.priors.motions import SCHEDULE
from elites.priors.perceptron import Perceptron
from elites.rewards import SwingUp, pendulum


def test_the_bundled_weights_are_small():
    folder = Path(str(files("elites") / "data" / "trajectories"))
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    assert len(sizes) == 2
    assert sum(sizes) < 4_000_000


def draws(prior, n=64, steps=20):
    target = el.Target(prior, lambda x: x.flatten(1)[:, 0], walk=el.Plain(steps=steps), batch=n)
    return target.decode(target.generate(prior.noise(Stream(11), range(n)), Stream(11), range(n)))


@pytest.mark.parametrize("start", [(math.pi, 0.0), (2.7, -0.8), (3.6, 0.5)])
def test_plans_claim_the_states_that_their_actions_lead_to_and_swing_up(start):
    plans = draws(el.priors.pendulum(start))
    angle, speed, _ = pendulum(*start, plans[..., 0])
    states = torch.stack([angle.cos(), angle.sin(), speed / 8], 2)[:, :-1].float()
    assert torch.allclose(plans[:, 0, 1:], states[:, 0], atol=1e-6)  # given, not drawn

    def error(claimed):
        return float((claimed - states).abs().mean())

    assert error(plans[..., 1:]) < 0.05
    assert error(plans[..., 1:].roll(1, 0)) > 2 * error(plans[..., 1:])  # those of another plan
    still = SwingUp(start)(torch.zeros(1, 60, 1))
    assert SwingUp(start)(plans).mean() > 0.75 * still


@pytest.mark.parametrize("start", [(3.0, 9.0), (math.inf, 0.0), (3.0,)])
def test_what_is_no_state_is_refused(start):
    with pytest.raises(InputError, match="is no state: give a finite angle"):
        el.priors.pendulum(start)


def test_a_search_saves_torque_and_keeps_the_start():
    start = (3.6, 0.5)
    prior, reward = el.priors.pendulum(start), SwingUp(start, price=1.0)
    result = el.run(el.Elites(), el.Target(prior, reward), el.Budget(rewards=96), seed=1)
    assert float(result.best.reward) > float(reward(draws(prior)).mean()) + 10
    given = [math.cos(3.6), math.sin(3.6), 0.5 / 8]
    assert prior.decode(result.best.x)[0, 0, 1:].tolist() == pytest.approx(given, abs=1e-7)
    assert torch.equal(prior.decode(result.best.x), result.best.x)


def test_paths_are_those_of_a_unicycle():
    path = draws(el.priors.unicycle())
    steps = torch.cat([path[:, :1], path.diff(dim=1)], 1)
    speed = steps.norm(dim=2) * 32 / 4
    assert float(speed.mean()) == pytest.approx(1, abs=0.12)  # 20 steps of a walk shorten a path a little
    assert float(speed.std(1).mean()) < 0.2
    heading = torch.atan2(steps[..., 1], steps[..., 0])
    turn = (heading.diff(dim=1) + math.pi) % (2 * math.pi) - math.pi
    assert float(turn.std()) == pytest.approx(0.15 / (1 - 0.8**2) ** 0.5, abs=0.05)  # an autoregressive process
    assert heading[:, 0].cos().mean().abs() < 0.35  # in any direction


# how they were made


@pytest.mark.parametrize("make", [trajectories.pendulum, trajectories.unicycle])
def test_training_repeats_to_the_bit_and_makes_what_the_priors_load(make):
    first, again, other = make(4, 8), make(4, 8), make(4, 8, seed=1)
    bundled = getattr(el.priors, make.__name__)()
    bundled = getattr(bundled, "prior", bundled).net.weights()
    assert {name: value.shape for name, value in first.items()} == {k: v.shape for k, v in bundled.items()}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["enter.weight"], other["enter.weight"])


def test_training_learns_what_all_data_have_in_common():
    data = torch.tensor([[0.5, -0.3]]).repeat(10, 1)
    net = Perceptron(trajectories.train(data, torch.tensor([False, False]), 100, 64, 1e-3, 1))
    t = torch.tensor([0.6])
    alpha, sigma = SCHEDULE(t)
    for far in (-1, 0, 1):
        assert torch.allclose(net(alpha * data[:1] + far * sigma, t), data[:1], atol=0.1)


def test_the_data_are_plans_and_paths():
    made = trajectories.plans(5, torch.Generator().manual_seed(0))
    start = torch.atan2(made[:, 0, 2], made[:, 0, 1]) % (2 * math.pi)
    assert (start - math.pi).abs().max() <= 0.6
    angle, speed, _ = pendulum(start, 8 * made[:, 0, 3], made[..., 0])
    assert torch.allclose(made[..., 1], angle[:, :-1].cos().float(), atol=1e-3)
    assert torch.allclose(8 * made[..., 3], speed[:, :-1].float(), atol=1e-3)
    path = trajectories.paths(5, torch.Generator().manual_seed(0)).reshape(5, 32, 2)
    lengths = torch.cat([path[:, :1], path.diff(dim=1)], 1).norm(dim=2)
    assert lengths.std(1).max() < 1e-6
    assert 0.8 * 4 / 32 <= lengths.min() <= lengths.max() <= 1.2 * 4 / 32 + 1e-6


# the example


def test_model_based_diffusion_finds_the_top_of_a_hill():
    top = torch.tensor([[0.3, -0.7, 0.1], [-0.2, 0.9, 0.5]], **FLOAT64)
    asked = []

    def returns(actions):
        asked.append(actions.shape[1])
        return -(actions - top[:, None]).square().sum(2)

    found = plan_pendulum.mbd(returns, torch.zeros_like(top), 3001, torch.Generator().manual_seed(0))
    assert torch.allclose(found, top, atol=0.03)
    assert sum(asked) <= 3000


def test_the_example_plans_and_draws(tmp_path):
    command = [sys.executable, Path(plan_pendulum.__file__), "--evaluations", "48", "--out", tmp_path / "plans.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    rows = re.findall(r"^(\w[\w, ]+\w) +(-[\d.]+) +(-[\d.]+) +([\d.]+)", done.stdout, re.MULTILINE)
    assert [name for name, *_ in rows] == ["Elites", "Elites, 16", "best of N", "raw CEM", "MBD"]
    for _, reward, total, energy in rows:
        assert float(reward) == pytest.approx(float(total) - float(energy), abs=0.21)  # rounded to one digit
    if importlib.util.find_spec("matplotlib"):
        assert done.returncode == 0, done.stderr
        assert Image.open(tmp_path / "plans.png").size == (840, 600)
    else:
        assert "pip install 'elites[bench]'" in done.stderr


def test_the_benchmark_repeats_and_starts_where_it_says():
    first, again = (bench.planners(steps=4) for _ in range(2))
    assert all(abs(angle - math.pi) <= 0.6 and abs(speed) <= 1 for angle, speed in bench.starts(3))
    assert bench.starts(3) != bench.starts(4)
    for name in ("best of N", "raw CEM", "MBD"):
        assert first[name]((2.6, -1.0), 64, 5) == again[name]((2.6, -1.0), 64, 5)
