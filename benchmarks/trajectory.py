"""Diffusion Elites for planning: reach a goal around an obstacle with a learned prior over motions.

The prior is a residual perceptron trained on 40,000 paths of a unicycle (32 points in the plane, speed
uniform in 0.8 to 1.2 times 4 / 32 a step, first-order autoregressive turn rate). The reward of a path is minus the
distance of its last point to the goal, minus a half for each point inside the obstacle; a reward above -0.1 is a
success. Four tasks, 320 decodes of 15 DDIM steps each, equal for all methods.

    python -m benchmarks.trajectory              # trains once (about eight minutes on one core), then compares

The prior is kept in build/, outside of version control.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import elites as el

POINTS, SEED = 32, 20_261_121
FILE = Path("build/trajectory.safetensors")
TASKS = [  # goal, centre of the obstacle, radius
    ((3.0, 1.0), (1.5, 0.5), 0.5),
    ((2.0, -2.0), (1.0, -0.8), 0.5),
    ((-1.5, 2.5), (-0.6, 1.2), 0.4),
    ((0.5, 2.0), (0.2, 1.0), 0.5),
]
SCHEDULE = el.VPCosine(start=0.995)


def paths(n: int) -> Tensor:
    """Paths `(n, 64)` of a unicycle that starts at the origin in any direction."""
    speed = (0.8 + 0.4 * torch.rand(n, 1)) * 4 / POINTS
    turn, turns = 0.25 * torch.randn(n), []
    for _ in range(POINTS):
        turn = 0.8 * turn + 0.15 * torch.randn(n)
        turns.append(turn)
    heading = 2 * math.pi * torch.rand(n, 1) + torch.stack(turns, 1).cumsum(1)
    steps = torch.stack([speed * heading.cos(), speed * heading.sin()], -1)
    return steps.cumsum(1).flatten(1)


class Net(nn.Module):
    """Residual perceptron: (x, t) to the clean guess."""

    def __init__(self, width: int = 384, blocks: int = 4) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * POINTS + 16, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.leave = nn.Linear(width, 2 * POINTS)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        waves = t[:, None] * (math.pi * 2.0 ** torch.arange(8) / 2)
        h = self.enter(torch.cat([x, waves.sin(), waves.cos()], 1))
        for block in self.blocks:
            h = h + block(h)
        return self.leave(h)


def train(iterations: int) -> Net:
    """Regress the clean path from its noisy version; returns the averaged net."""
    torch.manual_seed(SEED)
    net, data = Net(), paths(40_000)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999))
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
    for i in range(iterations):
        x0 = data[torch.randint(len(data), (256,))]
        t = 0.995 * torch.rand(256)
        alpha, sigma = (v[:, None] for v in SCHEDULE(t))
        x = alpha * x0 + sigma * torch.randn_like(x0)
        weight = (alpha / sigma).square().clamp(0.05, 5)
        loss = (weight * (net(x, t) - x0).square()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
        average.update_parameters(net)
        if (i + 1) % 1000 == 0:
            print(f"{i + 1}/{iterations} loss {loss:.5f}", flush=True)
    return average.module


def prior(iterations: int) -> el.priors.GaussianPrior:
    """The trained prior, from build/ if it is there; objects are paths `(B, 32, 2)`."""
    net = Net()
    if not FILE.exists():
        FILE.parent.mkdir(exist_ok=True)
        save_file(train(iterations).state_dict(), FILE)
    net.load_state_dict(load_file(FILE))
    net.requires_grad_(False).eval()
    return el.priors.GaussianPrior(
        net, (2 * POINTS,), SCHEDULE, el.X0(), decoder=lambda x0: x0.reshape(-1, POINTS, 2), name="unicycle"
    )


@dataclass(frozen=True)
class Reach:
    """Reward of paths `(B, 32, 2)`."""

    goal: tuple[float, float]
    centre: tuple[float, float]
    radius: float

    def __call__(self, path: Tensor) -> Tensor:
        miss = (path[:, -1] - torch.tensor(self.goal)).norm(dim=1)
        inside = (path - torch.tensor(self.centre)).norm(dim=2) < self.radius
        return -miss - 0.5 * inside.sum(1)


def methods() -> dict[str, el.Search]:
    """What is compared."""
    return {
        "best of N": el.RandomSearch(),
        "zero order": el.ZeroOrder(population=4),
        "published loop": el.Elites.published(),
        "Elites": el.Elites(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 10), help="from, to")
    parser.add_argument("--evaluations", type=int, default=320)
    parser.add_argument("--iterations", type=int, default=9000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, rows = prior(args.iterations), []
    for name, method in methods().items():
        began = time.perf_counter()
        found = []
        for seed in range(*args.seeds):
            for task in TASKS:
                target = el.Target(model, Reach(*task), walk=el.Plain(steps=15))
                result = el.run(method, target, el.Budget(rewards=args.evaluations), seed)
                found.append((float(result.best.reward), result.history[-1]["shell"]))
        reward, shell = torch.tensor(found).T
        row = {
            "method": name,
            "runs": len(reward),
            "reward": float(reward.mean()),
            "sd": float(reward.std()),
            "success": float((reward > -0.1).float().mean()),
            "shell": float(shell.mean()),
            "seconds": (time.perf_counter() - began) / len(reward),
        }
        rows.append(row)
        print(
            f"{name:15s} {row['reward']:7.3f} +- {row['sd']:.3f}   success {row['success']:.2f}   "
            f"|z|^2/d {row['shell']:.2f}   {row['seconds']:.2f} s a run"
        )
    if args.out:
        args.out.write_text(json.dumps({"seeds": list(args.seeds), "evaluations": args.evaluations, "rows": rows}))


if __name__ == "__main__":
    main()
