"""What `elites plan` says a run will take, from one batch, against what the run then took.

python -m benchmarks.foresight            # half a minute on one core
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import elites as el


def _slow(seconds: float) -> Callable[[Any], torch.Tensor]:
    """The brightness of images, and a while for each."""

    def reward(images: Any) -> torch.Tensor:
        time.sleep(seconds * len(images))
        return images.mean((1, 2, 3))

    return reward


STUDIES: dict[str, tuple[Any, Callable[[Any], Any], el.Budget]] = {
    "random search, 10 steps": (el.RandomSearch(), _slow(0), el.Budget(nfe=4000)),
    "elites": (el.Elites(), _slow(0), el.Budget(nfe=4000)),
    "a reward of 5 ms": (el.Elites(), _slow(0.005), el.Budget(nfe=4000)),
    "a reward of 50 ms": (el.RandomSearch(), _slow(0.05), el.Budget(rewards=60)),
    "a population of 12 in batches of 8": (el.RandomSearch(12), _slow(0), el.Budget(nfe=4000)),
    "gradient ascent": (el.NoiseAscent(), _slow(0), el.Budget(nfe=1000)),
}


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    prior = el.priors.digits()
    table = Table("study", "planned evaluations", "spent", "planned seconds", "took", "ratio", box=None)
    for name, (method, reward, budget) in STUDIES.items():
        target = el.Target(prior, reward, walk=el.Plain(steps=10))
        found = el.plan(method, target, budget)
        spent = el.run(method, target, budget).meter
        table.add_row(
            name,
            f"{found.nfe:,}",
            f"{spent.nfe:,}",
            f"{found.seconds:.2f}",
            f"{spent.seconds:.2f}",
            f"{found.seconds / spent.seconds:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
