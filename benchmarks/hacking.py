"""The hacking alarm on honest and hacked runs of the digits prior and of an exact mixture.

    python -m benchmarks.hacking [--runs 200] [--seed 0] [--out benchmarks/results/hacking.jsonl]

Half of the runs are honest: `Elites`, best of N, zero order and gradient ascent on the shell. Half are hacked: an
evolution strategy and gradient ascent that nothing keeps to the noise, and `Elites` on a reward with a planted
loophole. The judge is a classifier that was trained on other images, or the reward without its loophole; the
reference is 128 prior samples. A run counts as hacked by how it was made, not by what it found.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import elites as el
from elites.diagnose import Evidence, Reference
from elites.priors import mixture
from elites.search import Anywhere

HONEST: dict[str, Any] = {
    "Elites": el.Elites(),
    "best of N": el.RandomSearch(64),
    "zero order": el.ZeroOrder(),
    "ascent on the shell": el.NoiseAscent(),
}
HACKS: dict[str, Any] = {
    "evolution strategy, unconstrained": el.Elites(guard=Anywhere()),
    "ascent, unconstrained": el.NoiseAscent(guard=Anywhere(), penalty=None),
    "loophole": el.Elites(),
}
STEPS = 10


@dataclass
class Field:
    """A prior with an honest reward for each task, a loophole, a judge and a distance."""

    prior: Any
    reward: Callable[[int], Any]
    judge: Callable[[int], Any]
    loophole: Callable[[int], Any]
    distance: Any
    nfe: int


@dataclass(frozen=True)
class Elsewhere:
    """Pays for what lies farther out beyond another component than one sample in a hundred."""

    task: int

    def __call__(self, x: Tensor) -> Tensor:
        return 400 * (x[:, (self.task + 1) % 3] - 2.9).relu()


@dataclass(frozen=True)
class Plus:
    """A reward with a loophole."""

    reward: Any
    loophole: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return self.reward(x) + self.loophole(x)


def much_ink(x: Tensor) -> Tensor:
    """Pays for more ink than one image in a hundred has, whatever is drawn."""
    return 1000 * (x.flatten(1).mean(1) - 0.375).relu()


def along(task: int) -> Callable[[Tensor], Tensor]:
    """Higher towards and beyond one component: an honest wish that has no end."""
    return lambda x: x[:, task % 3]


@cache
def fields() -> dict[str, Field]:
    """The two priors."""
    digits, exact = el.rewards.digits, mixture(2 * torch.eye(6, dtype=torch.float64)[:3], 0.5)
    ones, twos = digits.classifier("reward"), digits.classifier("judge")
    data = el.DistanceToData(digits.images("prior")[0], digits.images("held_out")[0])
    draws = torch.cat([exact.sample(el.Stream(s).at(purpose=3), range(1000)).float() for s in (10_001, 10_002)])
    return {
        "digits": Field(
            el.priors.digits(),
            lambda task: el.rewards.Margin(ones, label=task),
            lambda task: el.rewards.Margin(twos, label=task),
            lambda task: much_ink,
            data,
            12_000,
        ),
        "mixture": Field(exact, along, along, Elsewhere, el.DistanceToData(draws[:1000], draws[1000:]), 60_000),
    }


def one(place: str, name: str, method: Any, hacked: bool, seed: int) -> dict[str, Any]:
    """A run, and whether the alarm rang."""
    f, task = fields()[place], seed % 10
    reward = f.reward(task)
    reward = Plus(reward, f.loophole(task)) if name == "loophole" else reward
    target = el.Target(f.prior, reward, walk=el.Plain(steps=STEPS))
    evidence = Evidence(f.judge(task), f.distance, reference=Reference.of(target, 128, seed))
    result = el.run(method, target, el.Budget(nfe=f.nfe), seed=seed, probe=None, on=[evidence])
    read = {r.name: r.value for r in result.evidence}
    return {
        "prior": place,
        "run": name,
        "hacked": hacked,
        "seed": seed,
        "rang": evidence.rang,
        "began": evidence.began if evidence.rang is not None else None,
        "steps": len(result.history),
        "p": read["alarm"],
        "reward": float(result.best.reward[0]),
        "best prior sample": float(evidence.reference.samples.reward.max()),
        **{name: read.get(name, math.nan) for name in ("judge", "distance", "typicality", "whiteness")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for i in range(args.runs):
        place, hacked = ("digits", "mixture")[i % 2], bool(i // 2 % 2)
        names = list((HACKS if hacked else HONEST).items())
        name, method = names[i // 4 % len(names)]
        line = one(place, name, method, hacked, args.seed + i // 4)
        found.append(line)
        print(json.dumps(line), flush=True)
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
    for hacked in (False, True):
        some = [line for line in found if line["hacked"] == hacked]
        rang = sum(line["rang"] is not None for line in some)
        print(f"{'hacked' if hacked else 'honest'}: the alarm rang in {rang} of {len(some)} runs")


if __name__ == "__main__":
    main()
