"""Who wins honestly: five rewards on the bundled digits prior, at equal network evaluations.

Every run has 10,000 network evaluations (1,000 candidates at 10 DDIM steps, the probe of the reward included). Beside
the reward stand a judge that no search saw, |z|^2/d of the winner's noise, and its distance to the data in units of
what held-out digits have. Methods are ranked within each (reward, seed), ties shared. The seeds of one method share
network batches, which changes nothing but the last bits.

    python -m benchmarks.honest --workers 2          # about twenty minutes on two cores
    python -m benchmarks.honest --show benchmarks/results/honest.json
"""

import argparse
import json
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import elites as el
from benchmarks.shared import together

PARTS = ("margin", "symmetry", "size", "match", "ambiguity")


def methods() -> dict[str, el.Search]:
    """What is compared; those in brackets leave the shell and are shown, not ranked."""
    s, published = el.search, el.Elites.published
    diagonal = {"keep": 8, "restart": None}
    floor = s.Diagonal(floor=0.2)
    return {
        "best of N": el.RandomSearch(),
        "zero order, 4 neighbours": el.ZeroOrder(population=4),
        "zero order, 16 neighbours": el.ZeroOrder(population=16),
        "published loop, 32": published(32),
        "published loop, 64": published(64, elites=0.125),
        "published, smoothed": el.Elites(32, s.Diagonal(smooth=0.5), keep=0, guard=s.Anywhere(), restart=None),
        "published, floor and keep": el.Elites(32, floor, guard=s.Anywhere(), **diagonal),
        "published, floor, keep, shell": el.Elites(32, floor, **diagonal),
        "Elites": el.Elites(),
        "[Elites without its guard]": el.Elites(guard=s.Anywhere()),
    }


def reward(name: str, seed: int) -> el.types.Reward:
    """One of the five rewards; only `match` depends on the seed, which picks the held-out image to hit."""
    r, digits = el.rewards, el.rewards.digits
    net, images = digits.classifier("reward"), digits.images("held_out")[0]
    return {
        "margin": r.Margin(net, 3),
        "symmetry": r.Symmetry(),
        "size": r.CompressedSize(),
        "match": r.Match(images[7 * seed % len(images)]),
        "ambiguity": r.Ambiguity(net, 2, 7),
    }[name]


def group(job: tuple[str, str, tuple[int, ...], int]) -> list[dict[str, Any]]:
    """The runs of one method on one reward, all seeds at once."""
    torch.set_num_threads(1)
    method, name, seeds, nfe = job
    digits = el.rewards.digits
    search = methods()[method]
    distance = el.DistanceToData(digits.images("prior")[0], digits.images("held_out")[0])
    judge = el.rewards.Margin(digits.classifier("judge"), 3)

    def one(prior: Any, seed: int) -> dict[str, Any]:
        batch = min(search.population, 32)
        target = el.Target(prior, reward(name, seed), walk=el.Plain(steps=10), batch=batch)
        result = el.run(search, target, el.Budget(nfe=nfe), seed)
        objects = prior.decode(result.best.x)
        return {
            "method": method,
            "reward": name,
            "seed": seed,
            "best": float(result.best.reward),
            "shell": float(result.best.z.double().square().mean()),
            "distance": float(distance(objects)),
            "judge": float(judge(objects)),
            "nfe": result.meter.nfe,
            "failures": len(result.failures),
        }

    return together(el.priors.digits(), [partial(one, seed=seed) for seed in seeds])


def ranks(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Rank of each method within each (reward, seed), best 1, ties shared; unranked methods left out."""
    found: dict[str, list[float]] = {}
    for key in sorted({(r["reward"], r["seed"]) for r in runs}):
        group = {r["method"]: r["best"] for r in runs if (r["reward"], r["seed"]) == key and r["method"][0] != "["}
        for method, best in group.items():
            above = sum(other > best for other in group.values())
            equal = sum(other == best for other in group.values())
            found.setdefault(method, []).append(above + (equal + 1) / 2)
    return found


def show(runs: list[dict[str, Any]]) -> None:
    """Tables in Markdown: rank and reward (median, quartiles), then the evidence."""
    place = ranks(runs)
    names = sorted({r["method"] for r in runs}, key=lambda m: statistics.mean(place.get(m, [99.0])))
    seeds = sorted({r["seed"] for r in runs})
    print(f"seeds {seeds[0]} to {seeds[-1]}; {max(r['nfe'] for r in runs):,} network evaluations at most\n")

    def cell(method: str, part: str, column: str) -> list[float]:
        return [r[column] for r in runs if r["method"] == method and r["reward"] == part]

    print("| method | mean rank | " + " | ".join(PARTS) + " |\n|---|---|" + "---|" * len(PARTS))
    for m in names:
        cells = []
        for part in PARTS:
            low, middle, high = statistics.quantiles(cell(m, part, "best"), n=4)
            cells.append(f"{middle:.4g} ({low:.4g}, {high:.4g})")
        rank = f"{statistics.mean(place[m]):.2f}" if m in place else "-"
        print(f"| {m} | {rank} | " + " | ".join(cells) + " |")
    print("\n| method | \\|z\\|^2/d of winners | distance, by reward | all | judge / reward on margin |")
    print("|---|---|---|---|---|")
    for m in names:
        mine = [r for r in runs if r["method"] == m]
        shells = [r["shell"] for r in mine]
        far = [statistics.mean(cell(m, part, "distance")) for part in PARTS]
        judged = statistics.mean(cell(m, "margin", "judge")) / statistics.mean(cell(m, "margin", "best"))
        print(
            f"| {m} | {min(shells):.2f} to {max(shells):.2f} | {', '.join(f'{v:.2f}' for v in far)} | "
            f"{statistics.mean(r['distance'] for r in mine):.2f} | {judged:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 10), help="from, to")
    parser.add_argument("--parts", nargs="+", default=PARTS, help="rewards to run; others in the file are kept")
    parser.add_argument("--nfe", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/honest.json"))
    parser.add_argument("--show", type=Path, help="print the tables of an earlier result and stop")
    args = parser.parse_args()
    if args.show:
        show(json.loads(args.show.read_text()))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    seeds = tuple(range(*args.seeds))
    jobs = [(m, part, seeds, args.nfe) for part in args.parts for m in methods()]
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        old = json.loads(args.out.read_text()) if args.out.exists() else []
        runs = [r for r in old if r["reward"] not in args.parts]
        for i, found in enumerate(pool.map(group, jobs), 1):
            runs += found
            print(f"{i}/{len(jobs)} {found[0]['reward']:10s} {found[0]['method']}", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(runs))
    show(runs)


if __name__ == "__main__":
    main()
