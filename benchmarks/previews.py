"""When previews pay: the same searches with and without them, at equal network evaluations, on the digits prior.

Every run has the same network evaluations, the probe of the reward included, and its reward is that of whole walks of
`--steps` steps. `Final` searches at 10 steps and renders its eight best at `--steps`. Shown are the median best reward
of the seeds and its quartiles, the mean rank correlation of preview and reward, the share of races among the steps,
the objects scored and the steps of the search. The runs of one reward share network batches, which changes nothing but
the last bits.

    python -m benchmarks.previews                    # a quarter of an hour on one core
    python -m benchmarks.previews --show benchmarks/results/previews.json
"""

import argparse
import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch

import elites as el
from benchmarks.quality.images import DIGITS
from benchmarks.shared import together

PARTS = ("match", "margin", "size")
SHORT = 10  # steps of the search before `Final`


def methods() -> dict[str, el.types.Method]:
    """What is compared."""
    return {
        "Elites()": el.Elites(),
        "Elites(4)": el.Elites(4),
        "Previews()": el.Previews(),
        "Evolve()": el.Evolve(),
        "Previews(Evolve(4))": el.Previews(el.Evolve(4)),
        "Elites() at 10 steps, Final": el.Elites(),
    }


def one(prior: Any, method: str, part: str, seed: int, steps: int, nfe: int) -> dict[str, Any]:
    """One run."""
    final = el.Final(el.Plain(steps=steps)) if method.endswith("Final") else None
    target = el.Target(prior, DIGITS[part].reward(seed), walk=el.Plain(steps=SHORT if final else steps))
    result = el.run(methods()[method], target, el.Budget(nfe=nfe), seed, final=final)
    trials = [row["correlation"] for row in result.history if "correlation" in row]
    races = [row["previews"] and row["discarded"] > 0 for row in result.history if "previews" in row]
    return {
        "method": method,
        "reward": part,
        "seed": seed,
        "steps": steps,
        "best": float(result.best.reward),
        "correlation": statistics.mean(trials) if trials else None,
        "races": statistics.mean(races) if races else None,
        "nfe": result.meter.nfe,
        "scored": result.meter.rewards,
        "rounds": result.history[-1]["step"],
    }


def show(runs: list[dict[str, Any]]) -> None:
    """A table in Markdown for each number of steps."""
    seeds = sorted({r["seed"] for r in runs})
    for steps in sorted({r["steps"] for r in runs}):
        here = [r for r in runs if r["steps"] == steps]
        parts = [p for p in PARTS if any(r["reward"] == p for r in here)]
        most = max(r["nfe"] for r in here)
        print(f"\n{steps} steps, seeds {seeds[0]} to {seeds[-1]}, {most:,} network evaluations at most\n")
        print("| method | " + " | ".join(parts) + " | correlation | races | scored | rounds |")
        print("|---|" + "---|" * (len(parts) + 4))
        for method in dict.fromkeys(r["method"] for r in here):
            cells = []
            for part in parts:
                best = [r["best"] for r in here if r["method"] == method and r["reward"] == part]
                low, middle, high = statistics.quantiles(best, n=4)
                cells.append(f"{middle:.4g} ({low:.4g}, {high:.4g})")
            mine = [r for r in here if r["method"] == method]
            for column in ("correlation", "races"):
                known = {p: [r[column] for r in mine if r["reward"] == p and r[column] is not None] for p in parts}
                cells.append(", ".join(f"{statistics.mean(v):.2f}" for v in known.values() if v) or "-")
            cells += [f"{statistics.mean(r[column] for r in mine):.0f}" for column in ("scored", "rounds")]
            print(f"| `{method}` | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 5), help="from, to")
    parser.add_argument("--parts", nargs="+", default=PARTS)
    parser.add_argument("--methods", nargs="+", default=list(methods()), help="names as in the table")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--nfe", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/previews.json"))
    parser.add_argument("--show", type=Path, help="print the tables of an earlier result and stop")
    args = parser.parse_args()
    if args.show:
        show(json.loads(args.show.read_text()))
        return
    torch.set_num_threads(1)
    runs = json.loads(args.out.read_text()) if args.out.exists() else []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for part in args.parts:
        jobs = [
            partial(one, method=method, part=part, seed=seed, steps=args.steps, nfe=args.nfe)
            for method in args.methods
            for seed in range(*args.seeds)
        ]
        found = together(el.priors.digits(), jobs)
        new = {(r["method"], r["reward"], r["seed"], r["steps"]) for r in found}
        runs = [r for r in runs if (r["method"], r["reward"], r["seed"], r["steps"]) not in new] + found
        args.out.write_text(json.dumps(runs))
        print(part, flush=True)
    show(runs)


if __name__ == "__main__":
    main()
