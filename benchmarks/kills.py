"""Runs under fire: drivers and workers are killed at random moments; what is lost, and what is paid for twice?

Each run searches with two worker processes and a reward that sleeps. Its driver and its workers are killed, and a new
driver goes on, until the run has ended; then comes another one, until all kills are spent. The reward notes each of
its calls in a file of its own, so that nothing rests on what elites says of itself:

    lost            evaluations that the ledger held when a driver died, and did not hold with the same reward later
    twice           evaluations begun although the ledger held them when their driver started
    in flight       calls that a kill cut short, and made again: at most one for each worker that died
    outlived        calls that ended after the kill of their driver and before the pipe to it closed, and made again
    unwritten       calls that ended just before a kill, when their answer was on its way to the ledger, and made again
    bit-equal       runs whose samples, state, meter and failures are those of an undisturbed run in one process

    python -m benchmarks.kills --drivers 80 --workers 120

Drivers are forked from a process that has imported the library, and so are the servers that fork their workers: a
driver starts in milliseconds, and kills meet runs at work, not at their imports.
"""

import argparse
import json
import os
import random
import secrets
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace
from itertools import pairwise
from multiprocessing import forkserver, util
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import elites as el
from elites.answers import digest
from elites.ledger import KEY, read
from elites.packing import pack
from elites.parallel import Processes
from elites.rewards import per_sample
from elites.types import Result

ROOT = Path(__file__).parents[1]
METHOD = el.Elites(16)
NAP = 0.01  # seconds that a call of the reward takes, on average


def note(*words: object) -> None:
    """A line in the log of the run, whole whatever happens."""
    if "KILLS_LOG" in os.environ:
        log = os.open(os.environ["KILLS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, (" ".join(map(str, (os.environ["KILLS_LIFE"], *words))) + "\n").encode())
        os.close(log)


@per_sample
def reward(x: Tensor) -> Tensor:
    """Nearness to a point, after a nap; no number for one object in sixteen."""
    name = digest(x)
    assert name is not None
    note("begin", name.hex(), os.getpid())
    if "KILLS_LOG" in os.environ:
        time.sleep(NAP * (0.5 + name[1] / 256))
    note("end", name.hex(), os.getpid())
    if name[0] < 16:
        raise ValueError("this object has no score")
    return x[0] - (x[1] - 1) * (x[1] - 1)


def build() -> el.Target:
    """What each worker works with."""
    return el.Target(el.priors.mixture(torch.eye(6), 0.4), reward, walk=el.Plain(steps=2), batch=4)


def drive(folder: Path, budget: el.Budget, seed: int) -> None:
    """Begin the run in the folder, or go on with it."""
    if el.Folder(folder).finished:
        return  # the last driver died on its way out
    target = build()
    with Processes(2, build, straggler=None, deaths=10**6) as target.pool:
        if (folder / "run.json").exists():
            el.resume(folder, METHOD, target)
        else:
            shutil.rmtree(folder, ignore_errors=True)  # of a driver that died before it said what it would do
            el.run(METHOD, target, budget, seed, on=[el.Checkpoint(folder)])


def nursery() -> None:
    """Fork a driver for each line that comes in; say its process number, and how it ended."""
    for line in sys.stdin:
        asked, code = json.loads(line), 1
        if not (pid := os.fork()):
            os.environ |= {"KILLS_LOG": asked["log"], "KILLS_LIFE": asked["life"]}
            try:
                fork_the_server()
                drive(Path(asked["folder"]), el.Budget(steps=asked["steps"]), asked["seed"])
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def fork_the_server() -> None:
    """Start the server of worker processes as a fork of this warm process instead of as a new interpreter."""

    def spawn(path: bytes, args: list[Any], keep: list[int]) -> int:
        if pid := os.fork():
            return pid
        try:
            for one, after in pairwise([2, *sorted(keep), os.sysconf("SC_OPEN_MAX")]):
                os.closerange(one + 1, after)
            exec(args[-1], {})
        finally:
            os._exit(0)

    cold, util.spawnv_passfds = util.spawnv_passfds, spawn  # type: ignore[assignment]
    forkserver.set_forkserver_preload(["elites"])
    forkserver.ensure_running()
    util.spawnv_passfds = cold


class Field:
    """Runs, kills and what came of them.

    Arguments:
        place: an empty folder.
        drivers, workers: kills of each.
        steps: of a run.
        gap: seconds between two kills, on average.
        seed: of the kills.
    """

    def __init__(self, place: Path, drivers: int, workers: int, steps: int = 40, gap: float = 0.2, seed: int = 0):
        self.place, self.steps, self.gap = place, steps, gap
        self.dice = random.Random(seed)
        self.kills = ["drivers"] * drivers + ["workers"] * workers
        self.dice.shuffle(self.kills)
        self.token = secrets.token_hex(8)
        self.figures: Counter[str] = Counter(lost=0, twice=0, in_flight=0, outlived=0, unwritten=0, errors=0)

    def fight(self) -> Counter[str]:
        """Spend all kills: the figures."""
        paths = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        env = os.environ | {"KILLS_TOKEN": self.token, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        command = [sys.executable, "-c", "from benchmarks.kills import nursery; nursery()"]
        pipe = subprocess.PIPE
        with (self.place / "errors").open("w") as errors:
            self.nursery = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=errors)
        with self.nursery:
            while self.kills:
                self.run(self.figures["runs"])
        return self.figures

    def run(self, seed: int) -> None:
        """One run, to its end."""
        folder, log = self.place / f"run{seed}", self.place / f"log{seed}"
        log.touch()
        held, code = list[dict[Any, Any]](), 1  # what the ledger held when each driver started, and how it ended
        while code:
            held.append(answers(folder))
            code = self.life(folder, log, seed, len(held) - 1)
            self.figures["integrity"] += sound(folder)
            if code not in (0, -signal.SIGKILL):
                self.figures["errors"] += 1
                if self.figures["errors"] > 5:  # they are no accidents
                    raise RuntimeError((self.place / "errors").read_text())
        held.append(answers(folder))
        self.count(folder, log, seed, held)

    def life(self, folder: Path, log: Path, seed: int, number: int) -> int:
        """One driver, killed or not: how it ended."""
        asked = {"folder": str(folder), "log": str(log), "life": str(number), "steps": self.steps, "seed": seed}
        into, out = self.nursery.stdin, self.nursery.stdout
        assert into is not None and out is not None
        into.write((json.dumps(asked) + "\n").encode())
        into.flush()
        driver = int(out.readline())
        self.figures["lives"] += 1
        while not select.select([out], [], [], self.dice.uniform(0, 2 * self.gap) if self.kills else None)[0]:
            if self.kills[-1] == "drivers":
                os.kill(driver, signal.SIGKILL)  # nobody else can have its number: it has not been waited for
                with log.open("a") as lines:
                    lines.write(f"{number} dead - {driver}\n")
                self.figures[self.kills.pop()] += 1
                break
            workers = [w for w in at_work(log, number) if self.ours(w)]
            if workers:
                with suppress(ProcessLookupError):
                    os.kill(self.dice.choice(workers), signal.SIGKILL)
                    self.figures[self.kills.pop()] += 1
        return int(out.readline())

    def ours(self, pid: int) -> bool:
        """Whether this is a living process of this campaign, and no later one with the same number."""
        try:
            alive = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            return alive and self.token.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False

    def count(self, folder: Path, log: Path, seed: int, held: list[dict[Any, Any]]) -> None:
        """What the ledgers and the log of a run that has ended say."""
        begun = [Counter[str]() for _ in held]
        ended, outlived, dead = Counter[str](), 0, set[str]()
        for line in log.read_text().splitlines():
            life, what, name, _ = line.split()
            if what == "dead":
                dead.add(life)
            begun[int(life)][name] += what == "begin"
            ended[name] += what == "end"
            outlived += what == "end" and life in dead
        total = Counter(name for name, _ in held[-1].values())
        for names, answered in zip(begun, held, strict=True):
            known = Counter(name for name, _ in answered.values())
            self.figures["twice"] += sum(n for name, n in names.items() if known[name] >= total[name])
        for before, after in pairwise(held):
            self.figures["lost"] += sum(after.get(key) != value for key, value in before.items())
        calls, ends, kept = sum(names.total() for names in begun), ended.total(), total.total()
        found = {"evaluations": kept, "calls": calls, "in_flight": calls - ends, "outlived": outlived}
        equal = same(folder, el.run(METHOD, build(), el.Budget(steps=self.steps), seed))
        self.figures.update(found | {"unwritten": ends - outlived - kept, "runs": 1, "bit_equal": equal})


def at_work(log: Path, life: int) -> list[int]:
    """The workers of this driver that have begun a call: one that is being built may not be killed three times."""
    words = [line.split() for line in log.read_text().splitlines()]
    return sorted({int(w[3]) for w in words if w[:2] == [str(life), "begin"]})


def answers(folder: Path) -> dict[tuple[int, ...], tuple[str, float | None]]:
    """Digest and reward of each evaluation that the ledger holds, by key."""
    path = folder / "ledger.sqlite"
    rows = read(path) if path.exists() else ()
    return {tuple(r[k] for k in KEY): (r["digest"], r["reward"]) for r in rows if r["state"] != "pending"}


def sound(folder: Path) -> bool:
    """Whether SQLite finds the ledger whole."""
    path = folder / "ledger.sqlite"
    if not path.exists():
        return True
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def same(folder: Path, want: Result) -> bool:
    """Whether what the folder holds is what an undisturbed run gives."""
    held = el.Folder.open(folder)
    start = held.load(METHOD.init(build(), el.Stream(want.seed)))
    held.close()
    order = lambda failures: sorted((f.step, f.candidate, f.reason) for f in failures)
    best, samples = load_file(folder / "best.safetensors"), want.samples
    return (
        bits([start.state, start.best, order(start.failures)]) == bits([want.state, samples, order(want.failures)])
        and bits([best[name] for name in ("x", "reward", "keys", "z")]) == bits([*vars(samples).values()][:4])
        and replace(start.spent, seconds=0) == replace(want.meter, seconds=0)
        and [row["max"] for row in start.history] == [row["max"] for row in want.history]
    )


def bits(value: Any) -> tuple[str, dict[str, bytes]]:
    """A state as text and bytes."""
    tensors: dict[str, Tensor] = {}
    return json.dumps(pack(value, "", tensors)), {name: v.numpy().tobytes() for name, v in tensors.items()}


def main() -> None:
    options = argparse.ArgumentParser()
    for name, value in (("drivers", 80), ("workers", 120), ("seed", 0)):
        options.add_argument(f"--{name}", type=int, default=value)
    given = options.parse_args()
    os.nice(10)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        figures = Field(Path(place), given.drivers, given.workers, seed=given.seed).fight()
    line = {"seed": given.seed, **figures, "seconds": round(time.monotonic() - began)}
    with (Path(__file__).parent / "results" / "kills.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")
    for name, value in line.items():
        print(f"{name:12} {value}")


if __name__ == "__main__":
    main()
