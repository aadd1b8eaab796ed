"""Train the two bundled priors over motions from simulated data alone.

    pendulum   600 plans for swinging up the pendulum of Gymnasium, each made by model-based diffusion from a random
               start near hanging and a random first push: rows (action, cos, sin, velocity / 8) of 60 steps
    unicycle   40,000 paths from the origin, 32 points in the plane, speed uniform in 0.8 to 1.2 times 4 / 32 a step,
               first-order autoregressive turn rate

The network predicts the clean object from its noisy version on the cosine schedule; the start state of a pendulum is
shown to it without noise, as `priors.Fixed(clean=True)` does later. Run it from the root of the repository (about ten
minutes on one busy core):

    python -m training.trajectories

It writes `src/elites/data/trajectories`; `training/trajectories_card.py` then measures the result and writes its card.
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from examples.plan_pendulum import mbd
from safetensors.torch import save_file
from torch import Generator, Tensor

import elites as el
from elites.priors.motions import FASTEST, POINTS, SCHEDULE
from elites.priors.perceptron import Perceptron

SEED = 20_261_121
PLANS, PATHS, HORIZON = 600, 40_000, 60
ITERATIONS = {"pendulum": 12_000, "unicycle": 9_000}
WIDTH, BLOCKS = 256, 4
AVERAGE = 0.999  # of the weights that are kept


def uniform(n: int, low: float, high: float, draws: Generator) -> Tensor:
    """`(n,)` float64."""
    return low + (high - low) * torch.rand(n, generator=draws, dtype=torch.float64)


def starts(n: int, draws: Generator) -> tuple[Tensor, Tensor]:
    """Angles `(n,)` within 0.6 rad of hanging and velocities `(n,)` within 1 rad/s of rest."""
    return uniform(n, math.pi - 0.6, math.pi + 0.6, draws), uniform(n, -1, 1, draws)


def plans(n: int, draws: Generator) -> Tensor:
    """Plans `(n, 60, 4)` that swing the pendulum up."""
    theta, speed = starts(n, draws)

    def returns(actions: Tensor) -> Tensor:
        return el.rewards.pendulum(theta[:, None], speed[:, None], actions)[2].sum(-1)

    # from a random push: from none, nearly all plans of a start would swing the same way first
    push = uniform(n, -1, 1, draws)[:, None].expand(n, HORIZON)
    actions = mbd(returns, push, 64 * 30 + 1, draws, levels=30, temperature=0.1)
    angle, velocity, _ = el.rewards.pendulum(theta, speed, actions)
    angle, velocity = angle[:, :-1], velocity[:, :-1]
    return torch.stack([actions, angle.cos(), angle.sin(), velocity / FASTEST], 2).float()


def paths(n: int, draws: Generator) -> Tensor:
    """Paths `(n, 64)` of a unicycle that starts at the origin in any direction."""
    speed = (0.8 + 0.4 * torch.rand(n, 1, generator=draws)) * 4 / POINTS
    turn, turns = 0.25 * torch.randn(n, generator=draws), []
    for _ in range(POINTS):
        turn = 0.8 * turn + 0.15 * torch.randn(n, generator=draws)
        turns.append(turn)
    heading = 2 * math.pi * torch.rand(n, 1, generator=draws) + torch.stack(turns, 1).cumsum(1)
    steps = torch.stack([speed * heading.cos(), speed * heading.sin()], -1)
    return steps.cumsum(1).flatten(1)


def batches(data: Tensor, size: int, draws: Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """Clean x0 and noisy x `(size, *shape)`, times, alpha and sigma `(size,)`, for ever."""
    while True:
        x0 = data[torch.randint(len(data), (size,), generator=draws)]
        t = SCHEDULE.start * torch.rand(size, generator=draws)
        alpha, sigma = SCHEDULE(t)
        column = (-1, *[1] * (data.ndim - 1))
        eps = torch.randn(x0.shape, generator=draws)
        yield x0, alpha.reshape(column) * x0 + sigma.reshape(column) * eps, t, alpha, sigma


def train(data: Tensor, known: Tensor, iterations: int, size: int, rate: float, seed: int) -> dict[str, Tensor]:
    """Regress the clean object from its noisy version; returns the average of the weights over the iterations.

    Arguments:
        data: `(n, *shape)`.
        known: bool `(*shape)`, entries that the network sees without noise.
        iterations, size, rate: of AdamW, the rate annealed to zero.
        seed: of the first weights and of all draws.
    """
    draws = torch.Generator().manual_seed(seed)
    shapes = Perceptron.shapes(data[0].numel(), WIDTH, BLOCKS)
    weights = {}
    for name, shape in shapes.items():
        norm, bound = name.split(".")[-2] == "0", shapes[name.replace("bias", "weight")][-1] ** -0.5
        drawn = bound * (2 * torch.rand(shape, generator=draws) - 1)
        weights[name] = (torch.full(shape, float(name.endswith("weight"))) if norm else drawn).requires_grad_()
    net, average = Perceptron(weights), {name: value.detach().clone() for name, value in weights.items()}
    optimiser = torch.optim.AdamW(weights.values(), lr=rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
    began = time.monotonic()
    for i, (x0, x, t, alpha, sigma) in zip(range(iterations), batches(data, size, draws), strict=False):
        error = (net(torch.where(known, x0, x), t) - x0).square()[:, ~known].mean(1)
        loss = ((alpha / sigma).square().clamp(0.05, 5) * error).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
        for name, value in average.items():
            value.lerp_(weights[name].detach(), 1 - min(AVERAGE, (1 + i) / (10 + i)))
        if (i + 1) % 1000 == 0:
            print(f"{i + 1}/{iterations} loss {loss:.5f} {time.monotonic() - began:.0f} s", flush=True)
    return average


def pendulum(iterations: int, n: int = PLANS, seed: int = SEED) -> dict[str, Tensor]:
    """Weights of the prior over plans."""
    data = plans(n, torch.Generator().manual_seed(seed))
    known = torch.zeros(data.shape[1:], dtype=torch.bool)
    known[0, 1:] = True
    return train(data, known, iterations, 64, 1e-3, seed)


def unicycle(iterations: int, n: int = PATHS, seed: int = SEED) -> dict[str, Tensor]:
    """Weights of the prior over paths."""
    data = paths(n, torch.Generator().manual_seed(seed))
    return train(data, torch.zeros(data.shape[1:], dtype=torch.bool), iterations, 256, 1e-3, seed)


def main() -> None:
    """Train both networks and write them in half precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/elites/data/trajectories"))
    parser.add_argument("--only", choices=ITERATIONS, help="train one of them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(exist_ok=True)
    for name, make in (("pendulum", pendulum), ("unicycle", unicycle)):
        if args.only in (None, name):
            weights = make(ITERATIONS[name])
            save_file({key: value.half() for key, value in weights.items()}, args.out / f"{name}.safetensors")


if __name__ == "__main__":
    main()
