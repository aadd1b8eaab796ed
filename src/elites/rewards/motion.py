r"""Rewards of planned motions: what a simulator returns for the actions of a plan, and reaching a goal in the plane.

A plan is scored by what its actions do, never by the states that it claims: a simulator starts where the plan starts,
takes the actions one by one, and adds up the rewards. So a prior that has learned its dynamics badly gains nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["Reach", "SwingUp", "pendulum"]

GRAVITY, SECONDS, FASTEST, TORQUE = 10.0, 0.05, 8.0, 2.0


def pendulum(theta: Any, speed: Any, action: Any) -> tuple[Tensor, Tensor, Tensor]:
    r"""Pendulum-v1 of Gymnasium, in batches and with gradients: a rod of 1 m and 1 kg, steps of 0.05 s.

        u      = 2 clip(a, -1, 1)                                torque, N m
        reward = -(wrap(theta)^2 + 0.1 speed^2 + 0.001 u^2)      of the state before the step, theta in [-pi, pi)
        speed' = clip(speed + (15 sin theta + 3 u) 0.05, -8, 8)
        theta' = theta + 0.05 speed'

    Arguments:
        theta: angles at the start `(...)` in radians, 0 upright and pi hanging, tensor, array or number.
        speed: angular velocities at the start `(...)` in radians a second.
        action: `(..., H)` in [-1, 1], clipped; leading shapes are broadcast.

    Returns angles `(..., H + 1)`, not wrapped, velocities `(..., H + 1)` and rewards `(..., H)`, float64.

    References:
        Gymnasium: A Standard Interface for Reinforcement Learning Environments (Towers et al., 2024),
        arXiv:2407.17032.
    """
    torque = TORQUE * torch.as_tensor(action, dtype=torch.float64).clamp(-1, 1)
    angle, velocity = (torch.as_tensor(v, dtype=torch.float64, device=torque.device) for v in (theta, speed))
    angle, velocity = (torch.broadcast_tensors(v, torque[..., 0])[0] for v in (angle, velocity))
    torque = torque.expand(*angle.shape, torque.shape[-1])
    angles, velocities, rewards = [angle], [velocity], []
    for u in torque.unbind(-1):
        wrapped = (angle + math.pi) % (2 * math.pi) - math.pi
        rewards.append(-(wrapped.square() + 0.1 * velocity.square() + 0.001 * u.square()))
        velocity = (velocity + (1.5 * GRAVITY * angle.sin() + 3 * u) * SECONDS).clamp(-FASTEST, FASTEST)
        angle = angle + SECONDS * velocity
        angles.append(angle)
        velocities.append(velocity)
    return torch.stack(angles, -1), torch.stack(velocities, -1), torch.stack(rewards, -1)


@dataclass(frozen=True)
class SwingUp:
    """Return of a plan on Pendulum-v1: the sum of its rewards, minus `price` times the sum of its squared torques.

    Plans are `(B, H, k)` with the action in [-1, 1] as the first number of each step, torch or NumPy, such as those of
    `priors.pendulum`; the other numbers are not looked at. Returns `(B,)`, float64; an upright pendulum at rest has 0.

    Arguments:
        start: angle in radians, 0 upright and pi hanging, and angular velocity in radians a second.
        price: of a squared torque, 1 / (N m)^2, besides the 0.001 of Pendulum-v1.

    Raises:
        InputError: if the start is not two finite numbers, the price is not one, or the plans have another shape.
    """

    start: tuple[float, float]
    price: float = 0.0

    def __post_init__(self) -> None:
        numbers = (*self.start, self.price)
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
            raise InputError(f"{self}: give a start (angle, velocity) and a price, all finite numbers.")

    def __call__(self, plans: Any) -> Tensor:
        """Returns `(B,)` of plans `(B, H, k)`."""
        plans = torch.as_tensor(plans)
        if plans.ndim != 3:
            raise InputError(f"The plans have shape {tuple(plans.shape)}: give (B, H, k), the action first of the k.")
        actions = plans[..., 0].double()
        torque = TORQUE * actions.clamp(-1, 1)
        return pendulum(*self.start, actions)[2].sum(-1) - self.price * torque.square().sum(-1)


@dataclass(frozen=True)
class Reach:
    """Minus the distance from the end of a path to a goal, minus `price` for each point inside a round obstacle.

    Paths are `(B, H, 2)`, such as those of `priors.unicycle`, in the unit of its coordinates; returns `(B,)`.

    Arguments:
        goal: (x, y).
        centre: (x, y) of the obstacle.
        radius: of the obstacle; 0 is none.
        price: of a point inside.

    Raises:
        InputError: if goal or centre is not two finite numbers, the radius or the price is negative, or the paths
            have another shape.
    """

    goal: tuple[float, float]
    centre: tuple[float, float] = (0.0, 0.0)
    radius: float = 0.0
    price: float = 0.5

    def __post_init__(self) -> None:
        if any(len(point) != 2 or not all(map(math.isfinite, point)) for point in (self.goal, self.centre)):
            raise InputError(f"{self}: give a goal and a centre (x, y), finite numbers.")
        if not (self.radius >= 0 and self.price >= 0):
            raise InputError(f"{self}: give a radius and a price that are not negative.")

    def __call__(self, paths: Any) -> Tensor:
        """Rewards `(B,)` of paths `(B, H, 2)`."""
        paths = torch.as_tensor(paths)
        if paths.ndim != 3 or paths.shape[2] != 2:
            raise InputError(f"The paths have shape {tuple(paths.shape)}: give (B, H, 2).")
        miss = (paths[:, -1] - paths.new_tensor(self.goal)).norm(dim=1)
        inside = (paths - paths.new_tensor(self.centre)).norm(dim=2) < self.radius
        return -miss - self.price * inside.sum(1)
