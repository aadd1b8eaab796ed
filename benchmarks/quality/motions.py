"""Rewards on the bundled motions: a simulator's return, and a goal behind an obstacle."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from training.trajectories import paths

import elites as el
from benchmarks.quality.task import LONG, Task

__all__ = ["MOTIONS"]

START = (3.4, -0.4)  # rad, rad/s: nearly hanging, nearly at rest


@cache
def plans() -> Any:
    return el.priors.pendulum(START)


def untrue(objects: Tensor) -> Tensor:
    """How far the states of a plan are from those that its actions lead to: root mean square, (cos, sin)."""
    angles = el.rewards.motion.pendulum(*START, objects[..., 0])[0][..., :-1]
    states = torch.stack([angles.cos(), angles.sin()], -1)
    return (objects[..., 1:3] - states).square().mean((1, 2)).sqrt()


@cache
def like_plans() -> Callable[[Any], Tensor]:
    stream, ids = el.Stream(3), range(64)
    target = el.Target(plans(), lambda x: x[:, 0, 0], walk=el.Plain(steps=10), batch=64)
    unit = untrue(plans().decode(target.generate(plans().noise(stream, ids), stream, ids))).mean()
    return lambda objects: untrue(objects) / unit


@cache
def unicycle() -> Any:
    return el.priors.unicycle()


@cache
def like_paths() -> el.DistanceToData:
    draws = torch.Generator().manual_seed(4)
    return el.DistanceToData(paths(4000, draws), paths(400, draws))


_plan = partial(Task, plans, distance=like_plans)
_path = partial(Task, unicycle, distance=like_paths, kind="goal and obstacle")
_goals = {
    "near": el.rewards.Reach(goal=(3.0, 1.0), centre=(1.5, 0.5), radius=0.5),
    "behind": el.rewards.Reach(goal=(-1.5, 2.5), centre=(-0.6, 1.2), radius=0.4),
}

MOTIONS = {
    "return": _plan(lambda seed: el.rewards.SwingUp(START), kind="simulated, in the data"),
    "torque": _plan(lambda seed: el.rewards.SwingUp(START, 1.0), kind="simulated, outside the data"),
} | {name: _path(lambda seed, reach=reach: reach, budgets=LONG) for name, reach in _goals.items()}
