"""Scores learned by a residual perceptron, kept in `runs/` once trained."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import elites as el
from benchmarks.guidance.setting import FRAME, RANK, D, cosine

__all__ = ["LEVELS", "Perceptron", "learned"]

LEVELS, POINTS, ITERATIONS, BATCH, RATE = 100, 16_384, 5_000, 256, 1e-3
WIDTH, BLOCKS, WAVES = 256, 3, 8
FOLDER = Path("runs/guidance")


class Perceptron(nn.Module):
    """x `(B, D)` and indices of levels `(B,)` to the noise in x."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(D + 2 * WAVES, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
            for _ in range(BLOCKS)
        )
        self.leave = nn.Linear(WIDTH, D)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angles = t[:, None] / LEVELS * (math.pi / 2 * 2.0 ** torch.arange(WAVES))
        h = self.enter(torch.cat([x, angles.sin(), angles.cos()], 1))
        for block in self.blocks:
            h = h + block(h)
        return self.leave(h)


def plane(draws: torch.Generator) -> Tensor:
    """Normal data on the subspace."""
    return torch.randn(POINTS, RANK, generator=draws) @ FRAME.float().T


def small_sphere(draws: torch.Generator) -> Tensor:
    """Data all over the unit sphere of the subspace."""
    return functional.normalize(torch.randn(POINTS, RANK, generator=draws), dim=1) @ FRAME.float().T


def sphere(draws: torch.Generator) -> Tensor:
    """Data all over the unit sphere."""
    return functional.normalize(torch.randn(POINTS, D, generator=draws), dim=1)


DATA: dict[str, Callable[[torch.Generator], Tensor]] = {"plane": plane, "sphere": sphere, "small sphere": small_sphere}


@cache
def learned(name: str) -> el.priors.GaussianPrior:
    """A prior of the data of that name, walked by DDPM; its network is trained, or read where it was before."""
    path, net = FOLDER / f"{name.replace(' ', '_')}.pt", Perceptron()
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(net, DATA[name](torch.Generator().manual_seed(1)))
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), path)
    net.eval().requires_grad_(False)
    return el.priors.GaussianPrior(net, (D,), cosine(LEVELS), el.Eps(), el.DDIM(1.0), name=f"learned({name})")


def train(net: Perceptron, data: Tensor) -> None:
    """Mean squared error of the noise at uniform levels, Adam with a rate that falls as a cosine."""
    draws = torch.Generator().manual_seed(2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in net.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    alpha2 = cosine(LEVELS).alphas_cumprod.float()
    adam = torch.optim.Adam(net.parameters(), RATE)
    falls = torch.optim.lr_scheduler.CosineAnnealingLR(adam, ITERATIONS)
    for _ in range(ITERATIONS):
        x0 = data[torch.randint(len(data), (BATCH,), generator=draws)]
        t = torch.randint(LEVELS, (BATCH,), generator=draws)
        z, a2 = torch.randn(BATCH, D, generator=draws), alpha2[t][:, None]
        loss = functional.mse_loss(net(a2.sqrt() * x0 + (1 - a2).sqrt() * z, t.float()), z)
        adam.zero_grad()
        loss.backward()
        adam.step()
        falls.step()
