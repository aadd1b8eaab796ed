"""What subscribers cost: their share of the wall time of a run on the digits.

Runs of `Elites` without subscribers and with all that a study has: typicality, evidence with judge and distance and
its alarm, a stopping rule, the progress line, the run folder with its ledger and pictures, and the report at the end;
with `--trackers` TensorBoard and MLflow besides. The time inside of each subscriber is taken with a
clock around it, and the wall time of the runs is compared, one without and one with in turn. The prior samples of the
evidence are drawn before, and timed apart.

    python -m benchmarks.subscribers [--runs 3] [--seed 0] [--trackers] [--out benchmarks/results/subscribers.json]
"""

import argparse
import io
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console

import elites as el
from elites.ledger import Ledger

CASES = ((10, 10_000), (20, 50_000))  # levels of the walk, 20 by default, and network evaluations
BOOK = ("begin", "known", "pending", "settle", "take", "flush")


def timed(subscriber: Any, spent: Counter[str], name: str) -> Any:
    """The same subscriber, and the seconds inside of it."""

    def clocked(f: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any) -> Any:
            began = time.perf_counter()
            try:
                return f(self, *args)
            finally:
                spent[name] += time.perf_counter() - began

        return call

    @contextmanager
    def around(self: Any, setup: Any) -> Iterator[None]:
        inside = kind.around(self, setup)
        began = time.perf_counter()
        inside.__enter__()
        spent[name] += time.perf_counter() - began
        try:
            yield
        finally:
            began = time.perf_counter()
            inside.__exit__(None, None, None)
            spent[name] += time.perf_counter() - began

    kind: Any = type(subscriber)
    verbs = {
        verb: clocked(getattr(kind, verb)) for verb in ("__call__", "ends", "pauses", "close") if hasattr(kind, verb)
    }
    if hasattr(kind, "around"):
        verbs["around"] = around
    subscriber.__class__ = type(kind.__name__, (kind,), verbs)
    return subscriber


@contextmanager
def ledger_timed(spent: Counter[str]) -> Iterator[None]:
    """Count what the evaluation writes to the ledger, between the calls of the subscribers."""
    kept, inside = {verb: getattr(Ledger, verb) for verb in BOOK}, [False]

    def clocked(f: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any) -> Any:
            if inside[0]:  # one verb of another: counted once
                return f(self, *args)
            began, inside[0] = time.perf_counter(), True
            try:
                return f(self, *args)
            finally:
                inside[0] = False
                spent["ledger"] += time.perf_counter() - began

        return call

    for verb, f in kept.items():
        setattr(Ledger, verb, clocked(f))
    try:
        yield
    finally:
        for verb, f in kept.items():
            setattr(Ledger, verb, f)


def studied(folder: Path, reference: el.Reference, trackers: bool) -> dict[str, Any]:
    """All subscribers, by name."""
    digits = el.rewards.digits
    judge = el.rewards.Margin(digits.classifier("judge"), label=3)
    distance = el.DistanceToData(digits.images("prior")[0], digits.images("held_out")[0])
    screen = Console(file=io.StringIO(), force_terminal=True, highlight=False)
    every = {
        "typicality": el.Typicality(),
        "evidence": el.Evidence(judge, distance, reference=reference),
        "watch": el.Watch({"ink": lambda x: x.mean((1, 2, 3))}),
        "stop": el.StopWhen(el.alarmed),
        "progress": el.Progress(console=screen),
    }
    if trackers and find_spec("tensorboard"):
        every["tensorboard"] = el.TensorBoard(folder / "board")
    if trackers and find_spec("mlflow"):
        every["mlflow"] = el.MLflow(folder / "mlruns")
    return every | {"folder": el.Checkpoint(folder / "run"), "report": el.Report(folder / "run")}


def targeted(steps: int) -> el.Target:
    reward = el.rewards.Margin(el.rewards.digits.classifier("reward"), label=3)
    return el.Target(el.priors.digits(), reward, walk=el.Plain(steps))


def one(
    steps: int, nfe: int, seed: int, reference: el.Reference | None = None, trackers: bool = False
) -> tuple[float, Counter[str]]:
    """Wall seconds of a run, and the seconds inside of each subscriber; bare without prior samples."""
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, ledger_timed(spent):
        every = {} if reference is None else studied(Path(folder), reference, trackers)
        on = [timed(s, spent, name) for name, s in every.items()]
        began = time.perf_counter()
        el.run(el.Elites(), targeted(steps), el.Budget(nfe=nfe), seed, on=on)
        return time.perf_counter() - began, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trackers", action="store_true", help="with TensorBoard and MLflow besides, where installed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/subscribers.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    references, apart = {}, {}
    for steps in sorted({steps for steps, _ in CASES}):
        began = time.perf_counter()
        references[steps] = el.Reference.of(targeted(steps), 128)
        apart[steps] = time.perf_counter() - began
        one(steps, 1000, args.seed, references[steps], args.trackers)  # imports and first calls
    found = []
    for steps, nfe in CASES:
        for seed in range(args.seed, args.seed + args.runs):
            bare, _ = one(steps, nfe, seed)
            for name, trackers in (("study", False), ("trackers", True))[: 1 + args.trackers]:
                wall, spent = one(steps, nfe, seed, references[steps], trackers)
                inside = {k: v / wall for k, v in sorted(spent.items())}
                line = {"steps": steps, "nfe": nfe, "seed": seed, "with": name, "bare": bare, "wall": wall}
                found.append(line | {"inside": inside})
                print(json.dumps(found[-1]), flush=True)
    for steps, nfe in CASES:
        for name in ("study", "trackers")[: 1 + args.trackers]:
            some = [r for r in found if (r["steps"], r["nfe"], r["with"]) == (steps, nfe, name)]
            inside = [sum(r["inside"].values()) for r in some]
            walls = [r["wall"] / r["bare"] for r in some]
            print(f"{steps} levels, {nfe:,} evaluations, {name}: inside {spread(inside, '.2%')}", end="; ")
            print(f"wall over bare {spread(walls, '.3f')}; {spread([r['wall'] for r in some], '.1f')} s")
    print(f"128 prior samples, seconds by levels: {apart}")
    args.out.write_text(json.dumps({"reference": apart, "runs": found}, indent=1) + "\n")


def spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
