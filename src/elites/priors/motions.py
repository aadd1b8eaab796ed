"""Bundled priors over motions: plans that swing up a pendulum, and paths of a unicycle."""

from __future__ import annotations

import math
from importlib.resources import files

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..kernel import DDIM
from ..schedule import X0, VPCosine
from ..types import InputError
from .fixed import Fixed
from .gaussian import GaussianPrior, check_device
from .perceptron import Perceptron

__all__ = ["FASTEST", "POINTS", "SCHEDULE", "pendulum", "unicycle"]

FASTEST = 8.0  # rad/s, of the pendulum
POINTS = 32  # of a path
SCHEDULE = VPCosine(start=0.995)
CLIP = 1.2  # everything in a plan lies between -1 and 1


def _perceptron(name: str, device: str | torch.device) -> Perceptron:
    where = check_device(device)
    weights = load_file(str(files("elites") / "data" / "trajectories" / f"{name}.safetensors"))
    return Perceptron({key: value.float().to(where) for key, value in weights.items()})


def pendulum(
    start: tuple[float, float] = (math.pi, 0.0),
    *,
    kernel: DDIM = DDIM(),  # noqa: B008 (frozen)
    device: str | torch.device = "cpu",
) -> Fixed:
    """Plans that swing up the pendulum of Gymnasium from a start state, from a perceptron of 0.65 M parameters.

    Objects are plans `(B, 60, 4)`, a row a step of 0.05 s: the action in [-1, 1], a half of the torque in N m, and the
    state it is taken in, (cos theta, sin theta, velocity / 8), 0 upright. The start is written into every step of the
    walk. The plans were made for a return without a price on torque, from starts within 0.6 rad of hanging and 1 rad/s
    of rest; from others they are guesses. `rewards.SwingUp(start)` scores them by a simulator. Ten steps of a
    walk are enough.

    Arguments:
        start: angle in radians, pi hanging, and angular velocity in radians a second, in [-8, 8].
        kernel: `DDIM(eta)`.
        device: where to put the network.

    Raises:
        InputError: if the start is no state of the pendulum.
    """
    if len(start) != 2 or not (math.isfinite(start[0]) and abs(start[1]) <= FASTEST):
        raise InputError(
            f"The start {start} is no state: give a finite angle in rad, and a velocity in [-8, 8] rad/s."
        )
    prior = GaussianPrior(
        _perceptron("pendulum", device),
        (60, 4),
        SCHEDULE,
        X0(),
        kernel=kernel,
        clip=CLIP,
        device=device,
        name="pendulum",
    )
    where = torch.zeros(60, 4, dtype=torch.bool, device=device)
    where[0, 1:] = True
    value = torch.zeros(60, 4, device=device)
    value[0, 1:] = torch.tensor([math.cos(start[0]), math.sin(start[0]), start[1] / FASTEST])
    return Fixed(prior, where, value, clean=True)


def _points(x0: Tensor) -> Tensor:
    return x0.reshape(-1, POINTS, 2)


def unicycle(
    *,
    kernel: DDIM = DDIM(),  # noqa: B008 (frozen)
    device: str | torch.device = "cpu",
) -> GaussianPrior:
    """Paths of a unicycle that leaves the origin in any direction, from a perceptron of 0.56 M parameters.

    Objects are paths `(B, 32, 2)`: points after each step, about 4 / 32 apart, on smooth curves. `rewards.Reach` asks
    them to end somewhere and to keep clear of an obstacle.

    Arguments:
        kernel: `DDIM(eta)`.
        device: where to put the network.
    """
    net = _perceptron("unicycle", device)
    return GaussianPrior(
        net, (2 * POINTS,), SCHEDULE, X0(), kernel=kernel, decoder=_points, device=device, name="unicycle"
    )
