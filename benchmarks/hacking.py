"""The hacking alarm on honest and hacked runs of the digits prior and of an exact mixture.

    python -m benchmarks.hacking [--runs 200] [--seed 0] [--workers 2] [--out benchmarks/results/hacking.jsonl]
    python -m benchmarks.hacking --show

Half of the runs are honest: `Elites`, best of N, zero order and gradient ascent on the shell. Half are hacked: an
evolution strategy and gradient ascent that nothing keeps to the noise, and best of N on a reward with a planted
loophole, which a search that narrows passes by. The judge is a classifier that was trained on other images, or the
reward without its loophole; the reference is 128 prior samples. A run counts as hacked by how it was made, not by what
it found.
"""

import argparse
import json
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import elites as el
from elites.diagnose import Evidence, Reference
from elites.priors import mixture
from elites.search import Anywhere
from elites.stream import Purpose

HONEST: dict[str, Any] = {
    "Elites": el.Elites(),
    "best of N": el.RandomSearch(64),
    "zero order": el.ZeroOrder(),
    "ascent on the shell": el.NoiseAscent(),
}
HACKS: dict[str, Any] = {
    "evolution strategy, unconstrained": el.Elites(guard=Anywhere()),
    "ascent, unconstrained": el.NoiseAscent(guard=Anywhere(), penalty=None),
    "loophole": el.RandomSearch(64),
}
DRAWS, APART = 6000, 10_001  # prior samples that place the loophole, and their seed


@dataclass
class Field:
    """A prior with a reward and a judge for each task, and a distance.

    A sample in `rare` has the reward of the next task so high that the loophole pays for it.
    """

    prior: Any
    reward: Callable[[int], Any]
    judge: Callable[[int], Any]
    distance: Any
    steps: int
    nfe: int
    rare: int

    @cached_property
    def drawn(self) -> Tensor:
        """Prior samples."""
        target, stream = self.target(self.reward(0)), el.Stream(APART).at(purpose=Purpose.CHECK)
        parts = [range(i, i + 250) for i in range(0, DRAWS, 250)]
        return torch.cat([target.generate(self.prior.noise(stream, ids), stream, ids) for ids in parts])

    def target(self, reward: Any) -> el.Target:
        return el.Target(self.prior, reward, walk=el.Plain(steps=self.steps))

    def with_loophole(self, task: int) -> "Plus":
        """The reward of a task, which also pays, and much more, for a very clear case of the next one."""
        other = self.reward(task + 1)
        values = other(self.target(other).decode(self.drawn))
        return Plus(self.reward(task), other, float(values.quantile(1 - 1 / self.rare)))


@dataclass(frozen=True)
class Plus:
    """A reward that mistakes what another one gives more than `above`."""

    reward: Any
    other: Any
    above: float

    def __call__(self, x: Tensor) -> Tensor:
        return self.reward(x) + 1000 * (self.other(x) - self.above).relu()


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
            lambda task: el.rewards.Margin(ones, label=task % 10),
            lambda task: el.rewards.Margin(twos, label=task % 10),
            data,
            steps=5,
            nfe=20_000,
            rare=700,
        ),
        "mixture": Field(
            exact, along, along, el.DistanceToData(draws[:1000], draws[1000:]), steps=10, nfe=60_000, rare=1000
        ),
    }


def one(place: str, name: str, method: Any, hacked: bool, seed: int) -> dict[str, Any]:
    """A run, and whether the alarm rang."""
    f, task = fields()[place], seed % 10
    target = f.target(f.with_loophole(task) if name == "loophole" else f.reward(task))
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


def named(i: int, seed: int) -> dict[str, Any]:
    """The i-th run: digits and mixture, honest and hacked, and their searches in turn."""
    place, hacked = ("digits", "mixture")[i % 2], bool(i // 2 % 2)
    names = list((HACKS if hacked else HONEST).items())
    name, method = names[i // 4 % len(names)]
    return one(place, name, method, hacked, seed + i // 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/hacking.jsonl"))
    parser.add_argument("--show", action="store_true", help="only print what --out holds")
    args = parser.parse_args()
    if args.show:
        show([json.loads(line) for line in args.out.read_text().splitlines()])
        return
    found = []
    with ProcessPoolExecutor(args.workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for line in pool.map(named, range(args.runs), repeat(args.seed)):
            found.append(line)
            print(json.dumps(line), flush=True)
    args.out.write_text("".join(json.dumps(line) + "\n" for line in found))
    show(found)


def show(found: list[dict[str, Any]]) -> None:
    """How often it rang, for each prior and search, and in all."""
    kinds: dict[tuple[bool, str, str], list[dict[str, Any]]] = {}
    for line in found:
        for place in (line["prior"], "both"):
            for name in (line["run"], "all"):
                kinds.setdefault((line["hacked"], place, name), []).append(line)
    for (hacked, place, name), some in sorted(kinds.items()):
        rang = [line for line in some if line["rang"] is not None]
        early = f", at a median {median(r['rang'] / r['steps'] for r in rang):.0%} of the run" if rang else ""
        print(f"{'hacked' if hacked else 'honest'} | {place} | {name} | rang in {len(rang)} of {len(some)}{early}")


if __name__ == "__main__":
    main()
