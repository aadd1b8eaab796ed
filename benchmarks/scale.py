"""How runs scale: memory and time of a step with the population, what the driver costs, and what workers gain.

    population  peak memory and time of a step of 1,000 to 1,000,000 candidates, each size in a fresh process
    overhead    what a candidate costs beyond its network and its reward, here and in the driver of a pool
    workers     speed of two workers over one: pairs of runs that follow one another, on warm workers
    cluster     a simulated cluster of 1,000 workers and more, with stragglers and failures, under the real driver

    python -m benchmarks.scale [panels] [--full] [--out benchmarks/results/scale.jsonl]

Without `--full` the panels are small and take some minutes. Each line of the results has the load of the machine
before it: on a machine that others use, only the panels `population` and `cluster` mean much.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import elites as el
from benchmarks.saturation import clusters, summary
from elites.parallel import Processes
from elites.parallel.processes import ProcessCrew
from elites.priors import mixture
from elites.rewards import per_sample
from elites.search import Shell

METHODS = {"RandomSearch": el.RandomSearch, "Elites": el.Elites, "Elites, shell": partial(el.Elites, refit=Shell())}
STEPS = 2
FIVE = 120_000  # turns of a loop that takes some five milliseconds


def hill(x: Tensor) -> Tensor:
    """A reward that costs next to nothing."""
    return x[:, 0] - (x[:, 1] - 1).square()


def alone(x: Tensor) -> float:
    """The same of one object."""
    return float(x[0] - (x[1] - 1) ** 2)


def busy(x: Tensor) -> float:
    """A reward in pure Python."""
    total = 0
    for i in range(FIVE):
        total += i & 3
    return float(x[0]) + 0 * total


def asleep(x: Tensor) -> float:
    """A reward that waits for something else."""
    time.sleep(0.02)
    return float(x[0])


def exact(reward: Any = hill, batch: int = 64, steps: int = 4) -> el.Target:
    """A target on an exact mixture in six dimensions."""
    prior = mixture(2 * torch.eye(6, dtype=torch.float64)[:3], 0.5)
    return el.Target(prior, reward, walk=el.Plain(steps=steps), batch=batch)


def single(f: Callable[[Tensor], float], batch: int = 8, steps: int = 2) -> el.Target:
    """The same with a reward of one object."""
    return exact(per_sample(f), batch, steps)


def pictures() -> el.Target:
    """The bundled network, and a reward that costs nothing."""
    return el.Target(el.priors.digits(), lambda x: x.flatten(1).mean(1), walk=el.Plain(steps=10), batch=8)


# population


def memory(name: str) -> float:
    """A line of the status of this process, in MiB."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(name + ":")[1].split()[0]) / 1024


def step(name: str, size: int, written: bool) -> None:
    """In a fresh process: a run of one size, as a line of JSON."""
    torch.set_num_threads(1)
    target = exact(batch=1024, steps=2)
    with tempfile.TemporaryDirectory() as folder:

        def go(n: int) -> None:
            on = [el.Checkpoint(f"{folder}/{n}", seconds=1e9)] if written else []
            el.run(METHODS[name](n), target, el.Budget(steps=STEPS), probe=None, on=on)

        go(1024)  # imports, and what a step takes whatever its size
        Path("/proc/self/clear_refs").write_text("5")
        before, began = memory("VmRSS"), time.process_time()
        go(size)
        seconds = time.process_time() - began
        print(json.dumps({"MiB": memory("VmHWM") - before, "us a candidate": 1e6 * seconds / (STEPS * size)}))


def populations(full: bool) -> Iterator[dict[str, Any]]:
    """Peak memory above that of a small run, and CPU time."""
    for name in METHODS:
        for written in (False, True):
            for size in (1_000, 10_000, 100_000, 1_000_000)[: 4 if full else 3]:
                code = f"import benchmarks.scale as s; s.step({name!r}, {size}, {written})"
                out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
                found = json.loads(out.stdout.splitlines()[-1])
                yield {"method": name, "candidates a step": size, "ledger": written} | found


# overhead


class Timed:
    """A function that adds up the time of its calls."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.seconds = f, 0.0

    def __call__(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        out = self.f(*arguments)
        self.seconds += time.perf_counter() - began
        return out


@dataclass(frozen=True, eq=False)
class Watched:
    """A prior whose network calls are timed."""

    inner: Any
    denoise: Timed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@contextmanager
def waiting() -> Iterator[list[float]]:
    """Adds up the seconds that a driver waits for its workers."""
    waited, wait = [0.0], ProcessCrew.wait

    def watched(self: ProcessCrew, seconds: float | None) -> Any:
        began = time.perf_counter()
        self._selector.select(seconds)
        waited[0] += time.perf_counter() - began
        return wait(self, 0.0)

    with patch.object(ProcessCrew, "wait", watched):
        yield waited


def overheads(full: bool) -> Iterator[dict[str, Any]]:
    """Microseconds of a candidate beyond network and reward."""
    n, pairs = (20_000, 9) if full else (4_000, 5)
    for method in ("RandomSearch", "Elites"):
        for batch in (8, 64):
            for singly in (False, True):
                found = []
                for _ in range(pairs):
                    target, call = exact(batch=batch), Timed(alone if singly else hill)
                    target.prior = Watched(target.prior, Timed(target.prior.denoise))
                    target.reward = per_sample(call) if singly else call
                    began = time.perf_counter()
                    el.run(METHODS[method](n), target, el.Budget(steps=1), probe=None)
                    wall = time.perf_counter() - began
                    found.append(1e6 * (wall - call.seconds - target.prior.denoise.seconds) / n)
                about = {"where": "this process", "method": method, "batch": batch, "one by one": singly}
                yield about | {"us a candidate": summary(found)}
    for singly in (False, True):
        build = partial(single, alone, 64, 4) if singly else exact
        found, cpu = [], []
        with Processes(2, build) as pool, waiting() as waited:
            for k in range(pairs + 1):
                target = build()
                target.pool = pool
                before, began, clock = waited[0], time.perf_counter(), time.process_time()
                el.run(el.RandomSearch(n), target, el.Budget(steps=1), probe=None)
                if k:  # the first one starts the workers
                    found.append(1e6 * (time.perf_counter() - began - waited[0] + before) / n)
                    cpu.append(1e6 * (time.process_time() - clock) / n)
        about = {"where": "the driver of two processes", "method": "RandomSearch", "batch": 64, "one by one": singly}
        yield about | {"us a candidate": summary(found), "CPU us a candidate": summary(cpu)}


# workers


KINDS = {
    "network": (pictures, 256),
    "reward in Python": (partial(single, busy), 256),
    "reward asleep": (partial(single, asleep), 64),
}


@cache
def built(kind: str) -> el.Target:
    """The target of a process."""
    torch.set_num_threads(1)
    return KINDS[kind][0]()


def bare(kind: str) -> None:
    """The work of a run without its coordination."""
    target, ids = built(kind), range(STEPS * KINDS[kind][1] // 2)
    for i in range(0, len(ids), 64):
        few, stream = ids[i : i + 64], el.Stream(0)
        target.evaluate(target.prior.noise(stream, few), stream, few)


def speeds(full: bool) -> Iterator[dict[str, Any]]:
    """Time of a run on one worker over that on two, pair by pair, and what two processes gain that share nothing."""
    for kind, (build, size) in KINDS.items():
        context = multiprocessing.get_context("forkserver")
        with Processes(1, build) as one, Processes(2, build) as two, ProcessPoolExecutor(2, context) as two_bare:

            def seconds(pool: Processes, build: Any = build, size: int = size) -> float:
                target = build()
                target.pool = pool
                began = time.perf_counter()
                el.run(el.Elites(size), target, el.Budget(steps=STEPS), probe=None)
                return time.perf_counter() - began

            def alone(n: int, kind: str = kind, processes: Any = two_bare) -> float:
                began = time.perf_counter()
                list(processes.map(bare, [kind] * n))
                return time.perf_counter() - began

            pairs = []
            for _ in range(1 + (15 if full else 5)):  # the first one starts the workers
                pairs.append((seconds(one), seconds(two), alone(1), alone(2)))
            a, b, c, d = (list(column[1:]) for column in zip(*pairs, strict=True))
        yield {
            "bound by": kind,
            "two over one": summary([x / y for x, y in zip(a, b, strict=True)]),
            "two over one, sharing nothing": summary([2 * x / y for x, y in zip(c, d, strict=True)]),
            "seconds of one": statistics.median(a),
            "seconds of two": statistics.median(b),
        }


PANELS = {"population": populations, "overhead": overheads, "workers": speeds, "cluster": clusters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("panels", nargs="*", default=list(PANELS))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}
    for name in args.panels:
        load = os.getloadavg()[0]
        for found in PANELS[name](args.full):
            line = {"panel": name} | found | {"load": round(load, 2)} | machine
            print(json.dumps(line), flush=True)
            if args.out:
                with args.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            load = os.getloadavg()[0]


if __name__ == "__main__":
    main()
