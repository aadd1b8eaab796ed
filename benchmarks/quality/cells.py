"""Cells: what a method has reached on a task with a seed after so many network evaluations, one JSON line each.

No method knows its budget, so one run gives the cells of all budgets; only the searches of nevergrad plan for the
largest. The runs of several seeds share the network's batches, which changes nothing but the last bits, and what a
noisy reward makes of them. A file that has a cell keeps it: a run that was stopped goes on.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import elites as el
from benchmarks.quality.contenders import Contender, contenders
from benchmarks.quality.task import Task
from benchmarks.quality.tasks import TASKS
from benchmarks.shared import together

STEPS = 10
CHUNK = 32
Cell = dict[str, Any]


@dataclass
class Recorder:
    """The best samples when each budget was reached."""

    budgets: Sequence[int]
    found: dict[int, el.types.Samples | None] = field(default_factory=dict)
    last: el.types.Samples | None = None

    def __call__(self, event: el.types.Event) -> None:
        for budget in self.budgets:
            if budget not in self.found and event.meter.nfe > budget:
                self.found[budget] = self.last
        self.last = event.best

    def close(self) -> dict[int, el.types.Samples]:
        """Those of all budgets that pay for a step; what was not reached holds the end."""
        ends = {b: self.found.get(b, self.last) for b in self.budgets}
        return {b: best for b, best in ends.items() if best is not None}


def budgets(task: Task, most: int) -> tuple[int, ...]:
    return tuple(b for b in task.budgets if b <= most)


def allowed(task: Task, contender: Contender) -> bool:
    shape = tuple(task.prior().shape)
    square = len(shape) > 1 and shape[-1] == shape[-2]
    return contender.least <= torch.Size(shape).numel() <= contender.most and (square or not contender.images)


def group(job: tuple[str, str, tuple[int, ...], int]) -> list[Cell]:
    """All cells of a task and a method, for some seeds."""
    torch.set_num_threads(1)
    name, who, seeds, most = job
    task, contender = TASKS[name], contenders()[who]
    began = time.perf_counter()
    jobs = [partial(one, task, contender, seed=seed, most=most) for seed in seeds]
    found = together(task.prior(), jobs) if contender.shared else [job(task.prior()) for job in jobs]
    seconds = round((time.perf_counter() - began) / len(seeds), 2)
    head = {"task": name, "method": who}
    return [
        head | {"seed": seed, "budget": b, "seconds": seconds} | measured(task, seed, best)
        for seed, run in zip(seeds, found, strict=True)
        for b, best in run.items()
    ]


def one(task: Task, contender: Contender, prior: Any, seed: int, most: int) -> dict[int, el.types.Samples]:
    d = torch.Size(prior.shape).numel()
    wanted = budgets(task, most)
    method = contender.make(d, wanted[-1] // STEPS)
    target = el.Target(prior, task.reward(seed), walk=el.Plain(steps=STEPS), batch=min(method.population or 16, CHUNK))
    recorder = Recorder(wanted)
    el.run(method, target, el.Budget(nfe=wanted[-1]), seed, on=[recorder], probe=None)
    return recorder.close()


@torch.no_grad()
def measured(task: Task, seed: int, best: el.types.Samples) -> Cell:
    prior = task.prior()
    objects = prior.decode(best.x)
    truth = (task.truth or task.reward)(seed)
    top, z = objects[:1], best.z
    return {
        "best": float(torch.as_tensor(truth(top))[0]),
        "seen": float(best.reward[0]),
        "elite": float(torch.as_tensor(truth(objects)).float().mean()),
        "judge": float(task.judge(seed)(top)[0]) if task.judge else None,
        "shell": None if z is None else float(z[0].double().square().mean()),
        "white": None if z is None else float(el.diagnose.whiteness(z[:1])[0]),
        "distance": float(task.distance()(top)[0]),
        "diversity": spread(objects) / _usual(task.prior),
    }


def spread(objects: Tensor) -> float:
    """Mean distance of two objects."""
    flat = objects.flatten(1).double()
    return float(torch.pdist(flat).mean()) if len(flat) > 1 else 0.0


@cache
def _usual(make: Callable[[], Any]) -> float:
    """The spread of sixteen samples of the prior."""
    prior, stream = make(), el.Stream(5)
    target = el.Target(prior, lambda x: torch.zeros(len(x)), walk=el.Plain(steps=STEPS))
    ids = range(16)
    return spread(prior.decode(target.generate(prior.noise(stream, ids), stream, ids)))


def load(path: Path) -> list[Cell]:
    """The cells of a file; of one that was made again, when a run went on to larger budgets, the first."""
    found: dict[tuple[Any, ...], Cell] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        c = json.loads(line)
        found.setdefault((c["task"], c["method"], c["seed"], c["budget"]), c)
    return list(found.values())


def missing(
    have: Iterable[Cell], tasks: Sequence[str], methods: Sequence[str], seeds: Sequence[int], most: int
) -> list[tuple[str, str, tuple[int, ...], int]]:
    """Jobs whose cells are not there yet, costly tasks first."""
    done = {(c["task"], c["method"], c["seed"], c["budget"]) for c in have}
    jobs = []
    for name in tasks:
        task = TASKS[name]
        for who in methods:
            wanted = budgets(task, most)
            if allowed(task, contenders()[who]):
                left = tuple(s for s in seeds if any((name, who, s, b) not in done for b in wanted))
                if left:
                    jobs.append((name, who, left, most))
    return jobs
